//! A circuit breaker that several processes share.

use std::fmt;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::{BreakerReport, BreakerState};
use omni_box_core::{Error, ErrorKind, Event, OwnerId, Result, Store};
use tokio::time::Instant;

use super::breaker::{TRIAL, is_failure};
use crate::deadline::within;
use crate::outcome::Outcome;
use crate::settings::misconfigured;
use crate::step::{BatchContext, ProcessingContext, ProcessingStep, SettledEvent, StepResult};

/// Most characters of a name.
const LONGEST_NAME: usize = 255;
/// For how long a closed breaker is not looked at again.
const FRESH: Duration = Duration::from_secs(1);
/// How long the store may take.
const CALL: Duration = Duration::from_secs(5);

/// A [`CircuitBreakerStep`](crate::CircuitBreakerStep) whose state is in the store. All workers and processes with its name see one
/// breaker. Their failures count together, it opens for all, and one event of all is the trial.
///
/// - The store is asked between batches, at most once a second while the breaker is closed. It is told only of failures and of what ends
///   them. So a process stops with its next batch, up to a second after another one has opened the breaker.
/// - A process that ends with the trial leaves it to another one after the [trial's timeout](Self::trial_timeout).
/// - While the store does not answer, what was last known holds.
///
/// ```
/// use std::time::Duration;
///
/// use omni_box_pipeline::SharedBreaker;
/// use omni_box_testkit::MemoryStore;
///
/// # fn main() -> omni_box_core::Result<()> {
/// let breaker = SharedBreaker::new(MemoryStore::new(), "payments")?
///     .failure_threshold(5)
///     .recovery_timeout(Duration::from_secs(60));
/// assert!(!breaker.is_open());
/// # Ok(())
/// # }
/// ```
pub struct SharedBreaker<S> {
    store: S,
    name: String,
    threshold: u32,
    recovery: Duration,
    trial_timeout: Duration,
    local: Mutex<Local>,
}

/// What this process knows.
#[derive(Debug, Default)]
struct Local {
    asked_at: Option<Instant>,
    /// Failures in a row, of all processes, when the breaker is closed.
    failures: u32,
    open_until: Option<Instant>,
    /// A trial that no event has taken yet, and until when it is this process's.
    trial: Option<(OwnerId, Instant)>,
    ended: Ended,
}

/// What became of events since the last report.
#[derive(Debug, Default)]
struct Ended {
    trial: Option<OwnerId>,
    has_succeeded: bool,
    /// After the last success.
    failures: u32,
}

/// What the event of a trial carries.
struct Tried(OwnerId);

