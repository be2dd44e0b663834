//! What a worker may have beside store, group and handler.

use std::fmt;
use std::sync::Arc;

use omni_box_core::{InboxEvent, InboxMetrics, InboxRepository};

use super::builder::InboxWorkerBuilder;
use crate::step::{DlqStorage, ProcessingStep};
use crate::steps::Ordered;

/// Steps and metrics for [`create_inbox_processor_with`](crate::create_inbox_processor_with) and
/// [`create_dispatching_processor_with`](crate::create_dispatching_processor_with).
///
/// Steps run in this order, however they are set: those of [`before`](Self::before), the breaker, the copies of dead letters, those of
/// [`after`](Self::after), the handler.
///
/// ```
/// use omni_box_core::InboxContext;
/// use omni_box_pipeline::{
///     CircuitBreakerStep, ProcessorOptions, SiblingDeduplicationStep, create_inbox_processor_with, on,
/// };
/// use omni_box_testkit::MemoryStore;
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
///
/// let options = ProcessorOptions::new().before(SiblingDeduplicationStep::new()).breaker(CircuitBreakerStep::new());
/// let worker = create_inbox_processor_with(MemoryStore::new(), "shipping", on("order.placed", ship), options)?;
/// # drop(worker);
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Default)]
#[must_use = "pass it to a factory"]
pub struct ProcessorOptions {
    steps: Ordered<InboxEvent>,
    metrics: Option<Arc<dyn InboxMetrics>>,
}

impl ProcessorOptions {
    /// No steps, no metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step in front of all others, behind those that were added before by this call.
    pub fn before(mut self, step: impl ProcessingStep<InboxEvent>) -> Self {
        self.steps.before(step);
        self
    }

    /// Adds a step behind all others.
    pub fn after(mut self, step: impl ProcessingStep<InboxEvent>) -> Self {
        self.steps.after(step);
        self
    }

    /// Stops everything for a while when one message after the other fails: a [`CircuitBreakerStep`](crate::CircuitBreakerStep) or a
    /// [`SharedBreaker`](crate::SharedBreaker).
    pub fn breaker(mut self, breaker: impl ProcessingStep<InboxEvent>) -> Self {
        self.steps.breaker(breaker);
        self
    }

    /// Copies what is given up into a storage: [`DlqStep`](crate::DlqStep).
    pub fn dlq(mut self, storage: impl DlqStorage<InboxEvent>) -> Self {
        self.steps.dlq(storage);
        self
    }

    /// Counts and measures; nothing by default.
    pub fn metrics(mut self, metrics: impl InboxMetrics) -> Self {
        self.metrics = Some(Arc::new(metrics));
        self
    }

    /// Gives everything to a worker.
    pub(super) fn apply<S: InboxRepository>(self, worker: InboxWorkerBuilder<S>) -> InboxWorkerBuilder<S> {
        let worker = worker.steps(self.steps.into_steps().into_iter());
        match self.metrics {
            Some(metrics) => worker.metrics(metrics),
            None => worker,
        }
    }
}

impl fmt::Debug for ProcessorOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessorOptions")
            .field("steps", &self.steps)
            .field("metrics", &self.metrics.is_some())
            .finish()
    }
}
