//! A table of events as one process sees it.

use std::marker::PhantomData;
use std::time::Duration;

use omni_box_core::{
    Attempt, BatchSize, BulkOperations, ClaimToken, Created, DistributedLocking, Event, EventId,
    EventRepository, Failure, FetchFilters, OwnerId, RetentionPolicies, Retry, WorkerId,
};

use super::transaction::{committed, retried};
use super::{Specimen, StoreFixture};

pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long a claim lasts in these cases.
pub(super) const TTL: Duration = MINUTE;

/// A store of events of one kind.
pub(super) struct Table<S, E> {
    pub(super) store: S,
    kind: PhantomData<fn() -> E>,
}

impl<S: EventRepository<E>, E: Specimen> Table<S, E> {
    pub(super) async fn open<F: StoreFixture<Store = S>>(fixture: &F) -> Self {
        Self { store: fixture.open().await, kind: PhantomData }
    }

    /// The first table of a case.
    pub(super) async fn first<F: StoreFixture<Store = S>>(fixture: &F) -> Self {
        E::prepare(fixture).await;
        Self::open(fixture).await
    }

    /// Creates events in one committed transaction.
    pub(super) async fn create(&self, events: &[E]) -> Vec<Created<E>> {
        committed(&self.store, "create events", async |conn| self.store.create_many(conn, events).await).await
    }

    pub(super) async fn create_one(&self, event: &E) -> Created<E> {
        committed(&self.store, "create an event", async |conn| self.store.create(conn, event).await).await
    }

    pub(super) async fn get(&self, id: EventId) -> Option<E> {
        committed(&self.store, "look an event up", async |conn| self.store.get_by_id(conn, id).await).await
    }

    /// The stored row of an event.
    pub(super) async fn row(&self, event: &E) -> E {
        self.get(event.id()).await.unwrap_or_else(|| {
            panic!("event {} was stored and committed, but get_by_id does not find it", event.id())
        })
    }

    /// What is due, by a fetch without claims.
    pub(super) async fn pending(&self) -> Vec<EventId> {
        ids(&self.fetch(1000, &FetchFilters::new()).await)
    }

    pub(super) async fn fetch(&self, limit: u32, filters: &FetchFilters) -> Vec<E> {
        retried("fetch pending events", async || self.store.fetch_pending(size(limit), filters).await).await
    }

    pub(super) async fn mark_processing(&self, event: &E, token: &ClaimToken) -> bool {
        retried("claim an event", async || self.store.mark_processing(event.id(), token).await).await
    }

    pub(super) async fn mark_completed(&self, event: &E, token: &ClaimToken) -> bool {
        retried("complete an event", async || self.store.mark_completed(event.id(), token).await).await
    }

    pub(super) async fn mark_failed(&self, event: &E, token: &ClaimToken, failure: &Failure) -> bool {
        retried("record a failure", async || self.store.mark_failed(event.id(), token, failure).await).await
    }

    /// Claims and fails an event, for stores that do as their contract says.
    pub(super) async fn fail(&self, event: &E, attempt: Attempt, retry: Retry) {
        let token = token();
        assert!(self.mark_processing(event, &token).await, "a pending event without a claim can be claimed");
        let marked = self.mark_failed(event, &token, &failure(attempt, retry)).await;
        assert!(marked, "a failure of a claimed event is recorded");
    }

    /// Claims and completes an event.
    pub(super) async fn complete(&self, event: &E) {
        let token = token();
        assert!(self.mark_processing(event, &token).await, "a pending event without a claim can be claimed");
        assert!(self.mark_completed(event, &token).await, "a claimed event is completed");
    }

    pub(super) fn locking(&self) -> &dyn DistributedLocking<E> {
        self.store.locking().expect("a store that is tested for locking has it")
    }

    pub(super) fn bulk(&self) -> &dyn BulkOperations<E> {
        self.store.bulk().expect("a store that is tested for bulk operations has them")
    }

    pub(super) fn retention(&self) -> &dyn RetentionPolicies<E> {
        self.store.retention().expect("a store that is tested for retention has it")
    }

    /// Claims everything that is due.
    pub(super) async fn claim(&self, token: &ClaimToken) -> Vec<EventId> {
        ids(&self.claim_some(token, 1000, &FetchFilters::new()).await)
    }

    pub(super) async fn claim_some(&self, token: &ClaimToken, limit: u32, filters: &FetchFilters) -> Vec<E> {
        retried("claim events", async || self.locking().claim(token, size(limit), TTL, filters).await).await
    }
}

/// A claim's token. All have one worker's name, as replicas do.
pub(super) fn token() -> ClaimToken {
    ClaimToken::new(&WorkerId::new("publisher-1").expect("a valid name"), OwnerId::generate())
}

pub(super) fn failure(attempt: Attempt, retry: Retry) -> Failure {
    Failure::new("no stock", attempt, retry)
}

pub(super) fn size(size: u32) -> BatchSize {
    BatchSize::new(size).expect("a valid batch size")
}

pub(super) fn ids<E: Event>(events: &[E]) -> Vec<EventId> {
    events.iter().map(Event::id).collect()
}
