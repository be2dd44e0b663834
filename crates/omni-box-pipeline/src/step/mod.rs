//! What runs around the work on each event, on both sides: steps, and what they decide.

mod chain;
mod context;
mod dry_run;
mod mark;
mod storage;

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::Event;

pub(crate) use chain::{Ruling, Steps};
pub(crate) use context::Kept;
pub use context::{BatchContext, ProcessingContext};
pub use dry_run::{DryRun, DryRunResult};
pub(crate) use mark::Mark;
pub use storage::DlqStorage;
pub(crate) use storage::Feed;

use crate::outcome::Outcome;

/// A step in front of the handler (inbox) or of the broker (outbox), for every event.
///
/// Steps run in the order in which they were added. A step sees an event before it is handled or sent, decides whether that happens,
/// and hears what became of it.
///
/// | hook | inbox | outbox |
/// |---|---|---|
/// | [`on_batch_start`](Self::on_batch_start) | before a group's transaction | before a batch is handed to the broker |
/// | [`on_event_start`](Self::on_event_start), [`execute`](Self::execute) | before the event's handler, in the order of the group | before the event is handed over, in the order of the batch |
/// | [`on_event_end`](Self::on_event_end) | once, when the outcome is committed | once, when the broker has answered |
/// | [`on_batch_end`](Self::on_batch_end) | when the group's outcomes are committed | when the broker has answered for the whole batch |
///
/// A transaction that fails as a whole, and an outage of the broker, are not outcomes. The event comes again, and its start is told
/// again. Nothing outside of the engine changes a row: a step decides by what [`execute`](Self::execute) returns. It has no
/// connection; what has to be atomic with the handler's writes belongs into a [layer](crate::HandlerLayer).
///
/// A test takes events through a step by a [`DryRun`].
///
/// ```
/// use async_trait::async_trait;
/// use omni_box_core::{Event, InboxEvent};
/// use omni_box_pipeline::{ProcessingContext, ProcessingStep, StepResult};
///
/// /// Handles nothing of tenants that are locked.
/// struct Tenants(Vec<String>);
///
/// #[async_trait]
/// impl ProcessingStep<InboxEvent> for Tenants {
///     async fn execute(&self, event: &InboxEvent, _cx: &mut ProcessingContext<'_>) -> StepResult {
///         match event.headers().get("tenant") {
///             Some(tenant) if self.0.iter().any(|locked| locked == tenant) => StepResult::skip(),
///             _ => StepResult::next(),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait ProcessingStep<E: Event>: Send + Sync + 'static {
    /// Its name in logs and in the errors of events that it has failed or put off; the type's name by default.
    fn name(&self) -> &'static str {
        let path = std::any::type_name::<Self>();
        let bare = path.split('<').next().unwrap_or(path);
        bare.rsplit("::").next().unwrap_or(bare)
    }

    /// Before the events of a batch.
    async fn on_batch_start(&self, cx: &BatchContext<'_>) {
        let _ = cx;
    }

    /// Before the steps of an event are asked.
    fn on_event_start(&self, event: &E, cx: &mut ProcessingContext<'_>) {
        let _ = (event, cx);
    }

    /// Decides about an event. A panic, or no answer within the handler's time (outbox: half a lease), is a failure of the event that counts.
    async fn execute(&self, event: &E, cx: &mut ProcessingContext<'_>) -> StepResult {
        let _ = (event, cx);
        StepResult::next()
    }

    /// What became of an event that was started. A panic is logged.
    fn on_event_end(&self, event: &E, outcome: Outcome, cx: &mut ProcessingContext<'_>) {
        let _ = (event, outcome, cx);
    }

    /// What became of a batch: the events of it that have an outcome, in order. A panic is logged.
    async fn on_batch_end(&self, settled: &[SettledEvent<'_, E>], cx: &BatchContext<'_>) {
        let _ = (settled, cx);
    }

    /// The storage of a [`DlqStep`](crate::DlqStep).
    #[doc(hidden)]
    fn feed(&self) -> Option<Feed<E>> {
        None
    }
}

/// What a step decides.
///
/// ```
/// use std::time::Duration;
///
/// use omni_box_core::OutboxEvent;
/// use omni_box_pipeline::StepResult;
///
/// fn decide(event: &OutboxEvent, is_night: bool) -> StepResult {
///     match event.topic() {
///         "reports" if is_night => StepResult::next(),
///         "reports" => StepResult::skip(), // its key waits, at no cost
///         "drafts" => StepResult::complete(), // done, and never sent
///         "legacy" => StepResult::fail("the topic was retired"),
///         _ if is_night => StepResult::stop_for(Duration::from_secs(60)), // nothing at all, for a minute
///         _ => StepResult::next(),
///     }
/// }
/// # let _ = decide;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct StepResult(pub(crate) Decision);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    Next,
    Skip,
    Complete,
    Fail(String),
    Stop(Option<Duration>),
}

impl StepResult {
    /// The next step has the event; behind the last one, the handler or the broker.
    pub fn next() -> Self {
        Self(Decision::Next)
    }

    /// Not now: the event's key waits as for a retry, at no cost. What has no key waits alone.
    pub fn skip() -> Self {
        Self(Decision::Skip)
    }

    /// The event is done, and is neither handled nor sent: [`Skipped`](Outcome::Skipped).
    pub fn complete() -> Self {
        Self(Decision::Complete)
    }

    /// The event is given up, for this reason. Its row is the dead letter.
    pub fn fail(reason: impl Into<String>) -> Self {
        Self(Decision::Fail(reason.into()))
    }

    /// Nothing more is handled or sent for a while, which grows from stop to stop; what was done before is kept, and nothing is charged.
    pub fn stop() -> Self {
        Self(Decision::Stop(None))
    }

    /// The same for this long.
    pub fn stop_for(delay: Duration) -> Self {
        Self(Decision::Stop(Some(delay)))
    }
}

/// An event of a batch, and what became of it.
///
/// ```
/// use omni_box_core::InboxEvent;
/// use omni_box_pipeline::SettledEvent;
///
/// fn failures(settled: &[SettledEvent<'_, InboxEvent>]) -> Vec<String> {
///     settled.iter().filter_map(|of| Some(format!("{}: {}", of.event.message_id(), of.error?))).collect()
/// }
/// # let _ = failures;
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SettledEvent<'a, E> {
    /// The event, as it was before.
    pub event: &'a E,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it failed, if it did.
    pub error: Option<&'a str>,
}
