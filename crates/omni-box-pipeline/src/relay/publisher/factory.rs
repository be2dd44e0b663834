//! A publisher of batches in one call.

use omni_box_core::{EventPublisher, OutboxRepository, Result};

use super::OutboxPublisher;
use crate::steps::OutboxProcessorOptions;

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
    let (steps, metrics) = options.into_parts();
    let builder = OutboxPublisher::builder(store, publisher).steps(steps);
    match metrics {
        Some(metrics) => builder.metrics(metrics).build(),
        None => builder.build(),
    }
}
