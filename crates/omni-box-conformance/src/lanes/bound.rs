//! An owner reads no further back than it must: bounds, for stores that prove them.

use std::collections::BTreeMap;
use std::pin::pin;

use chrono::{TimeDelta, Utc};
use omni_box_core::{
    Attempt, Event, EventId, EventRepository, LaneEvent, LaneId, LaneRead, LaneSettlement, OutboxEvent,
    OutboxRepository, Retry,
};

use super::{AMPLE, Relay, ids, key_of};
use crate::specimen::{new_outbox, outbox};
use crate::table::{self, HOUR, MINUTE};
use crate::transaction::{at_once, begin, commit, retried};
use crate::{Specimen, StoreFixture};

/// Fetches after which a store has given the bounds that it can give.
const MANY: usize = 60;

/// Reads as an owner does that forgets nothing.
struct Reader<'a, S> {
    relay: &'a Relay<S>,
    bounds: BTreeMap<LaneId, i64>,
    read: Vec<EventId>,
}

impl<'a, S: OutboxRepository> Reader<'a, S> {
    fn new(relay: &'a Relay<S>) -> Self {
        Self { relay, bounds: BTreeMap::new(), read: Vec::new() }
    }

    /// What is read above the bounds, and was not read before.
    async fn next(&mut self, limit: u32, max_bytes: u64) -> Vec<LaneEvent> {
        let above = |lane| self.bounds.get(&lane).copied().unwrap_or(LaneRead::ALL);
        let read = |read: LaneRead| LaneRead { above: above(read.lane), ..read };
        let reads: Vec<LaneRead> = self.relay.reads(limit).into_iter().map(read).collect();
        let found = self.relay.read_with_bounds(&reads, &self.read, max_bytes).await;
        for (lane, to) in found.bounds {
            let bound = self.bounds.entry(lane).or_insert(to);
            *bound = to.max(*bound);
        }
        self.read.extend(ids(&found.events));
        found.events
    }

    /// Reads until the bounds have risen as far as they will; returns what was found.
    async fn rest(&mut self) -> Vec<EventId> {
        let mut found = Vec::new();
        for _ in 0..MANY {
            found.extend(ids(&self.next(1000, AMPLE).await));
        }
        found
    }
}

/// `LaneFetch::bounds`: a transaction that has taken a `seq` and has not ended keeps the bound below it.
pub async fn what_commits_late_is_above_the_bound<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let [slow, quick, after] = [0; 3].map(|_| OutboxEvent::of("a"));
    let writer = fixture.open().await;
    let other = table::Table::<_, OutboxEvent>::open(&fixture).await;
    let mut reader = Reader::new(&relay);
    let mut tx = begin(&writer).await;
    writer.create(&mut tx, &slow).await.expect("a valid event is created");
    {
        let mut overtaking = pin!(other.create_one(&quick));
        if at_once(overtaking.as_mut()).await.is_some() {
            assert_eq!(reader.rest().await, [quick.id()], "what has committed is read, and nothing else");
            commit(&writer, tx).await;
            assert_eq!(
                reader.rest().await,
                [slow.id()],
                "an event was lost: the store gave a bound above it while its transaction was open"
            );
        } else {
            // one writer at a time: none commits late
            commit(&writer, tx).await;
            overtaking.await;
            assert_eq!(reader.rest().await, [slow.id(), quick.id()], "what has committed is read");
        }
    }
    relay.table.create_one(&after).await;
    assert_eq!(reader.rest().await, [after.id()], "what is new is above every bound");
}

/// `LaneFetch::bounds`: what the limit of a lane, or of bytes, has cut off is above the bound.
pub async fn what_a_limit_cuts_off_is_above_the_bound<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    // the store knows a little already
    relay.table.create(&OutboxEvent::many(30)).await;
    let mut reader = Reader::new(&relay);
    reader.rest().await;
    for (limit, max_bytes) in [(2, AMPLE), (1000, 1)] {
        let events: Vec<OutboxEvent> = (0..7).map(|_| OutboxEvent::of("a")).collect();
        relay.table.create(&events).await;
        let mut found = Vec::new();
        for _ in 0..20 {
            found.extend(ids(&reader.next(limit, max_bytes).await));
        }
        assert_eq!(found, table::ids(&events), "all of them, by {limit} at a time and {max_bytes} bytes");
    }
}