impl<S: Store> SharedBreaker<S> {
    /// A breaker of this name in `store`. It opens after 5 failures, for 60 s.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) when the store has no [`breakers`](Store::breakers);
    /// [`Misconfigured`](ErrorKind::Misconfigured) for a name that is empty or has more than 255 characters.
    pub fn new(store: S, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        if name.is_empty() || name.chars().count() > LONGEST_NAME || name.contains('\0') {
            let text =
                format!("the name of a breaker needs 1 to {LONGEST_NAME} characters, none of them NUL");
            return Err(misconfigured(text));
        }
        if store.breakers().is_none() {
            let text = "the store keeps no circuit breakers, which SharedBreaker needs";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let (recovery, trial_timeout) = (Duration::from_secs(60), Duration::from_secs(60));
        Ok(Self { store, name, threshold: 5, recovery, trial_timeout, local: Mutex::default() })
    }

    /// How many failures in a row, of all processes, open it; at least 1. The same for all of them.
    #[must_use]
    pub fn failure_threshold(self, failures: u32) -> Self {
        Self { threshold: failures.max(1), ..self }
    }

    /// How long it stays open. The same for all processes.
    #[must_use]
    pub fn recovery_timeout(self, timeout: Duration) -> Self {
        Self { recovery: timeout, ..self }
    }

    /// How long the trial of a process that has ended stands in the way of others; 60 s by default. Longer than an event takes, else two are
    /// tried.
    #[must_use]
    pub fn trial_timeout(self, timeout: Duration) -> Self {
        Self { trial_timeout: timeout, ..self }
    }

    /// Whether it lets nothing through, or one event only, as far as this process knows.
    pub fn is_open(&self) -> bool {
        self.local().open_until.is_some()
    }

    fn local(&self) -> MutexGuard<'_, Local> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is known is too old for the next batch.
    fn is_stale(&self) -> bool {
        let (local, now) = (self.local(), Instant::now());
        let has_trial = local.trial.is_some_and(|(_, until)| now < until);
        match local.open_until {
            _ if has_trial => false,
            Some(until) => until <= now,
            None => local.asked_at.is_none_or(|at| at + FRESH <= now),
        }
    }

    /// Takes over what the store has said.
    fn learn(&self, state: BreakerState, asker: Option<OwnerId>) {
        let (mut local, now) = (self.local(), Instant::now());
        let was_open = local.open_until.is_some();
        local.asked_at = Some(now);
        match (state, asker) {
            (BreakerState::Closed { failures }, _) => {
                local.failures = failures;
                local.open_until = None;
                local.trial = None;
                if was_open {
                    tracing::info!(breaker = self.name, "circuit breaker closed");
                }
            }
            (BreakerState::Trial, Some(asker)) => local.trial = Some((asker, now + self.trial_timeout)),
            (BreakerState::Trial, None) => {}
            (BreakerState::Open { rest }, _) => {
                local.open_until = Some(now + rest);
                if !was_open {
                    tracing::warn!(breaker = self.name, recovery = ?self.recovery, "circuit breaker opened");
                }
            }
        }
    }

    async fn call(&self, asker: Option<OwnerId>, call: impl Future<Output = Result<BreakerState>>) {
        match within(CALL, call).await {
            Ok(state) => self.learn(state, asker),
            Err(error) => {
                tracing::debug!(breaker = self.name, kind = ?error.kind(), "circuit breaker does not answer");
            }
        }
    }

    /// What is to be reported, if anything.
    fn take_report(&self) -> Option<BreakerReport> {
        let mut local = self.local();
        let Ended { trial, has_succeeded, failures } = std::mem::take(&mut local.ended);
        let ends_a_row = has_succeeded && local.failures > 0 && local.open_until.is_none();
        (trial.is_some() || failures > 0 || ends_a_row).then_some(BreakerReport {
            trial,
            has_succeeded,
            failures,
            threshold: self.threshold,
            recovery: self.recovery,
        })
    }
}

impl<S> fmt::Debug for SharedBreaker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBreaker")
            .field("name", &self.name)
            .field("threshold", &self.threshold)
            .field("recovery", &self.recovery)
            .field("trial_timeout", &self.trial_timeout)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<S: Store, E: Event> ProcessingStep<E> for SharedBreaker<S> {
    async fn on_batch_start(&self, _cx: &BatchContext<'_>) {
        if let Some(breakers) = self.store.breakers()
            && self.is_stale()
        {
            let asker = OwnerId::generate();
            self.call(Some(asker), breakers.admit(&self.name, asker, self.trial_timeout)).await;
        }
    }

    async fn execute(&self, _event: &E, cx: &mut ProcessingContext<'_>) -> StepResult {
        let (mut local, now) = (self.local(), Instant::now());
        let Some(until) = local.open_until else { return StepResult::next() };
        match local.trial.take() {
            Some((trial, trial_until)) if now < trial_until => {
                cx.insert(Tried(trial));
                StepResult::next()
            }
            _ => StepResult::stop_for(until.saturating_duration_since(now).max(TRIAL)),
        }
    }

    fn on_event_end(&self, _event: &E, outcome: Outcome, cx: &mut ProcessingContext<'_>) {
        let trial = cx.remove().map(|Tried(trial)| trial);
        let ended = &mut self.local().ended;
        ended.trial = trial.or(ended.trial);
        match is_failure(outcome, cx) {
            None => {}
            Some(true) => ended.failures = ended.failures.saturating_add(1),
            Some(false) => (ended.has_succeeded, ended.failures) = (true, 0),
        }
    }

    async fn on_batch_end(&self, _settled: &[SettledEvent<'_, E>], _cx: &BatchContext<'_>) {
        if let Some(breakers) = self.store.breakers()
            && let Some(report) = self.take_report()
        {
            self.call(None, breakers.report(&self.name, &report)).await;
        }
    }
}
