//! An owner reads what is due of its lanes, in order.

use std::collections::HashSet;
use std::pin::pin;

use chrono::{TimeDelta, Utc};
use omni_box_core::{
    Activity, Attempt, Event, EventId, EventRepository, LaneEvent, LaneId, LaneRead, LaneSettlement,
    NewOutboxEvent, OutboxEvent, OutboxRepository, Retry,
};

use super::{AMPLE, Relay, hold, ids, publishable};
use crate::specimen::{new_outbox, outbox};
use crate::table::{self, HOUR, MINUTE};
use crate::transaction::{at_once, begin, commit, retried, rollback};
use crate::{Specimen, StoreFixture};

/// `fetch`: due events of lanes, each lane in the order of `seq`, which is the order in which a transaction created them.
pub async fn each_lane_is_read_in_order<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let events: Vec<OutboxEvent> = (0..150).map(|n| OutboxEvent::of(&format!("key-{}", n % 20))).collect();
    relay.table.create(&events[..100]).await;
    relay.table.create(&events[100..]).await;
    let fetched = relay.fetch().await;
    assert_eq!(fetched.len(), 150, "a fetch with room for all returns every pending event of its lanes");
    for lease in &relay.leases {
        let of_lane: Vec<&LaneEvent> = fetched.iter().filter(|event| event.lane == lease.lane).collect();
        assert!(of_lane.is_sorted_by(|a, b| a.seq < b.seq), "lane {} comes in the order of seq", lease.lane);
    }
    for key in 0..20 {
        let expected: Vec<EventId> = events.iter().skip(key).step_by(20).map(Event::id).collect();
        let of_key: Vec<&LaneEvent> =
            fetched.iter().filter(|e| e.event.partition_key() == events[key].partition_key()).collect();
        let got: Vec<EventId> = of_key.iter().map(|event| event.event.id()).collect();
        assert_eq!(got, expected, "events of one key come in the order in which they were created");
        assert!(of_key.iter().all(|event| event.lane == of_key[0].lane), "a key belongs to one lane");
    }
    assert!(
        fetched.iter().all(|event| !event.is_behind_head && !event.is_held_head),
        "where nothing is held, every event may be published"
    );
    let again = relay.fetch().await;
    assert_eq!(again, fetched, "a fetch claims nothing: the lease is all that an owner needs");
}

/// `fetch`: reads the lanes that are asked for, and returns events as they are stored.
pub async fn a_fetch_reads_the_lanes_it_is_asked_for<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    relay.table.create(&OutboxEvent::many(60)).await;
    let all = relay.fetch().await;
    for lease in &relay.leases {
        let read = [LaneRead::all(lease.lane, 1000)];
        let expected: Vec<LaneEvent> = all.iter().filter(|event| event.lane == lease.lane).cloned().collect();
        assert_eq!(relay.read(&read, &[], AMPLE).await, expected, "lane {} alone", lease.lane);
    }
    assert_eq!(relay.read(&[], &[], AMPLE).await, [], "no lane has no events");
    let row = relay.table.row(&all[7].event).await;
    assert_eq!(row, all[7].event, "an event is returned as it is stored");
}

/// `fetch`: at most each lane's limit, and those are the first.
pub async fn a_fetch_keeps_the_limit_of_each_lane<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    relay.table.create(&OutboxEvent::many(60)).await;
    let all = relay.fetch().await;
    // another limit for each lane
    let reads: Vec<LaneRead> =
        (1..).zip(&relay.leases).map(|(limit, lease)| LaneRead::all(lease.lane, limit % 4 + 1)).collect();
    let some = relay.read(&reads, &[], AMPLE).await;
    for read in reads {
        let of_lane = |events: &[LaneEvent]| -> Vec<i64> {
            events.iter().filter(|event| event.lane == read.lane).map(|event| event.seq).collect()
        };
        let mut expected = of_lane(&all);
        expected.truncate(read.limit as usize);
        assert_eq!(
            of_lane(&some),
            expected,
            "the first of lane {}, at most its limit of {}",
            read.lane,
            read.limit
        );
    }
}

/// `LaneEvent::read_at`: the time of the fetch by the store's clock, which an event's age is told by.
pub async fn a_fetch_tells_its_time<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let mut relay = Relay::first(&fixture).await;
    relay.table.create_one(&OutboxEvent::of("a")).await;
    let early = relay.fetch().await;
    fixture.advance(HOUR).await;
    relay.lease().await;
    let late = relay.fetch().await;
    let age = |read: &[LaneEvent]| read[0].read_at - read[0].event.lifecycle().created_at();
    assert!((TimeDelta::zero()..TimeDelta::minutes(1)).contains(&age(&early)), "the event was just created");
    assert!(
        (TimeDelta::hours(1)..TimeDelta::minutes(61)).contains(&age(&late)),
        "an hour later it is an hour old"
    );
}

