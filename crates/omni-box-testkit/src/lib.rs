//! What tests of omni-box applications and of its adapters stand on.
//!
//! - [`TestClock`]: a clock that tests move.
//! - [`MemoryStore`]: a store in memory, with transactions.
//! - [`conformance`]: the contracts of `omni-box-core`'s traits as tests, for every store and broker.

mod broker;
mod clock;
pub mod conformance;
mod fault;
mod memory;

pub use broker::{MemoryBroker, MemoryConsumer, MemoryPublisher, MemoryTransaction, NewMessage};
pub use clock::TestClock;
pub use fault::{FaultPlan, FaultTrigger, Faulty, FaultyConsumer, FaultyPublisher, Operation};
pub use memory::{MemoryConn, MemoryStore, MemoryStoreBuilder, MemoryTx};