/// `fetch`: heads of held keys, events scheduled for later and released followers come wherever they lie.
pub async fn what_waited_is_read_below_the_bound<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let mut relay = Relay::first(&fixture).await;
    let at = Utc::now() + TimeDelta::hours(2);
    let scheduled = outbox(new_outbox("orders").partition_key("s").scheduled_at(at));
    let events = [OutboxEvent::of("a"), OutboxEvent::of("a"), OutboxEvent::of("a"), scheduled];
    relay.table.create(&events).await;
    let first = relay.fetch().await;
    assert_eq!(ids(&first), table::ids(&events[..3]), "what is due");
    relay.hold(&first[0], Attempt::Counted, Retry::After(HOUR), table::ids(&events[1..3])).await;
    let others: Vec<OutboxEvent> = (0..40).map(|n| OutboxEvent::of(&format!("key-{n}"))).collect();
    relay.table.create(&others).await;
    let mut reader = Reader::new(&relay);
    let mut found = reader.rest().await;
    found.sort();
    assert_eq!(found, table::ids(&others), "nothing that waits");
    let bounds = reader.bounds;
    relay.complete(table::ids(&others)).await;

    fixture.advance(HOUR + MINUTE).await;
    relay.lease().await;
    let mut reader = Reader { bounds, ..Reader::new(&relay) };
    let due = reader.next(1000, AMPLE).await;
    assert_eq!(ids(&due), [events[0].id()], "the head is due, though it lies below the bound");
    let settlement =
        LaneSettlement { completed: ids(&due), release: vec![key_of(&due[0])], ..LaneSettlement::default() };
    relay.settle(settlement).await;
    let later = OutboxEvent::of("a");
    relay.table.create_one(&later).await;
    let expected = [events[1].id(), events[2].id(), later.id()];
    assert_eq!(
        ids(&reader.next(1000, AMPLE).await),
        expected,
        "followers were released: they come below the bound, and before what came after them"
    );
    relay.complete(expected.to_vec()).await;
    let bounds = reader.bounds;

    fixture.advance(HOUR).await;
    relay.lease().await;
    let mut reader = Reader { bounds, ..Reader::new(&relay) };
    assert_eq!(ids(&reader.next(1000, AMPLE).await), [events[3].id()], "what was scheduled is due");
}

/// Heartbeats of an owner that goes on reading: a store notes what it likes of how far its lanes are done.
async fn heartbeats<S: OutboxRepository>(reader: &mut Reader<'_, S>) {
    for _ in 0..3 {
        retried("lease lanes", async || reader.relay.ask().await).await;
        assert_eq!(reader.rest().await, [], "nothing is new");
    }
}

/// `fetch`: a new owner reads what the one before had read and not settled, whatever was settled behind it, and nothing that was settled.
pub async fn a_new_owner_reads_what_the_one_before_left<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let events = [0; 6].map(|_| OutboxEvent::of("a"));
    relay.table.create(&events).await;
    let mut reader = Reader::new(&relay);
    assert_eq!(reader.rest().await, table::ids(&events), "all are due");
    let settled = [&events[..2], &events[3..]].concat();
    relay.complete(table::ids(&settled)).await;
    heartbeats(&mut reader).await;
    relay.leave().await;

    let next = Relay::start(&fixture).await;
    let mut reader = Reader::new(&next);
    assert_eq!(
        reader.rest().await,
        [events[2].id()],
        "an event was lost: an owner had read it and ended, and the next one begins behind it"
    );
    next.complete(vec![events[2].id()]).await;
    heartbeats(&mut reader).await;
    next.leave().await;
    let later = OutboxEvent::of("a");
    relay.table.create_one(&later).await;
    let last = Relay::start(&fixture).await;
    assert_eq!(Reader::new(&last).rest().await, [later.id()], "what is new");
}

/// `fetch`: followers that were released come to a new owner, though everything around them was settled long before.
pub async fn a_new_owner_reads_what_was_released<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let events = [0; 3].map(|_| OutboxEvent::of("a"));
    relay.table.create(&events).await;
    let first = relay.fetch().await;
    relay.hold(&first[0], Attempt::Counted, Retry::OnRequest, table::ids(&events[1..])).await;
    let others: Vec<OutboxEvent> = (0..200).map(|n| OutboxEvent::of(&format!("key-{n}"))).collect();
    relay.table.create(&others).await;
    let mut reader = Reader::new(&relay);
    reader.rest().await;
    relay.complete(table::ids(&others)).await;
    heartbeats(&mut reader).await;
    let settlement = LaneSettlement {
        completed: vec![events[0].id()],
        release: vec![key_of(&first[0])],
        ..LaneSettlement::default()
    };
    relay.settle(settlement).await;
    relay.leave().await;
    let next = Relay::start(&fixture).await;
    assert_eq!(
        Reader::new(&next).rest().await,
        table::ids(&events[1..]),
        "events were lost: they were released, and the next owner begins behind them"
    );
}
