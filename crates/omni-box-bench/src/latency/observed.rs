//! A store and a publisher that note when each event passed by, and change nothing.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use omni_box::broker::{EventPublisher, Reporter, SendOrder};
use omni_box::event::{ClaimToken, Failure};
use omni_box::id::OwnerId;
use omni_box::prelude::*;
use omni_box::store::{
    Activity, DeliveryMode, LaneFetch, LaneRead, LaneSettlement, LaneShare, Lease, LeaseRequest,
    OrderedLanes, Settled, Wakeup,
};
use omni_box::{ErrorKind, EventId, Result};

/// When an event passed the relay.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stamp {
    /// The fetch that found it began.
    pub(super) fetch: Option<Instant>,
    /// It was handed to the producer.
    pub(super) submitted: Option<Instant>,
    /// The broker had acknowledged it.
    pub(super) acknowledged: Option<Instant>,
}

/// The stamps of all events.
#[derive(Clone, Default)]
pub(super) struct Stamps(Arc<Mutex<HashMap<EventId, Stamp>>>);

impl Stamps {
    fn stamps(&self) -> MutexGuard<'_, HashMap<EventId, Stamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(&self, id: EventId) -> Option<Stamp> {
        self.stamps().get(&id).copied()
    }
}

/// What is inside, observed.
#[derive(Clone)]
pub(super) struct Observed<T> {
    inner: T,
    stamps: Stamps,
}

impl<T> Observed<T> {
    pub(super) fn new(inner: T, stamps: &Stamps) -> Self {
        Self { inner, stamps: stamps.clone() }
    }
}

#[async_trait]
impl<P: EventPublisher> EventPublisher for Observed<P> {
    fn send_order(&self) -> SendOrder {
        self.inner.send_order()
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        let now = Instant::now();
        {
            let mut stamps = self.stamps.stamps();
            for event in &events {
                stamps.entry(event.id()).or_default().submitted = Some(now);
            }
        }
        let stamps = self.stamps.clone();
        let reporter = reporter.inspect(move |report| {
            stamps.stamps().entry(report.id).or_default().acknowledged = Some(Instant::now());
        });
        self.inner.submit(events, &reporter).await;
    }

    async fn purge(&self) {
        self.inner.purge().await;
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }
}

#[async_trait]
impl<S: OutboxRepository> OrderedLanes for Observed<S> {
    async fn lease(&self, request: &LeaseRequest) -> Result<LaneShare> {
        self.inside().lease(request).await
    }

    async fn release(&self, owner: OwnerId, leases: &[Lease]) -> Result<()> {
        self.inside().release(owner, leases).await
    }

    async fn leave(&self, owner: OwnerId) -> Result<()> {
        self.inside().leave(owner).await
    }

    async fn fetch(
        &self,
        lanes: &[LaneRead],
        in_flight: &[EventId],
        resting: &[String],
        max_bytes: u64,
    ) -> Result<LaneFetch> {
        let began = Instant::now();
        let found = self.inside().fetch(lanes, in_flight, resting, max_bytes).await?;
        let mut stamps = self.stamps.stamps();
        for event in &found.events {
            stamps.entry(event.event.id()).or_default().fetch.get_or_insert(began);
        }
        Ok(found)
    }

    async fn settle(&self, owner: OwnerId, leases: &[Lease], settlement: &LaneSettlement) -> Result<Settled> {
        self.inside().settle(owner, leases, settlement).await
    }

    async fn announce(&self, owner: OwnerId, leases: &[Lease], activity: Activity) -> Result<()> {
        self.inside().announce(owner, leases, activity).await
    }
}

impl<S: OutboxRepository> Observed<S> {
    fn inside(&self) -> &dyn OrderedLanes {
        self.inner.lanes().expect("the store inside has lanes, or the relay was told that there are none")
    }
}

impl<S: OutboxRepository> OutboxRepository for Observed<S> {
    async fn delivery_mode(&self) -> Result<DeliveryMode> {
        self.inner.delivery_mode().await
    }

    fn lanes(&self) -> Option<&dyn OrderedLanes> {
        self.inner.lanes().is_some().then_some(self)
    }

    fn wakeup(&self) -> Option<Box<dyn Wakeup>> {
        self.inner.wakeup()
    }
}

impl<S: Store> Store for Observed<S> {
    type Conn = S::Conn;
    type Tx = S::Tx;

    async fn begin(&self) -> Result<S::Tx> {
        self.inner.begin().await
    }

    async fn commit(&self, tx: S::Tx) -> Result<()> {
        self.inner.commit(tx).await
    }

    async fn rollback(&self, tx: S::Tx) -> Result<()> {
        self.inner.rollback(tx).await
    }

    async fn begin_handling(&self, timeout: Duration) -> Result<S::Tx> {
        self.inner.begin_handling(timeout).await
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        self.inner.classify(error)
    }

    fn connections(&self) -> Option<usize> {
        self.inner.connections()
    }

    fn lock_wait(&self) -> Option<Duration> {
        self.inner.lock_wait()
    }
}

impl<S: OutboxRepository> EventRepository<OutboxEvent> for Observed<S> {
    async fn create(&self, conn: &mut S::Conn, event: &OutboxEvent) -> Result<Created<OutboxEvent>> {
        self.inner.create(conn, event).await
    }

    async fn get_by_id(&self, conn: &mut S::Conn, id: EventId) -> Result<Option<OutboxEvent>> {
        self.inner.get_by_id(conn, id).await
    }

    async fn fetch_pending(&self, limit: BatchSize, filters: &FetchFilters) -> Result<Vec<OutboxEvent>> {
        self.inner.fetch_pending(limit, filters).await
    }

    async fn mark_processing(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        self.inner.mark_processing(id, token).await
    }

    async fn mark_completed(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        self.inner.mark_completed(id, token).await
    }

    async fn mark_failed(&self, id: EventId, token: &ClaimToken, failure: &Failure) -> Result<bool> {
        self.inner.mark_failed(id, token, failure).await
    }
}
