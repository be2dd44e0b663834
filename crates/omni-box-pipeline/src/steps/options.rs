//! What factories take besides store, group and handler or broker.

use std::fmt;
use std::sync::Arc;

use omni_box_core::{Event, InboxEvent, InboxMetrics, OutboxEvent, OutboxMetrics};

use super::DlqStep;
use crate::step::{DlqStorage, ProcessingStep};

/// Steps and metrics for [`create_inbox_processor_with`](crate::create_inbox_processor_with) and
/// [`create_dispatching_processor_with`](crate::create_dispatching_processor_with).
pub type ProcessorOptions = StepOptions<InboxEvent, dyn InboxMetrics>;

/// Steps and metrics for [`create_outbox_processor_with`](crate::create_outbox_processor_with).
pub type OutboxProcessorOptions = StepOptions<OutboxEvent, dyn OutboxMetrics>;

/// Steps and metrics for a factory: [`ProcessorOptions`] for stored messages, [`OutboxProcessorOptions`] for an outbox.
///
/// The order of steps does not depend on the order of calls. Those of [`before`](Self::before) come first, then the breaker, the copies of
/// dead letters, those of [`after`](Self::after), and the handler or the broker.
///
/// ```
/// use omni_box_core::RawEventConverter;
/// use omni_box_pipeline::{CircuitBreakerStep, OutboxProcessorOptions, create_outbox_processor_with};
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// let publisher = MemoryBroker::new().publisher(RawEventConverter);
/// let options = OutboxProcessorOptions::new().breaker(CircuitBreakerStep::new());
/// let processor = create_outbox_processor_with(MemoryStore::new(), publisher, options)?;
/// # drop(processor);
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[must_use = "pass it to a factory"]
pub struct StepOptions<E, M: ?Sized> {
    before: Steps<E>,
    breaker: Option<Step<E>>,
    dlq: Option<Step<E>>,
    after: Steps<E>,
    metrics: Option<Arc<M>>,
}

type Step<E> = Arc<dyn ProcessingStep<E>>;
type Steps<E> = Vec<Step<E>>;

impl<E, M: ?Sized> Default for StepOptions<E, M> {
    fn default() -> Self {
        Self { before: Vec::new(), breaker: None, dlq: None, after: Vec::new(), metrics: None }
    }
}

impl<E: Event, M: ?Sized> StepOptions<E, M> {
    /// No steps, no metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step in front of all others, behind those that were added before by this call.
    pub fn before(mut self, step: impl ProcessingStep<E>) -> Self {
        self.before.push(Arc::new(step));
        self
    }

    /// Adds a step behind all others.
    pub fn after(mut self, step: impl ProcessingStep<E>) -> Self {
        self.after.push(Arc::new(step));
        self
    }

    /// Stops everything for a while when one event after the other fails: a [`CircuitBreakerStep`](crate::CircuitBreakerStep) or a
    /// [`SharedBreaker`](crate::SharedBreaker).
    pub fn breaker(mut self, breaker: impl ProcessingStep<E>) -> Self {
        self.breaker = Some(Arc::new(breaker));
        self
    }

    /// Copies what is given up into a storage: [`DlqStep`](crate::DlqStep).
    pub fn dlq(mut self, storage: impl DlqStorage<E>) -> Self {
        self.dlq = Some(Arc::new(DlqStep::new(storage)));
        self
    }

    /// The steps in order, and the metrics.
    pub(crate) fn into_parts(self) -> (Steps<E>, Option<Arc<M>>) {
        let Self { before, breaker, dlq, after, metrics } = self;
        (before.into_iter().chain(breaker).chain(dlq).chain(after).collect(), metrics)
    }
}

impl ProcessorOptions {
    /// Counts and measures; nothing by default.
    pub fn metrics(mut self, metrics: impl InboxMetrics) -> Self {
        self.metrics = Some(Arc::new(metrics));
        self
    }
}

impl OutboxProcessorOptions {
    /// Counts and measures; nothing by default.
    pub fn metrics(mut self, metrics: impl OutboxMetrics) -> Self {
        self.metrics = Some(Arc::new(metrics));
        self
    }
}

impl<E: Event, M: ?Sized> fmt::Debug for StepOptions<E, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.before.iter().chain(&self.breaker).chain(&self.dlq).chain(&self.after);
        let names: Vec<&str> = steps.map(|step| step.name()).collect();
        f.debug_struct("StepOptions")
            .field("steps", &names)
            .field("metrics", &self.metrics.is_some())
            .finish()
    }
}
