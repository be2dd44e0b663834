//! The engine of omni-box: the outbox relay and the inbox runner, over any store and broker.
//!
//! | what | for |
//! |---|---|
//! | [`OutboxRelay`] | publishes a store's outbox until it is stopped |
//! | [`OutboxPublisher`] | publishes a batch a call, for a loop of your own |
//! | [`InboxConsumerRunner`] | gives each message to its handler, in the message's transaction |
//! | [`InboxWorker`] | handles messages that were stored before |
//! | [`EventRouter`], [`on`] | bind handlers to the events that they are for |
//! | [`OmniBoxMaintenanceService`] | gives claims of dead workers back and deletes old events |
//! | [`ProcessingStep`], [`EventProcessorBuilder`] | decide about each event before it is handled or sent |
//! | [`Workers`] | runs them in one process, and drains all when one fails |
//!
//! An order that is placed and shipped, on a store and a broker in memory:
//! ```
//! use omni_box_core::{ConsumerGroup, EnvelopeEventConverter, InboxContext, NewOutboxEvent, OutboxExt, Result, Store};
//! use omni_box_pipeline::{InboxConsumerRunner, OutboxRelay, Workers, on};
//! use omni_box_testkit::{MemoryBroker, MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
//! broker.create_topic("orders", 1);
//!
//! let mut tx = store.begin().await?;
//! let order = NewOutboxEvent::new("order.placed", "orders", &serde_json::json!({"id": 7}));
//! store.enqueue(&mut tx, order.partition_key("7")).await?;
//! store.commit(tx).await?;
//!
//! async fn ship(mut cx: InboxContext<'_, MemoryStore>) -> Result<()> {
//!     cx.conn().insert("shipments", "7", &"shipped").await
//! }
//!
//! let relay = OutboxRelay::builder(store.clone(), broker.publisher(EnvelopeEventConverter)).build()?;
//! let group = ConsumerGroup::new("shipping")?;
//! let inbox = InboxConsumerRunner::builder(broker.consumer(&group, ["orders"]), store.clone())
//!     .handler(on("order.placed", ship))
//!     .build()?;
//! let shipped = async {
//!     while store.scan::<String>("shipments").is_ok_and(|rows| rows.is_empty()) {
//!         tokio::task::yield_now().await;
//!     }
//! };
//! Workers::new().relay(relay).inbox(inbox).run_until(shipped).await?; // `shutdown_signal()` in a program
//! assert_eq!(store.scan::<String>("shipments")?.len(), 1);
//! # Ok(())
//! # }
//! ```

mod batch;
mod claims;
mod copies;
mod deadline;
mod gate;
mod inbox;
mod lamps;
mod layer;
mod maintenance;
mod membership;
mod outcome;
mod polling;
mod processor;
mod relay;
pub mod router;
mod settings;
mod status;
mod step;
mod steps;
mod strategy;
mod transact;
mod watchdog;
mod work;
mod worker;
mod workers;

pub use batch::{BatchProcessingResult, EventFailure};
pub use gate::GateStatus;
pub use inbox::{InboxConfig, InboxConsumeResult, InboxConsumerRunner, InboxConsumerRunnerBuilder};
pub use layer::{BatchLayer, HandlerLayer, Next, NextBatch};
pub use maintenance::OmniBoxMaintenanceService;
pub use outcome::Outcome;
pub use processor::{
    Around, Before, EventProcessorBuilder, InboxProcessorBuilder, InboxStep, Innermost,
    OutboxProcessorBuilder, OutboxStep,
};
pub use relay::{
    OutboxPublisher, OutboxPublisherBuilder, OutboxRelay, OutboxRelayBuilder, RejectionPolicy, RelayConfig,
    RelaySnapshot, RelayStatus, create_outbox_processor, create_outbox_processor_with,
};
pub use router::{ANY_SOURCE, EventHandlers, EventRouter, MethodFuture, Routes, Unhandled, on, on_batch};
pub use status::{InboxSnapshot, InboxStatus};
pub use step::{
    BatchContext, DlqStorage, DryRun, DryRunResult, ProcessingContext, ProcessingStep, SettledEvent,
    StepResult,
};
pub use steps::{
    CircuitBreakerStep, DlqStep, HandlerExecutionStep, MetricsStep, OutboxProcessorOptions, ProcessorOptions,
    PublisherExecutionStep, SharedBreaker, SiblingDeduplicationStep, StepOptions,
};
pub use strategy::{CommitStrategy, FetchStrategy};
pub use transact::{AckStrategy, CommitOffsetPolicy, OnFailed, SavepointPolicy};
pub use worker::{
    InboxWorker, InboxWorkerBuilder, InboxWorkerConfig, create_dispatching_processor,
    create_dispatching_processor_with, create_inbox_processor, create_inbox_processor_with,
};
pub use workers::{Workers, WorkersStatus, shutdown_signal};
