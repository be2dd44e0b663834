//! Stops everything for a while when one event after the other fails.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::Event;
use tokio::time::Instant;

use crate::outcome::Outcome;
use crate::step::{ProcessingContext, ProcessingStep, StepResult};

/// How long what comes behind a trial waits for its outcome, at least.
pub(super) const TRIAL: Duration = Duration::from_millis(100);

/// Whether an outcome counts as a failure; `None`: it says nothing, as what was put off at no cost.
pub(super) fn is_failure(outcome: Outcome, cx: &ProcessingContext<'_>) -> Option<bool> {
    match outcome {
        Outcome::Retried if cx.is_free() => None,
        Outcome::Retried | Outcome::Failed => Some(true),
        _ => Some(false),
    }
}

/// Opens after so many failures in a row, and stops everything until the recovery time is over; then one event is tried. If that succeeds the
/// breaker closes, else it opens anew.
///
/// - Failures that cost an attempt count, as do events that were given up; what was put off does not.
/// - Outages of the database and the broker need no breaker: the engine waits them out by itself, and charges nothing.
/// - Its state is that of this process, and of all workers that share the step. Replicas share a [`SharedBreaker`](crate::SharedBreaker).
///
/// Algorithm: the circuit breaker of Michael Nygard, Release It! (2007), with one trial at a time.
///
/// ```
/// use std::time::Duration;
///
/// use omni_box_pipeline::CircuitBreakerStep;
///
/// let breaker = CircuitBreakerStep::new().failure_threshold(5).recovery_timeout(Duration::from_secs(60));
/// assert!(!breaker.is_open());
/// ```
#[derive(Debug)]
pub struct CircuitBreakerStep {
    threshold: u32,
    recovery: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In a row.
    failures: u32,
    opened_at: Option<Instant>,
    /// When the trial began that has no outcome yet.
    tried_at: Option<Instant>,
}

impl Default for CircuitBreakerStep {
    fn default() -> Self {
        Self { threshold: 5, recovery: Duration::from_secs(60), state: Mutex::default() }
    }
}

impl CircuitBreakerStep {
    /// Opens after 5 failures, for 60 s.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many failures in a row open it; at least 1.
    #[must_use]
    pub fn failure_threshold(self, failures: u32) -> Self {
        Self { threshold: failures.max(1), ..self }
    }

    /// How long it stays open.
    #[must_use]
    pub fn recovery_timeout(self, timeout: Duration) -> Self {
        Self { recovery: timeout, ..self }
    }

    /// Whether it lets nothing through, or one event only.
    pub fn is_open(&self) -> bool {
        self.state().opened_at.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl<E: Event> ProcessingStep<E> for CircuitBreakerStep {
    async fn execute(&self, _event: &E, _cx: &mut ProcessingContext<'_>) -> StepResult {
        let mut state = self.state();
        let now = Instant::now();
        let Some(opened_at) = state.opened_at else { return StepResult::next() };
        let rest = (opened_at + self.recovery).saturating_duration_since(now);
        if !rest.is_zero() {
            return StepResult::stop_for(rest);
        }
        // a trial whose transaction was lost has no outcome: it counts for no longer than the breaker would have stayed open
        let is_tried = state.tried_at.is_some_and(|tried_at| now < tried_at + self.recovery.max(TRIAL));
        if is_tried {
            return StepResult::stop_for(TRIAL);
        }
        state.tried_at = Some(now);
        StepResult::next()
    }

    fn on_event_end(&self, _event: &E, outcome: Outcome, cx: &mut ProcessingContext<'_>) {
        let mut state = self.state();
        match is_failure(outcome, cx) {
            None => state.tried_at = None,
            Some(true) => {
                state.failures = state.failures.saturating_add(1);
                let was_trial = state.tried_at.take().is_some();
                if was_trial || (state.opened_at.is_none() && state.failures >= self.threshold) {
                    if state.opened_at.is_none() {
                        tracing::warn!(failures = state.failures, recovery = ?self.recovery, "circuit breaker opened");
                    }
                    state.opened_at = Some(Instant::now());
                }
            }
            Some(false) => {
                if state.opened_at.is_some() {
                    tracing::info!("circuit breaker closed");
                }
                *state = State::default();
            }
        }
    }
}
