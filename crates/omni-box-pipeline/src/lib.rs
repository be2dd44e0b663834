//! The engine of omni-box: the outbox relay and the inbox runner, over any store and broker.

mod gate;
mod inbox;
mod relay;
mod settings;

pub use inbox::{
    AckStrategy, CommitOffsetPolicy, InboxConsumeResult, InboxConsumerRunner, InboxConsumerRunnerBuilder,
    InboxOutcome, OnFailed,
};
pub use relay::{
    BatchProcessingResult, OutboxPublisher, OutboxPublisherBuilder, OutboxRelay, OutboxRelayBuilder,
    RejectionPolicy,
};
