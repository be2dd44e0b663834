//! Faults on purpose, around any store or broker.

mod capability;
mod consumer;
mod operation;
mod plan;
mod publisher;
mod store;

pub use consumer::FaultyConsumer;
pub use operation::Operation;
pub use plan::{FaultPlan, FaultTrigger};
pub use publisher::FaultyPublisher;
pub use store::Faulty;
