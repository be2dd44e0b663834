//! From the outbox to the broker.
//!
//! [`OutboxRelay`] runs until it is cancelled; [`OutboxPublisher`] publishes one batch per call, as the Python library omni-box
//! does. Both judge failures in one place ([`verdict`]); in mode `lanes` both keep the same books ([`lanes::flight`]).

mod answer;
mod builder;
mod config;
mod lanes;
mod mode;
mod observer;
mod publisher;
mod rows;
mod settings;
mod shared;
mod status;
mod stepped;
mod suspects;
mod verdict;
mod wakeup;

pub use builder::{OutboxRelay, OutboxRelayBuilder};
pub use config::RelayConfig;
pub use publisher::{
    OutboxPublisher, OutboxPublisherBuilder, create_outbox_processor, create_outbox_processor_with,
};
pub use status::{RelaySnapshot, RelayStatus};
pub use verdict::RejectionPolicy;
