//! What the tests of applications on omni-box stand on.
//!
//! - [`TestClock`]: a clock that tests move.
//! - [`MemoryStore`]: a store in memory, with transactions.
//! - [`MemoryBroker`]: a broker in memory, with its publisher and consumers.
//! - [`FaultPlan`]: faults in any store or broker, by [`Faulty`], [`FaultyPublisher`] and [`FaultyConsumer`].
//! - [`TcpProxy`]: a network's faults between a program and its server.
//! - [`assert_enqueued`] and [`assert_one_effect`]: what an application's tests say about it.
//!
//! A handler of `InboxContext<'_, PgStore>` is tested with [`MemoryBroker`] and a real database. The runner takes the broker's consumer
//! and the `PgStore`, and [`assert_enqueued`] reads the outbox by [`OutboxById`]. So is a handler of any other store.
//!
//! ```text
//! let ids = async || sqlx::query_scalar::<_, Uuid>("select id from outbox_events order by seq").fetch_all(store.pool()).await.unwrap();
//! let outbox = OutboxById::new(&store, ids);
//! let shipped = ExpectedEvent::new("order.shipped").topic("shipments").key("7").payload(&json!({"order": 7}));
//! broker.send(NewMessage::to("orders").key("7").value(r#"{"order": 7}"#).header("event_type", "order.placed"));
//! assert_enqueued(&outbox, runner_until_the_message_is_done(), &[shipped]).await;
//! ```
//!
//! A store or broker of your own is tested by the suites of `omni-box-conformance`.

mod assert;
mod broker;
mod clock;
mod enqueued;
mod fault;
mod memory;
mod proxy;

pub use assert::{ExpectedEvent, assert_enqueued, assert_one_effect};
pub use broker::{MemoryBroker, MemoryConsumer, MemoryPublisher, MemoryTransaction, NewMessage};
pub use clock::TestClock;
pub use enqueued::{EnqueuedEvents, OutboxById};
pub use fault::{Capability, FaultPlan, FaultTrigger, Faulty, FaultyConsumer, FaultyPublisher, Operation};
pub use memory::{MemoryConn, MemoryStore, MemoryStoreBuilder, MemoryTx};
pub use proxy::TcpProxy;
