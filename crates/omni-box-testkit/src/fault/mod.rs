//! Faults on purpose, around any store or broker.

mod capability;
mod consumer;
mod operation;
mod plan;
mod publisher;
mod store;
mod trigger;

pub use consumer::FaultyConsumer;
pub use operation::Operation;
pub use plan::FaultPlan;
pub use publisher::FaultyPublisher;
pub use store::Faulty;
pub use trigger::FaultTrigger;
