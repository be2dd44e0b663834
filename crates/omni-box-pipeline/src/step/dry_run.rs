//! Steps without a worker.

use std::fmt;
use std::time::Duration;

use omni_box_core::{Event, WorkerId};

use super::chain::{Ruling, Steps};
use super::context::Kept;
use super::{Mark, ProcessingStep, SettledEvent};
use crate::outcome::Outcome;

/// How long a step may take for one event, as a handler may by default.
const LIMIT: Duration = Duration::from_secs(30);

/// Takes events through steps as a worker does, without a store and a broker: for tests of a step of your own.
///
/// - Steps hear of a batch, are asked about its events in order, and hear what became of each.
/// - A step that panics, or that takes longer than 30 s for one event, has failed it.
/// - Nothing is stored or sent, and nothing comes again by itself: give it an event anew to see its retry.
///   A [`DlqStep`](crate::DlqStep) copies nothing.
///
/// ```
/// use async_trait::async_trait;
/// use omni_box_core::{Event, NewOutboxEvent, OmniBoxDomainService, OutboxEvent};
/// use omni_box_pipeline::{DryRun, Outcome, ProcessingContext, ProcessingStep, StepResult};
///
/// /// Sends nothing of tenants that are locked.
/// struct Tenants(&'static str);
///
/// #[async_trait]
/// impl ProcessingStep<OutboxEvent> for Tenants {
///     async fn execute(&self, event: &OutboxEvent, _cx: &mut ProcessingContext<'_>) -> StepResult {
///         match event.headers().get("tenant") == Some(self.0) {
///             true => StepResult::skip(),
///             false => StepResult::next(),
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omni_box_core::Result<()> {
/// let of = |tenant: &str| {
///     let event = NewOutboxEvent::new("order.placed", "orders", &serde_json::json!({"id": 7}));
///     OmniBoxDomainService::default().create_outbox_event(event.header("tenant", tenant))
/// };
/// let results = DryRun::new().step(Tenants("acme")).batch(&[of("acme")?, of("other")?], async |_| Outcome::Published).await;
/// assert_eq!(results[0].outcome, Some(Outcome::Retried));
/// assert!(results[0].is_free, "it waits at no cost");
/// assert_eq!(results[1].outcome, Some(Outcome::Published));
/// # Ok(())
/// # }
/// ```
#[must_use = "call `batch`"]
pub struct DryRun<E> {
    steps: Steps<E>,
    worker: WorkerId,
}

/// What became of an event in a [`DryRun`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DryRunResult {
    /// What the steps have heard; `None`: a step has stopped everything at this event or before it.
    pub outcome: Option<Outcome>,
    /// Whether an event that is retried has cost no attempt.
    pub is_free: bool,
    /// Why it waits, has failed or was stopped.
    pub error: Option<String>,
}

impl<E: Event> Default for DryRun<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: Event> DryRun<E> {
    /// No steps.
    pub fn new() -> Self {
        Self {
            steps: Steps::new(Vec::new()),
            worker: WorkerId::new("dry-run").expect("a name within its limits"),
        }
    }

    /// Adds a step behind those that were added before.
    pub fn step(self, step: impl ProcessingStep<E>) -> Self {
        Self { steps: self.steps.with(step), ..self }
    }

    /// Takes events through the steps as one batch; says what became of each, in order. `work` stands for the handler or the broker: it
    /// is called with each event that the steps let through, and says what becomes of it.
    ///
    /// # Cancel safety
    /// Steps hear of no end of what was begun when the future is dropped, as when a transaction fails.
    pub async fn batch(&self, events: &[E], mut work: impl AsyncFnMut(&E) -> Outcome) -> Vec<DryRunResult> {
        let Self { steps, worker } = self;
        let mut results = vec![DryRunResult::default(); events.len()];
        let mut open = Vec::with_capacity(events.len());
        steps.begin_batch(worker, events.len()).await;
        for (event, result) in events.iter().zip(&mut results) {
            let mut kept = Kept::default();
            *result = match steps.ask(event, worker, &mut kept, LIMIT).await {
                Ruling::Next => DryRunResult { outcome: Some(work(event).await), ..DryRunResult::default() },
                Ruling::Complete => {
                    DryRunResult { outcome: Some(Outcome::Skipped), ..DryRunResult::default() }
                }
                Ruling::Skip(why) => {
                    DryRunResult { outcome: Some(Outcome::Retried), is_free: true, error: Some(why) }
                }
                Ruling::Broken(why) => {
                    DryRunResult { outcome: Some(Outcome::Retried), is_free: false, error: Some(why) }
                }
                Ruling::Fail(why) => {
                    DryRunResult { outcome: Some(Outcome::Failed), is_free: false, error: Some(why) }
                }
                Ruling::Stop(step, _) => {
                    result.error = Some(Mark::stopped_by(step).to_string());
                    break;
                }
            };
            open.push(kept);
        }
        let ended =
            || events.iter().zip(&results).filter_map(|(event, end)| Some((event, end.outcome?, end)));
        for ((event, outcome, end), mut kept) in ended().zip(open) {
            steps.end(event, outcome, end.is_free, worker, &mut kept);
        }
        let settled: Vec<SettledEvent<'_, E>> = ended()
            .map(|(event, outcome, end)| SettledEvent { event, outcome, error: end.error.as_deref() })
            .collect();
        if !settled.is_empty() {
            steps.end_batch(worker, events.len(), &settled).await;
        }
        results
    }
}

impl<E: Event> fmt::Debug for DryRun<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DryRun").field("steps", &self.steps.names()).finish()
    }
}
