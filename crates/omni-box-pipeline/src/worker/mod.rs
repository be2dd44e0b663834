//! Messages whose rows were stored before: handled later, by workers that share them.

mod batches;
mod builder;
mod config;
mod runner;

use omni_box_core::{InboxHandler, InboxRepository, Result};

pub use builder::InboxWorkerBuilder;
pub use config::InboxWorkerConfig;
pub use runner::InboxWorker;

use crate::router::EventRouter;
use crate::steps::ProcessorOptions;

/// A worker of stored messages with all defaults, for [`process_batch`](InboxWorker::process_batch); compatible with the Python library
/// omni-box, whose processors are for all groups at once.
///
/// # Errors
/// As [`InboxWorkerBuilder::build`].
///
/// ```
/// use omni_box_core::{BatchSize, InboxContext};
/// use omni_box_pipeline::{create_inbox_processor, on};
/// use omni_box_testkit::MemoryStore;
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omni_box_core::Result<()> {
/// let processor = create_inbox_processor(MemoryStore::new(), "shipping", on("order.placed", ship))?;
/// let result = processor.process_batch(BatchSize::new(50)?).await?;
/// assert!(result.is_empty(), "no message was stored");
/// # Ok(())
/// # }
/// ```
pub fn create_inbox_processor<S: InboxRepository>(
    store: S,
    consumer_group: impl std::fmt::Display,
    handler: impl InboxHandler<S>,
) -> Result<InboxWorker<S>> {
    create_inbox_processor_with(store, consumer_group, handler, ProcessorOptions::new())
}

/// The same with steps and metrics.
///
/// # Errors
/// As [`InboxWorkerBuilder::build`].
///
/// ```
/// use omni_box_core::{BatchSize, InboxContext};
/// use omni_box_pipeline::{
///     CircuitBreakerStep, ProcessorOptions, SiblingDeduplicationStep, create_inbox_processor_with, on,
/// };
/// use omni_box_testkit::MemoryStore;
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omni_box_core::Result<()> {
/// let options =
///     ProcessorOptions::new().breaker(CircuitBreakerStep::new()).after(SiblingDeduplicationStep::new());
/// let processor =
///     create_inbox_processor_with(MemoryStore::new(), "shipping", on("order.placed", ship), options)?;
/// assert!(processor.process_batch(BatchSize::new(50)?).await?.is_empty());
/// # Ok(())
/// # }
/// ```
pub fn create_inbox_processor_with<S: InboxRepository>(
    store: S,
    consumer_group: impl std::fmt::Display,
    handler: impl InboxHandler<S>,
    options: ProcessorOptions,
) -> Result<InboxWorker<S>> {
    let (steps, metrics) = options.into_parts();
    let worker = InboxWorker::builder(store).consumer_group(consumer_group).handler(handler);
    let worker = worker.steps(steps.into_iter());
    match metrics {
        Some(metrics) => worker.metrics(metrics).build(),
        None => worker.build(),
    }
}

/// The same for a router; what the Python library omni-box injects as dependencies is the router's
/// [state](EventRouter::with_state).
///
/// # Errors
/// As [`InboxWorkerBuilder::build`].
///
/// ```
/// use omni_box_core::InboxContext;
/// use omni_box_pipeline::{EventRouter, create_dispatching_processor};
/// use omni_box_testkit::MemoryStore;
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
/// async fn cancel(_cx: InboxContext<'_, MemoryStore>) {}
///
/// let router =
///     EventRouter::new().on("orders", "order.placed", ship).on("orders", "order.cancelled", cancel);
/// assert!(create_dispatching_processor(MemoryStore::new(), "shipping", router).is_ok());
/// ```
pub fn create_dispatching_processor<S: InboxRepository>(
    store: S,
    consumer_group: impl std::fmt::Display,
    router: EventRouter<S>,
) -> Result<InboxWorker<S>> {
    create_inbox_processor(store, consumer_group, router)
}

/// The same with steps and metrics.
///
/// ```
/// use omni_box_core::InboxContext;
/// use omni_box_pipeline::{CircuitBreakerStep, EventRouter, ProcessorOptions, create_dispatching_processor_with};
/// use omni_box_testkit::MemoryStore;
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
///
/// let router = EventRouter::new().on("orders", "order.placed", ship);
/// let options = ProcessorOptions::new().breaker(CircuitBreakerStep::new());
/// assert!(create_dispatching_processor_with(MemoryStore::new(), "shipping", router, options).is_ok());
/// ```
///
/// # Errors
/// As [`InboxWorkerBuilder::build`].
pub fn create_dispatching_processor_with<S: InboxRepository>(
    store: S,
    consumer_group: impl std::fmt::Display,
    router: EventRouter<S>,
    options: ProcessorOptions,
) -> Result<InboxWorker<S>> {
    create_inbox_processor_with(store, consumer_group, router, options)
}
