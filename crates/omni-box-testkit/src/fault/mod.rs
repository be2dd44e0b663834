//! Faults on purpose, around any store or broker.

mod capability;
mod consumer;
mod operation;
mod plan;
mod publisher;
mod store;
mod trigger;
mod without;

pub use consumer::FaultyConsumer;
pub use operation::{Capability, Operation};
pub use plan::FaultPlan;
pub use publisher::FaultyPublisher;
pub use store::Faulty;
pub use trigger::FaultTrigger;
