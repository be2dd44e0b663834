//! Mode `rows` on stores that cannot take claims over: nothing stays claimed.

use omni_box_core::{
    BatchSize, ClaimToken, DeliveryMode, DistributedLocking, ErrorKind, Failure, FetchFilters, OutboxExt,
    OutboxRepository, OwnerId, RetentionPolicies, WorkerId,
};
use omni_box_testkit::{MemoryConn, MemoryStore, MemoryTx, Operation};

use super::memory::{Memory, start};
use super::*;

/// What the store in memory offers of its capabilities.
#[derive(Debug, Clone, Copy)]
enum Offers {
    Locking,
    Retention,
    Neither,
}

/// The store in memory, less some capabilities.
#[derive(Clone)]
struct Plain {
    inner: MemoryStore,
    offers: Offers,
}

impl Store for Plain {
    type Conn = MemoryConn;
    type Tx = MemoryTx;

    async fn begin(&self) -> omni_box_core::Result<MemoryTx> {
        self.inner.begin().await
    }

    async fn commit(&self, tx: MemoryTx) -> omni_box_core::Result<()> {
        self.inner.commit(tx).await
    }

    async fn rollback(&self, tx: MemoryTx) -> omni_box_core::Result<()> {
        self.inner.rollback(tx).await
    }
}

impl EventRepository<OutboxEvent> for Plain {
    async fn create(
        &self,
        conn: &mut MemoryConn,
        event: &OutboxEvent,
    ) -> omni_box_core::Result<Created<OutboxEvent>> {
        self.inner.create(conn, event).await
    }

    async fn get_by_id(
        &self,
        conn: &mut MemoryConn,
        id: EventId,
    ) -> omni_box_core::Result<Option<OutboxEvent>> {
        self.inner.outbox().get_by_id(conn, id).await
    }

    async fn fetch_pending(
        &self,
        limit: BatchSize,
        filters: &FetchFilters,
    ) -> omni_box_core::Result<Vec<OutboxEvent>> {
        self.inner.outbox().fetch_pending(limit, filters).await
    }

    async fn mark_processing(&self, id: EventId, token: &ClaimToken) -> omni_box_core::Result<bool> {
        self.inner.outbox().mark_processing(id, token).await
    }

    async fn mark_completed(&self, id: EventId, token: &ClaimToken) -> omni_box_core::Result<bool> {
        self.inner.outbox().mark_completed(id, token).await
    }

    async fn mark_failed(
        &self,
        id: EventId,
        token: &ClaimToken,
        failure: &Failure,
    ) -> omni_box_core::Result<bool> {
        self.inner.outbox().mark_failed(id, token, failure).await
    }

    fn locking(&self) -> Option<&dyn DistributedLocking<OutboxEvent>> {
        matches!(self.offers, Offers::Locking).then_some(&self.inner as _)
    }

    fn retention(&self) -> Option<&dyn RetentionPolicies<OutboxEvent>> {
        matches!(self.offers, Offers::Retention).then_some(&self.inner as _)
    }
}

impl OutboxRepository for Plain {}

fn world(offers: Offers) -> (Memory, Plain) {
    let memory = Memory::new(DeliveryMode::Rows);
    let store = Plain { inner: memory.store.clone(), offers };
    (memory, store)
}

/// Claims everything that is due, as a worker does that is killed before it marks anything.
async fn claim_and_die(store: &Plain) -> Result<()> {
    let token = ClaimToken::new(&WorkerId::new("dead")?, OwnerId::generate());
    let events = store.fetch_pending(BatchSize::new(100)?, &FetchFilters::default()).await?;
    assert_eq!(events.len(), 2);
    for event in events {
        assert!(store.mark_processing(event.id(), &token).await?);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_worker_has_claimed_is_published_after_a_lease() -> Result<()> {
    for offers in [Offers::Locking, Offers::Retention] {
        let (memory, store) = world(offers);
        let running = start(memory.relay(store.clone()).lease_ttl(Duration::from_secs(20)));
        // twice: the relay looks for such claims all the time, not at its start alone
        for events in [2, 4] {
            memory.enqueue(&["a", "b"]).await?;
            // before the relay does: nothing here waits, and both run on one thread
            claim_and_die(&store).await?;
            let took = memory.completed(events).await;
            let (least, most) = (Duration::from_secs(19), Duration::from_secs(27));
            assert!((least..=most).contains(&took), "{took:?} by {offers:?}");
        }
        assert_eq!(memory.attempts_made(), 0);
        running.stop().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_published_is_given_back_at_once() -> Result<()> {
    for offers in [Offers::Locking, Offers::Retention, Offers::Neither] {
        let (memory, store) = world(offers);
        memory.plan.on(Operation::Submit).times(2).fail_before(ErrorKind::Unavailable);
        memory.enqueue(&["a", "b"]).await?;
        let running = start(memory.relay(store).lease_ttl(Duration::from_secs(60)));
        let took = memory.completed(2).await;
        assert!(took <= Duration::from_secs(4), "{took:?} on a store that offers {offers:?}");
        assert_eq!(memory.attempts_made(), 0);
        running.stop().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_stopped_gives_back_what_it_has_claimed() -> Result<()> {
    for offers in [Offers::Locking, Offers::Retention, Offers::Neither] {
        let (memory, store) = world(offers);
        memory.plan.on(Operation::Submit).freeze_before();
        memory.enqueue(&["a", "b"]).await?;
        let running = start(memory.relay(store));
        memory.plan.until_frozen().await;
        assert!(!memory.is_untouched());
        running.stop().await?;
        assert!(memory.is_untouched(), "on a store that offers {offers:?}");
    }
    Ok(())
}
