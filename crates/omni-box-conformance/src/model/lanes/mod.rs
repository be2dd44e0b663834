//! Lanes against a model.

mod case;
mod fetch;
mod lease;
mod operation;
mod relay;
mod table;

use std::ops::Range;
use std::time::Duration;

use omni_box_core::{
    DeliveryMode, Event as _, KeyRef, LaneRead, LaneSettlement, Lease, LeaseRequest, NewOutboxEvent,
    OmniBoxDomainService, OrderedLanes, OutboxEvent, OutboxRepository, OwnerId, WorkerId,
};
use proptest::strategy::Strategy;

use self::case::Case;
use self::lease::{Leases, TTL};
use self::operation::{KEYS, Operation, RELAYS};
use self::table::Keys;
use super::call::{Checked, Cut, begin, cannot, commit, mismatch, retried};
use super::clock::span;
use super::runner::{Ground, Trace};
use crate::StoreFixture;

/// Bytes that no case exceeds.
const AMPLE: u64 = 64 << 20;

/// A store with lanes, on which cases are played.
pub(super) struct Lanes<F: StoreFixture> {
    fixture: F,
    /// Writes events, and looks.
    writer: F::Store,
    /// Each relay's own, as in a process of its own.
    stores: Vec<F::Store>,
    keys: Keys,
    leases: Leases,
    /// How far the store's clock was moved.
    ahead: Duration,
    cases: u32,
}

impl<F: StoreFixture<Store: OutboxRepository>> Ground for Lanes<F> {
    type Operation = Operation;

    const CASES: u32 = 32;

    const LENGTH: Range<usize> = 1..55;

    async fn prepare() -> Option<Self> {
        let fixture = F::create().await?;
        fixture.set_mode(DeliveryMode::Lanes).await;
        let writer = fixture.open().await;
        assert!(
            writer.lanes().is_some(),
            "the store offers no lanes: leave `lanes` off the list of what it is"
        );
        let mut stores = Vec::with_capacity(RELAYS);
        for _ in 0..RELAYS {
            stores.push(fixture.open().await);
        }
        let (keys, leases) = Box::pin(survey(&writer)).await.unwrap_or_else(|reason| panic!("{reason}"));
        Some(Self { fixture, writer, stores, keys, leases, ahead: Duration::ZERO, cases: 0 })
    }

    fn operations() -> impl Strategy<Value = Operation> {
        operation::operations()
    }

    async fn play(&mut self, operations: &[Operation], trace: &Trace) -> Checked {
        self.cases += 1;
        let mut case = Case::new(self, trace);
        // a relay is at work in every case
        Box::pin(case.step(&Operation::Lease { relay: 0, cut: Cut::NEVER })).await?;
        for operation in operations {
            // boxed: the futures of a step are large
            Box::pin(case.step(operation)).await?;
        }
        Box::pin(case.drain()).await
    }
}

fn lanes_of<S: OutboxRepository>(store: &S) -> &dyn OrderedLanes {
    store.lanes().expect("a store that is tested for lanes has them")
}

fn request(owner: OwnerId) -> LeaseRequest {
    // every replica has one label
    LeaseRequest { owner, worker: WorkerId::new("publisher-1").expect("a valid name"), ttl: span(TTL) }
}

fn event(event: NewOutboxEvent) -> OutboxEvent {
    OmniBoxDomainService::default().create_outbox_event(event).expect("the suite's events are valid")
}

fn reads(leases: &[Lease], limit: u32) -> Vec<LaneRead> {
    leases.iter().map(|lease| LaneRead::all(lease.lane, limit)).collect()
}

/// Learns which lanes there are, and which keys belong to them.
async fn survey<S: OutboxRepository>(store: &S) -> Checked<(Keys, Leases)> {
    let owner = OwnerId::generate();
    let lanes = lanes_of(store);
    let share = retried("lease lanes", async || lanes.lease(&request(owner)).await).await?;
    let probes: Vec<OutboxEvent> = (0..24)
        .map(|n| {
            event(
                NewOutboxEvent::from_json("probe", "orders", "{\"a\": 1}").partition_key(format!("key-{n}")),
            )
        })
        .collect();
    let mut tx = begin(store).await?;
    store.create_many(&mut tx, &probes).await.or_else(|error| cannot("create events", &error))?;
    commit(store, tx).await?;
    let reads = reads(&share.leases, 1000);
    let found =
        retried("fetch events of lanes", async || lanes.fetch(&reads, &[], &[], AMPLE).await).await?.events;
    if found.len() != probes.len() {
        return mismatch(format!(
            "{} events were created in an empty table, {} were read",
            probes.len(),
            found.len()
        ));
    }
    let completed = found.iter().map(|read| read.event.id()).collect();
    let settlement = LaneSettlement { completed, ..LaneSettlement::default() };
    retried("settle", async || lanes.settle(owner, &share.leases, &settlement).await).await?;
    retried("leave", async || lanes.leave(owner).await).await?;
    let candidates = found
        .iter()
        .map(|read| KeyRef {
            lane: read.lane,
            topic: read.event.topic().to_owned(),
            partition_key: read.event.partition_key().unwrap_or_default().to_owned(),
        })
        .collect();
    Ok((Keys::choose(candidates, KEYS), Leases::free(&share.leases)))
}
