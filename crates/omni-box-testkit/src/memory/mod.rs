//! A store in memory, with transactions like a database's.

mod breaker;
mod dead_letter;
mod events;
mod inbox;
mod inspection;
mod key;
mod lane;
mod lanes;
mod lock;
mod locking;
mod members;
mod outbox;
mod quarantine;
mod record;
mod retention;
mod savepoint;
mod sealed;
mod settlement;
mod state;
mod table;
mod tables;
mod transaction;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::store::{Breakers, Inspection};
use omni_box_core::{DeliveryMode, InboxEvent, OutboxEvent, QuarantinedMessage, Result, Store};
use serde::de::DeserializeOwned;

use self::lock::LONGEST_WAIT;
use self::state::Shared;
use self::table::Row;
use self::tables::Tables;
pub use self::transaction::{MemoryConn, MemoryTx};
use crate::TestClock;

/// Outbox and inbox in memory, for tests that need no server. Cloning is cheap and shares the data; nothing outlives the last clone.
///
/// It behaves as omni-box's store on PostgreSQL, with every capability:
///
/// - Transactions are snapshots. What one writes is there for others when it commits, and gone when it is rolled back or dropped.
/// - Of two transactions that create one idempotency key (or message), or write one row, the second waits until the first has ended.
///   After 5 s of tokio's time (less in [`begin_handling`](Store::begin_handling)) it gives up with
///   [`Contention`](omni_box_core::ErrorKind::Contention); so end two that wait for each other.
/// - A row of the application that another transaction has changed meanwhile is not overwritten:
///   [`Contention`](omni_box_core::ErrorKind::Contention) again. Run the whole transaction once more.
/// - Events are numbered when they are created, so that numbers are skipped by a rollback, and appear late when their transaction
///   commits late.
/// - There are 16 lanes. An event's lane is not the one that PostgreSQL would choose.
///
/// What it does not do: end a transaction whose handler takes too long (nothing here runs beside it), nor keep anything on a disk.
///
/// Time is that of its [`clock`](Self::clock): it runs with tokio's (also paused), and tests move it.
///
/// A handler is tested by calling it:
///
/// ```
/// use omni_box_core::*;
/// use omni_box_testkit::MemoryStore;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Order {
///     id: u32,
/// }
///
/// // what is tested: notes a shipment and tells the world
/// async fn ship(mut cx: InboxContext<'_, MemoryStore>, order: Order) -> Result<(), HandlerError> {
///     cx.conn().insert("shipments", &order.id.to_string(), &order).await?;
///     let event = NewOutboxEvent::new("order.shipped", "shipments", &order);
///     cx.enqueue(event).await?;
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let store = MemoryStore::new();
/// let content = EventContent::new("order.placed", Payload::new(&Order { id: 7 })?);
/// let message = NewInboxEvent::new("message-1", ConsumerGroup::new("shipping")?, "orders", content);
/// let message = OmniBoxDomainService::default().create_inbox_event(message)?;
///
/// let mut tx = store.begin().await?;
/// let worker = WorkerId::new("test")?;
/// let cx = InboxContext::new(&message, &mut *tx, &store, &worker);
/// ship(cx, message.payload().deserialize()?).await.expect("it ships");
/// assert!(store.outbox_events().is_empty(), "nothing is there before the commit");
/// store.commit(tx).await?;
///
/// let shipments = store.scan::<Order>("shipments")?;
/// assert_eq!(shipments[0].1.id, 7);
/// assert_eq!(store.outbox_events()[0].event_type(), "order.shipped");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

impl MemoryStore {
    /// An empty store in the mode [`Lanes`](DeliveryMode::Lanes), with a clock of its own.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// An empty store with another clock or mode.
    pub fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder { clock: None, mode: DeliveryMode::Lanes }
    }

    /// Its clock.
    pub fn clock(&self) -> &TestClock {
        &self.shared.clock
    }

    /// All committed outbox events, in the order in which they were created.
    pub fn outbox_events(&self) -> Vec<OutboxEvent> {
        self.committed().outbox.rows().map(Row::event).collect()
    }

    /// All committed inbox events, in the order in which they were stored.
    pub fn inbox_events(&self) -> Vec<InboxEvent> {
        self.committed().inbox.rows().map(Row::event).collect()
    }

    /// What is in quarantine, in the order in which it came.
    pub fn quarantined(&self) -> Vec<QuarantinedMessage> {
        let tables = self.committed();
        let mut kept: Vec<_> = tables.quarantine.values().collect();
        kept.sort_by_key(|kept| kept.seq);
        kept.into_iter().map(|kept| kept.message.clone()).collect()
    }

    /// All committed rows of a table of the application with their keys, in the order of the keys.
    ///
    /// # Errors
    /// [`Decode`](omni_box_core::ErrorKind::Decode) when one is not a `T`.
    pub fn scan<T: DeserializeOwned>(&self, table: &str) -> Result<Vec<(String, T)>> {
        self.committed().scan(table)
    }

    fn committed(&self) -> Tables {
        self.shared.state().tables.clone()
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

/// Builds a [`MemoryStore`].
#[derive(Debug)]
#[must_use = "call build"]
pub struct MemoryStoreBuilder {
    clock: Option<TestClock>,
    mode: DeliveryMode,
}

impl MemoryStoreBuilder {
    /// A clock that is shared with others, such as the domain service or a second store.
    pub fn clock(mut self, clock: TestClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Claims of rows instead of lanes: [`Rows`](DeliveryMode::Rows).
    pub fn rows(mut self) -> Self {
        self.mode = DeliveryMode::Rows;
        self
    }

    /// Makes the store.
    pub fn build(self) -> MemoryStore {
        let clock = self.clock.unwrap_or_default();
        MemoryStore { shared: Arc::new(Shared::new(clock, self.mode)) }
    }
}

impl Store for MemoryStore {
    type Conn = MemoryConn;
    type Tx = MemoryTx;

    async fn begin(&self) -> Result<MemoryTx> {
        Ok(MemoryTx::begin(&self.shared, LONGEST_WAIT))
    }

    async fn commit(&self, tx: MemoryTx) -> Result<()> {
        tx.commit()
    }

    fn inspection(&self) -> Option<&dyn Inspection> {
        Some(self)
    }

    fn breakers(&self) -> Option<&dyn Breakers> {
        Some(self)
    }

    async fn rollback(&self, tx: MemoryTx) -> Result<()> {
        drop(tx);
        Ok(())
    }

    async fn begin_handling(&self, timeout: Duration) -> Result<MemoryTx> {
        // a little less than the handler may take, so that the error tells what took it
        Ok(MemoryTx::begin(&self.shared, timeout.mul_f32(0.9)))
    }
}
