//! From the outbox to the broker.
//!
//! [`OutboxRelay`] runs until it is cancelled; [`OutboxPublisher`] publishes one batch per call, as the guide has it. Both take
//! events through the same books ([`flight`]) and judge failures in the same place ([`verdict`]).

mod builder;
mod deadline;
mod engine;
mod flight;
#[cfg(test)]
mod flight_simulation;
mod lanes;
mod pace;
mod publisher;
mod rows;
mod verdict;

pub use builder::{OutboxRelay, OutboxRelayBuilder};
pub use publisher::{BatchProcessingResult, OutboxPublisher, OutboxPublisherBuilder};
pub use verdict::RejectionPolicy;
