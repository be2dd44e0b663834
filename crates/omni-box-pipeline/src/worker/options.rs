//! What a worker may have beside store, group and handler.

use std::fmt;
use std::sync::Arc;

use omni_box_core::{InboxEvent, InboxMetrics, InboxRepository};

use super::builder::InboxWorkerBuilder;
use crate::step::{DlqStorage, ProcessingStep};
use crate::steps::{CircuitBreakerStep, DlqStep};

/// Steps and metrics for [`create_inbox_processor_with`](crate::create_inbox_processor_with) and
/// [`create_dispatching_processor_with`](crate::create_dispatching_processor_with).
///
/// Steps run in this order, however they are set: those of [`before`](Self::before), the breaker, the copies of dead letters, those of
/// [`after`](Self::after), the handler.
#[derive(Default)]
#[must_use = "pass it to a factory"]
pub struct ProcessorOptions {
    before: Vec<Arc<dyn ProcessingStep<InboxEvent>>>,
    breaker: Option<CircuitBreakerStep>,
    dlq: Option<Arc<dyn ProcessingStep<InboxEvent>>>,
    after: Vec<Arc<dyn ProcessingStep<InboxEvent>>>,
    metrics: Option<Arc<dyn InboxMetrics>>,
}

impl ProcessorOptions {
    /// No steps, no metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step in front of all others, behind those that were added before by this call.
    pub fn before(mut self, step: impl ProcessingStep<InboxEvent>) -> Self {
        self.before.push(Arc::new(step));
        self
    }

    /// Adds a step behind all others.
    pub fn after(mut self, step: impl ProcessingStep<InboxEvent>) -> Self {
        self.after.push(Arc::new(step));
        self
    }

    /// Stops everything for a while when one message after the other fails.
    pub fn breaker(mut self, breaker: CircuitBreakerStep) -> Self {
        self.breaker = Some(breaker);
        self
    }

    /// Copies what is given up into a storage: [`DlqStep`].
    pub fn dlq(mut self, storage: impl DlqStorage<InboxEvent>) -> Self {
        self.dlq = Some(Arc::new(DlqStep::new(storage)));
        self
    }

    /// Counts and measures; nothing by default.
    pub fn metrics(mut self, metrics: impl InboxMetrics) -> Self {
        self.metrics = Some(Arc::new(metrics));
        self
    }

    /// Gives everything to a worker.
    pub(super) fn apply<S: InboxRepository>(self, worker: InboxWorkerBuilder<S>) -> InboxWorkerBuilder<S> {
        let breaker = self.breaker.map(|breaker| Arc::new(breaker) as Arc<dyn ProcessingStep<InboxEvent>>);
        let steps = self.before.into_iter().chain(breaker).chain(self.dlq).chain(self.after);
        let worker = worker.steps(steps);
        match self.metrics {
            Some(metrics) => worker.metrics(metrics),
            None => worker,
        }
    }
}

impl fmt::Debug for ProcessorOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |steps: &[Arc<dyn ProcessingStep<InboxEvent>>]| {
            steps.iter().map(|step| step.name()).collect::<Vec<_>>()
        };
        f.debug_struct("ProcessorOptions")
            .field("before", &names(&self.before))
            .field("breaker", &self.breaker)
            .field("dlq", &self.dlq.is_some())
            .field("after", &names(&self.after))
            .field("metrics", &self.metrics.is_some())
            .finish()
    }
}