/// `fetch`: leaves out the ids in `in_flight`, wherever they stand.
pub async fn what_is_in_flight_is_left_out<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let events: Vec<OutboxEvent> = (0..6).map(|_| OutboxEvent::of("a")).collect();
    relay.table.create(&events).await;
    let [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map(|n| events[n].id());
    for (in_flight, rest) in [
        (vec![a, b, c], vec![d, e, f]),
        (vec![f, b], vec![a, c, d, e]),
        (vec![EventId::generate()], vec![a, b, c, d, e, f]),
        (vec![a, b, c, d, e, f], vec![]),
    ] {
        assert_eq!(
            ids(&relay.fetch_without(&in_flight).await),
            rest,
            "what is in flight is left out, and only that"
        );
    }
    let two = relay.read(&relay.reads(2), &[a, b], AMPLE).await;
    assert_eq!(ids(&two), [c, d], "what is in flight does not count towards the limit");
}

/// `fetch`: leaves out heads of topics that rest, which have no part in the limits. Their other events are read, and so are heads of other topics.
pub async fn heads_of_topics_that_rest_are_left_out<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let mut relay = Relay::first(&fixture).await;
    let of = |topic: &str, n: usize| outbox(new_outbox(topic).partition_key(format!("key-{n}")));
    let away: Vec<OutboxEvent> = (0..120).map(|n| of("away", n)).collect();
    let also_away = of("also-away", 0);
    let others: Vec<OutboxEvent> = (0..40).map(|n| of("orders", n)).collect();
    relay.table.create(&away).await;
    relay.table.create_one(&also_away).await;
    relay.table.create(&others).await;
    let all = relay.fetch().await;
    let holds = all.iter().map(|event| hold(event, Attempt::Free, Retry::After(MINUTE))).collect();
    relay.settle(LaneSettlement { holds, ..LaneSettlement::default() }).await;
    fixture.advance(2 * MINUTE).await;
    relay.lease().await;
    let fresh = of("away", 1000);
    relay.table.create_one(&fresh).await;
    let resting = ["away".to_owned(), "missing".to_owned(), "also-away".to_owned()];
    let read = async |limit, resting: &[String], in_flight: &[EventId]| {
        let (reads, lanes) = (relay.reads(limit), relay.lanes());
        retried("fetch events of lanes", async || lanes.fetch(&reads, in_flight, resting, AMPLE).await)
            .await
            .events
    };
    let mut expected = table::ids(&others);
    expected.push(fresh.id());
    expected.sort();
    let mut found = ids(&read(1000, &resting, &[]).await);
    found.sort();
    assert_eq!(found, expected, "all but the heads of topics that rest");
    let one = read(1, &resting, &[]).await;
    let lanes: HashSet<LaneId> =
        relay.fetch().await.iter().filter(|e| expected.contains(&e.event.id())).map(|e| e.lane).collect();
    assert_eq!(
        one.len(),
        lanes.len(),
        "what is left out has no part in the limit: one of each lane that has others"
    );
    assert!(one.iter().all(|event| expected.contains(&event.event.id())));
    assert_eq!(
        read(1000, &resting, &expected).await,
        [],
        "what is in flight is left out of other topics, too"
    );
    let all = read(1000, &[], &[]).await;
    assert_eq!(all.len(), 120 + 1 + 40 + 1, "where no topic rests, all that is due");
}

/// Rule 3: what is in flight is left out by id, never by a cursor. An event whose transaction began earlier and committed later is
/// returned by the next fetch, ahead of what its key got after it.
pub async fn an_event_that_commits_late_is_not_stepped_over<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let [slow, quick, after] = [0; 3].map(|_| OutboxEvent::of("a"));
    let writer = fixture.open().await;
    let mut tx = begin(&writer).await;
    writer.create(&mut tx, &slow).await.expect("a valid event is created");
    let other = table::Table::<_, OutboxEvent>::open(&fixture).await;
    {
        let mut overtaking = pin!(other.create_one(&quick));
        if at_once(overtaking.as_mut()).await.is_some() {
            assert_eq!(ids(&relay.fetch().await), [quick.id()], "what has committed is due");
            commit(&writer, tx).await;
        } else {
            // one writer at a time: none can overtake
            commit(&writer, tx).await;
            overtaking.await;
        }
    }
    assert_eq!(
        ids(&relay.fetch_without(&[quick.id()]).await),
        [slow.id()],
        "an event that committed late was stepped over because a later one is in flight: it would be published out of order, \
         or never"
    );
    relay.table.create_one(&after).await;
    assert_eq!(
        ids(&relay.fetch_without(&[quick.id()]).await),
        [slow.id(), after.id()],
        "an event that was created after another had committed comes after it"
    );
    let all = relay.fetch().await;
    assert_eq!(all.len(), 3, "all of them, when nothing is in flight");
    assert!(all.is_sorted_by(|a, b| a.seq < b.seq), "in the order of seq");
}

