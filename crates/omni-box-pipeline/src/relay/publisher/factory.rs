//! A publisher of batches in one call.

use std::fmt;
use std::sync::Arc;

use omni_box_core::{EventPublisher, OutboxEvent, OutboxMetrics, OutboxRepository, Result};

use super::OutboxPublisher;
use crate::step::{DlqStorage, ProcessingStep};
use crate::steps::Ordered;

/// Steps and metrics for [`create_outbox_processor_with`].
///
/// Steps run in this order, however they are set: those of [`before`](Self::before), the breaker, the copies of dead letters, those of
/// [`after`](Self::after), the broker.
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
#[derive(Default)]
#[must_use = "pass it to the factory"]
pub struct OutboxProcessorOptions {
    steps: Ordered<OutboxEvent>,
    metrics: Option<Arc<dyn OutboxMetrics>>,
}

impl OutboxProcessorOptions {
    /// No steps, no metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step in front of all others, behind those that were added before by this call.
    pub fn before(mut self, step: impl ProcessingStep<OutboxEvent>) -> Self {
        self.steps.before(step);
        self
    }

    /// Adds a step behind all others.
    pub fn after(mut self, step: impl ProcessingStep<OutboxEvent>) -> Self {
        self.steps.after(step);
        self
    }

    /// Stops everything for a while when one event after the other fails: a [`CircuitBreakerStep`](crate::CircuitBreakerStep) or a
    /// [`SharedBreaker`](crate::SharedBreaker).
    pub fn breaker(mut self, breaker: impl ProcessingStep<OutboxEvent>) -> Self {
        self.steps.breaker(breaker);
        self
    }

    /// Copies what is given up into a storage: [`DlqStep`](crate::DlqStep).
    pub fn dlq(mut self, storage: impl DlqStorage<OutboxEvent>) -> Self {
        self.steps.dlq(storage);
        self
    }

    /// Counts and measures; nothing by default.
    pub fn metrics(mut self, metrics: impl OutboxMetrics) -> Self {
        self.metrics = Some(Arc::new(metrics));
        self
    }
}

impl fmt::Debug for OutboxProcessorOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxProcessorOptions")
            .field("steps", &self.steps)
            .field("metrics", &self.metrics.is_some())
            .finish()
    }
}

/// A publisher with all defaults, for [`publish_batch`](OutboxPublisher::publish_batch); compatible with the Python library omni-box.
///
/// ```
/// use omni_box_core::{BatchSize, FetchFilters, RawEventConverter, WorkerId};
/// use omni_box_pipeline::create_outbox_processor;
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
/// use tokio_util::sync::CancellationToken;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omni_box_core::Result<()> {
/// let processor = create_outbox_processor(MemoryStore::new(), MemoryBroker::new().publisher(RawEventConverter))?;
/// let (worker, batch, stop) = (WorkerId::new("worker-1")?, BatchSize::new(100)?, CancellationToken::new());
/// assert!(processor.publish_batch(&worker, batch, &FetchFilters::new(), &stop).await?.is_empty());
/// processor.close().await
/// # }
/// ```
///
/// # Errors
/// As [`OutboxPublisherBuilder::build`](crate::OutboxPublisherBuilder::build).
pub fn create_outbox_processor<S: OutboxRepository>(
    store: S,
    publisher: impl EventPublisher,
) -> Result<OutboxPublisher<S>> {
    create_outbox_processor_with(store, publisher, OutboxProcessorOptions::new())
}

/// The same with steps and metrics.
///
/// ```
/// use omni_box_core::{BatchSize, FetchFilters, RawEventConverter, WorkerId};
/// use omni_box_pipeline::{
///     CircuitBreakerStep, OutboxProcessorOptions, SiblingDeduplicationStep, create_outbox_processor_with,
/// };
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
/// use tokio_util::sync::CancellationToken;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omni_box_core::Result<()> {
/// let options =
///     OutboxProcessorOptions::new().breaker(CircuitBreakerStep::new()).after(SiblingDeduplicationStep::new());
/// let publisher = MemoryBroker::new().publisher(RawEventConverter);
/// let processor = create_outbox_processor_with(MemoryStore::new(), publisher, options)?;
/// let (worker, batch, stop) = (WorkerId::new("worker-1")?, BatchSize::new(100)?, CancellationToken::new());
/// assert!(processor.publish_batch(&worker, batch, &FetchFilters::new(), &stop).await?.is_empty());
/// processor.close().await
/// # }
/// ```
///
/// # Errors
/// As [`OutboxPublisherBuilder::build`](crate::OutboxPublisherBuilder::build).
pub fn create_outbox_processor_with<S: OutboxRepository>(
    store: S,
    publisher: impl EventPublisher,
    options: OutboxProcessorOptions,
) -> Result<OutboxPublisher<S>> {
    let OutboxProcessorOptions { steps, metrics } = options;
    let builder = OutboxPublisher::builder(store, publisher).steps(steps.into_steps());
    match metrics {
        Some(metrics) => builder.metrics(metrics).build(),
        None => builder.build(),
    }
}
