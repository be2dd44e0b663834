//! What tests of omni-box applications and of its adapters stand on.
//!
//! - [`TestClock`]: a clock that tests move.
//! - [`MemoryStore`]: a store in memory, with transactions.
//! - [`MemoryBroker`]: a broker in memory, with its publisher and consumers.
//! - [`FaultPlan`]: faults in any store or broker, by [`Faulty`], [`FaultyPublisher`] and [`FaultyConsumer`].
//! - [`assert_enqueued`] and [`assert_one_effect`]: what an application's tests say about it.
//! - [`conformance`]: the contracts of `omni-box-core`'s traits as tests, for every store and broker.
//! - [`model`]: random sequences of operations, faults and crashes on a store, compared with a model.

mod assert;
mod broker;
mod clock;
pub mod conformance;
mod fault;
mod memory;
pub mod model;

pub use assert::{ExpectedEvent, assert_enqueued, assert_one_effect};
pub use broker::{MemoryBroker, MemoryConsumer, MemoryPublisher, MemoryTransaction, NewMessage};
pub use clock::TestClock;
pub use fault::{FaultPlan, FaultTrigger, Faulty, FaultyConsumer, FaultyPublisher, Operation};
pub use memory::{MemoryConn, MemoryStore, MemoryStoreBuilder, MemoryTx};
