//! Where assertions read the events that an application has enqueued.

use omni_box_core::{EventId, EventRepository, OutboxEvent, OutboxRepository, Result};

use crate::{Faulty, MemoryStore};

/// The outbox of a test: what [`assert_enqueued`](crate::assert_enqueued) compares before and after.
///
/// [`MemoryStore`] is one. [`OutboxById`] makes one of any other store.
#[allow(async_fn_in_trait, reason = "tests await it where the store is known")]
pub trait EnqueuedEvents {
    /// All committed outbox events, in the order in which they were created, whatever has become of them.
    ///
    /// # Errors
    /// When the store fails.
    async fn enqueued(&self) -> Result<Vec<OutboxEvent>>;
}

impl EnqueuedEvents for MemoryStore {
    async fn enqueued(&self) -> Result<Vec<OutboxEvent>> {
        Ok(self.outbox_events())
    }
}

impl<S: EnqueuedEvents> EnqueuedEvents for Faulty<S> {
    /// Reads the store inside, past every fault.
    async fn enqueued(&self) -> Result<Vec<OutboxEvent>> {
        self.inner().enqueued().await
    }
}

/// The outbox of any store, whose events are looked up by their ids.
///
/// The traits of stores show what is due, not what there is, so the test lists the ids. On an SQL store one query does:
/// `select id from outbox_events order by seq`.
///
/// ```
/// use omni_box_core::*;
/// use omni_box_testkit::{ExpectedEvent, MemoryStore, OutboxById, assert_enqueued};
/// use serde_json::json;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let store = MemoryStore::new();
/// // with a `PgStore`: `sqlx::query_scalar::<_, Uuid>("select id from outbox_events order by seq").fetch_all(store.pool())`
/// let ids = async || store.outbox_events().iter().map(Event::id).collect::<Vec<_>>();
/// let place = async {
///     let mut tx = store.begin().await?;
///     store.enqueue(&mut tx, NewOutboxEvent::new("order.placed", "orders", &json!({"order": 7}))).await?;
///     store.commit(tx).await
/// };
/// assert_enqueued(&OutboxById::new(&store, ids), place, &[ExpectedEvent::new("order.placed")]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct OutboxById<'a, S, F> {
    store: &'a S,
    ids: F,
}

impl<'a, S, F> OutboxById<'a, S, F> {
    /// `ids` lists the ids of all committed outbox events, in the order in which they were created.
    pub fn new(store: &'a S, ids: F) -> Self {
        Self { store, ids }
    }
}

impl<S, F, I> EnqueuedEvents for OutboxById<'_, S, F>
where
    S: OutboxRepository,
    F: AsyncFn() -> Vec<I>,
    I: Into<EventId>,
{
    async fn enqueued(&self) -> Result<Vec<OutboxEvent>> {
        let ids = (self.ids)().await;
        let mut tx = self.store.begin().await?;
        let mut events = Vec::with_capacity(ids.len());
        for id in ids {
            let event: Option<OutboxEvent> =
                EventRepository::<OutboxEvent>::get_by_id(self.store, &mut tx, id.into()).await?;
            events.extend(event);
        }
        self.store.rollback(tx).await?;
        Ok(events)
    }
}
