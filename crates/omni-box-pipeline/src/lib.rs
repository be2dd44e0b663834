//! The engine of omni-box: the outbox relay and the inbox runner, over any store and broker.

mod gate;
mod inbox;
mod layer;
mod maintenance;
mod outcome;
mod relay;
pub mod router;
mod settings;
mod transact;
mod workers;

pub use gate::GateStatus;
pub use inbox::{InboxConfig, InboxConsumeResult, InboxConsumerRunner, InboxConsumerRunnerBuilder};
pub use layer::{HandlerLayer, Next};
pub use maintenance::OmniBoxMaintenanceService;
pub use outcome::Outcome;
pub use relay::{
    BatchProcessingResult, OutboxPublisher, OutboxPublisherBuilder, OutboxRelay, OutboxRelayBuilder,
    RejectionPolicy, RelayConfig, RelaySnapshot, RelayStatus,
};
pub use router::{ANY_SOURCE, EventHandlers, EventRouter, MethodFuture, Routes, Unhandled, on};
pub use transact::{AckStrategy, CommitOffsetPolicy, OnFailed};
pub use workers::{Workers, shutdown_signal};
