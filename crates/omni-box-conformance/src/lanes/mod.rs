//! [`OrderedLanes`]: leases, what their owner reads, and what it settles.

pub mod bound;
pub mod fetch;
pub mod hold;
pub mod lease;
pub mod settle;

use omni_box_core::{
    Attempt, DeliveryMode, Event, EventId, Failure, KeyRef, LaneEvent, LaneFetch, LaneHold, LaneId, LaneRead,
    LaneSettlement, LaneShare, Lease, LeaseRequest, OrderedLanes, OutboxEvent, OutboxRepository, OwnerId,
    Result, Retry, Settled, WorkerId,
};

use super::StoreFixture;
use super::table::{TTL, Table};
use super::transaction::retried;

/// Bytes that no case exceeds.
const AMPLE: u64 = 64 << 20;

/// How many lanes a store has that offers them.
pub(super) async fn count<F>(fixture: &F) -> usize
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(fixture).await;
    relay.leave().await;
    relay.leases.len()
}

/// A relay, in a process of its own.
struct Relay<S> {
    table: Table<S, OutboxEvent>,
    owner: OwnerId,
    leases: Vec<Lease>,
    fair_share: usize,
}

impl<S: OutboxRepository> Relay<S> {
    /// The first relay of a case: holds every lane.
    async fn first<F: StoreFixture<Store = S>>(fixture: &F) -> Self {
        fixture.set_mode(DeliveryMode::Lanes).await;
        Self::start(fixture).await
    }

    /// One that has asked for its share.
    async fn start<F: StoreFixture<Store = S>>(fixture: &F) -> Self {
        let mut relay = Self::idle(fixture).await;
        relay.lease().await;
        relay
    }

    /// One that has not asked for lanes yet.
    async fn idle<F: StoreFixture<Store = S>>(fixture: &F) -> Self {
        let table = Table::open(fixture).await;
        Self { table, owner: OwnerId::generate(), leases: Vec::new(), fair_share: 0 }
    }

    fn lanes(&self) -> &dyn OrderedLanes {
        self.table.store.lanes().expect("a store that is tested for lanes has them")
    }

    /// Asks for its share, and does not take note of it.
    async fn ask(&self) -> Result<LaneShare> {
        // every replica has one label
        let worker = WorkerId::new("publisher-1").expect("a valid name");
        self.lanes().lease(&LeaseRequest { owner: self.owner, worker, ttl: TTL }).await
    }

    async fn lease(&mut self) {
        let share = retried("lease lanes", async || self.ask().await).await;
        self.leases = share.leases;
        self.leases.sort_by_key(|lease| lease.lane);
        self.fair_share = share.fair_share;
    }

    async fn release(&self, leases: &[Lease]) {
        retried("release lanes", async || self.lanes().release(self.owner, leases).await).await;
    }

    async fn leave(&self) {
        retried("leave", async || self.lanes().leave(self.owner).await).await;
    }

    async fn fetch(&self) -> Vec<LaneEvent> {
        self.fetch_without(&[]).await
    }

    async fn fetch_without(&self, in_flight: &[EventId]) -> Vec<LaneEvent> {
        self.read(&self.reads(1000), in_flight, AMPLE).await
    }

    fn reads(&self, limit: u32) -> Vec<LaneRead> {
        self.leases.iter().map(|lease| LaneRead::all(lease.lane, limit)).collect()
    }

    async fn read(&self, reads: &[LaneRead], in_flight: &[EventId], max_bytes: u64) -> Vec<LaneEvent> {
        self.read_with_bounds(reads, in_flight, max_bytes).await.events
    }

    async fn read_with_bounds(&self, reads: &[LaneRead], in_flight: &[EventId], max_bytes: u64) -> LaneFetch {
        retried("fetch events of lanes", async || self.lanes().fetch(reads, in_flight, &[], max_bytes).await)
            .await
    }

    async fn settle(&self, settlement: LaneSettlement) -> Vec<LaneId> {
        self.settle_as(self.owner, &self.leases, &settlement).await
    }

    async fn settle_as(&self, owner: OwnerId, leases: &[Lease], settlement: &LaneSettlement) -> Vec<LaneId> {
        let settled = retried("settle", async || self.lanes().settle(owner, leases, settlement).await).await;
        let Settled { mut lost, .. } = settled;
        lost.sort();
        lost
    }

    /// Returns the keys of which more followers wait.
    async fn settle_and_release(&self, settlement: &LaneSettlement) -> Vec<KeyRef> {
        let settle = async || self.lanes().settle(self.owner, &self.leases, settlement).await;
        retried("settle", settle).await.unreleased
    }

    async fn complete(&self, ids: Vec<EventId>) {
        let lost = self.settle(LaneSettlement { completed: ids, ..LaneSettlement::default() }).await;
        assert_eq!(lost, [], "a lease that no relay has taken is not lost");
    }

    async fn hold(&self, event: &LaneEvent, attempt: Attempt, retry: Retry, followers: Vec<EventId>) {
        let holds = vec![hold(event, attempt, retry)];
        let lost = self.settle(LaneSettlement { holds, followers, ..LaneSettlement::default() }).await;
        assert_eq!(lost, [], "a lease that no relay has taken is not lost");
    }
}

fn hold(event: &LaneEvent, attempt: Attempt, retry: Retry) -> LaneHold {
    LaneHold {
        id: event.event.id(),
        attempts_made: event.event.lifecycle().attempts_made(),
        failure: Failure::new("broker said no", attempt, retry),
    }
}

fn key_of(event: &LaneEvent) -> KeyRef {
    KeyRef {
        lane: event.lane,
        topic: event.event.topic().to_owned(),
        partition_key: event.event.partition_key().expect("an event of a key").to_owned(),
    }
}

fn ids(events: &[LaneEvent]) -> Vec<EventId> {
    events.iter().map(|event| event.event.id()).collect()
}

/// Those that a relay would publish.
fn publishable(events: &[LaneEvent]) -> Vec<EventId> {
    events.iter().filter(|event| !event.is_behind_head).map(|event| event.event.id()).collect()
}

fn lanes_of(leases: &[Lease]) -> Vec<LaneId> {
    leases.iter().map(|lease| lease.lane).collect()
}
