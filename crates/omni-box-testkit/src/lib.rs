//! What the tests of applications on omni-box stand on.
//!
//! - [`TestClock`]: a clock that tests move.
//! - [`MemoryStore`]: a store in memory, with transactions.
//! - [`MemoryBroker`]: a broker in memory, with its publisher and consumers.
//! - [`FaultPlan`]: faults in any store or broker, by [`Faulty`], [`FaultyPublisher`] and [`FaultyConsumer`].
//! - [`assert_enqueued`] and [`assert_one_effect`]: what an application's tests say about it.
//!
//! A store or broker of your own is tested by the suites of `omni-box-conformance`.

mod assert;
mod broker;
mod clock;
mod fault;
mod memory;

pub use assert::{ExpectedEvent, assert_enqueued, assert_one_effect};
pub use broker::{MemoryBroker, MemoryConsumer, MemoryPublisher, MemoryTransaction, NewMessage};
pub use clock::TestClock;
pub use fault::{FaultPlan, FaultTrigger, Faulty, FaultyConsumer, FaultyPublisher, Operation};
pub use memory::{MemoryConn, MemoryStore, MemoryStoreBuilder, MemoryTx};