/// `fetch`: due events only; what has not committed is none.
pub async fn what_has_not_committed_is_not_read<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let writer = fixture.open().await;
    for commits in [false, true] {
        let event = OutboxEvent::of("a");
        let mut tx = begin(&writer).await;
        writer.create(&mut tx, &event).await.expect("a valid event is created");
        {
            let mut fetch = pin!(relay.fetch());
            // a store may let readers wait instead
            let early = at_once(fetch.as_mut()).await;
            if let Some(fetched) = &early {
                assert_eq!(ids(fetched), [], "an event was read before its transaction had committed");
            }
            if commits {
                commit(&writer, tx).await;
            } else {
                rollback(&writer, tx).await;
            }
            if early.is_none() {
                fetch.await;
            }
        }
        let expected = if commits { vec![event.id()] } else { vec![] };
        assert_eq!(
            ids(&relay.fetch().await),
            expected,
            "what has committed is read, and what was rolled back is not"
        );
    }
}

/// `fetch`: at most about `max_bytes` of payload, but at least one event, if any is due.
pub async fn a_fetch_is_bounded_in_bytes<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let reads = relay.reads(1000);
    // a store may keep small and large payloads in different ways
    for size in [500_u64, 10_000] {
        let json = format!(r#"{{"a":"{}"}}"#, "x".repeat(size as usize - 8));
        let events: Vec<OutboxEvent> = (0..9)
            .map(|_| outbox(NewOutboxEvent::from_json("t", "orders", json.clone()).partition_key("a")))
            .collect();
        relay.table.create(&events).await;
        let bounds =
            [(1, 1..=1), (size - 1, 1..=1), (size * 5 / 2, 2..=3), (size * 11 / 2, 5..=6), (AMPLE, 9..=9)];
        for (max_bytes, counts) in bounds {
            let fetched = relay.read(&reads, &[], max_bytes).await;
            assert!(
                counts.contains(&fetched.len()),
                "{} events of {size} bytes for {max_bytes} bytes: {counts:?} were expected (one event may exceed them, and one is \
                 always returned, or an event larger than the bound would never be published)",
                fetched.len()
            );
            assert_eq!(ids(&fetched), table::ids(&events[..fetched.len()]), "those are the first of the key");
        }
        relay.complete(table::ids(&events)).await;
        assert_eq!(relay.read(&reads, &[], 1).await, [], "nothing is returned where nothing is due");
    }
}

/// `fetch`: includes events scheduled for later that are due now; until then they hold nothing.
pub async fn a_scheduled_event_is_read_when_it_is_due<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let at = Utc::now() + TimeDelta::hours(2);
    let scheduled = outbox(new_outbox("orders").partition_key("a").scheduled_at(at));
    let events = [scheduled, OutboxEvent::of("a")];
    relay.table.create(&events).await;
    assert_eq!(
        ids(&relay.fetch().await),
        [events[1].id()],
        "what is scheduled for later does not hold its key"
    );
    relay.complete(vec![events[1].id()]).await;
    fixture.advance(2 * HOUR - MINUTE).await;
    assert_eq!(relay.fetch().await, [], "it is not due before its time");
    fixture.advance(2 * MINUTE).await;
    let due = relay.fetch().await;
    assert_eq!(publishable(&due), [events[0].id()], "it is due when its time has come");
    assert_eq!(relay.fetch_without(&ids(&due)).await, [], "in flight it is left out like any other");
    relay.complete(ids(&due)).await;
    assert_eq!(relay.fetch().await, [], "it is done");
}

/// `fetch`: a promise of quiet ends before something becomes due by itself.
pub async fn quiet_is_promised_until_something_becomes_due<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    // what a store needs that promises anything: its wake-ups are listened to, and writers know that they are needed
    let _wakeup = relay.table.store.wakeup();
    let announce = async || relay.lanes().announce(relay.owner, &relay.leases, Activity::Idle).await;
    retried("announce that lanes are idle", announce).await;
    let quiet_for = async || {
        let fetch = relay.read_with_bounds(&relay.reads(1000), &[], AMPLE).await;
        assert_eq!(fetch.events, [], "nothing is due");
        fetch.quiet_for.unwrap_or_default()
    };
    quiet_for().await;
    let at = Utc::now() + TimeDelta::hours(2);
    relay.table.create(&[outbox(new_outbox("orders").partition_key("a").scheduled_at(at))]).await;
    for (passes, left) in [(MINUTE, 2 * HOUR), (2 * HOUR - 2 * MINUTE, 2 * MINUTE)] {
        fixture.advance(passes).await;
        assert!(quiet_for().await <= left, "an event that was scheduled is due in {left:?}");
    }
    fixture.advance(2 * MINUTE).await;
    let due = relay.fetch().await;
    relay.hold(&due[0], Attempt::Counted, Retry::After(HOUR), vec![]).await;
    for (passes, left) in [(MINUTE, HOUR), (HOUR - 3 * MINUTE, 3 * MINUTE)] {
        fixture.advance(passes).await;
        assert!(quiet_for().await <= left, "the head of a held key is due in {left:?}");
    }
}

/// `fetch`: events without a key are of some lane, each by itself.
pub async fn events_without_a_key_are_read<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let events = [0; 20].map(|_| outbox(new_outbox("orders")));
    relay.table.create(&events).await;
    let mut fetched = ids(&relay.fetch().await);
    fetched.sort();
    assert_eq!(fetched, table::ids(&events), "every event belongs to a lane");
}
