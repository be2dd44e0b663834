//! Whatever changes a row checks owner and epoch in the same transaction, and touches pending rows only.

use omni_box_core::{
    Attempt, Event, EventStatus, LaneEvent, LaneSettlement, Lease, OutboxEvent, OutboxRepository, Retry,
};

use super::{Relay, hold, ids, key_of, lanes_of, publishable};
use crate::table::{self, HOUR, TTL};
use crate::{Specimen, StoreFixture};

/// `LaneSettlement::completed`: become completed, every one of them.
pub async fn what_was_published_is_completed<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let events = OutboxEvent::many(57);
    relay.table.create(&events).await;
    let fetched = relay.fetch().await;
    relay.complete(ids(&fetched)).await;
    for event in &events {
        let row = relay.table.row(event).await;
        assert_eq!(row.status(), EventStatus::Completed, "each that is settled as completed is");
        assert!(row.lifecycle().completed_at().is_some(), "a completed event has a completed_at");
        assert_eq!(row.lifecycle().attempts_made(), 0, "success costs no attempt");
    }
    assert_eq!(relay.fetch().await, [], "a completed event is not read again");
    assert_eq!(relay.settle(LaneSettlement::default()).await, [], "an empty settlement changes nothing");
}

/// What a zombie would write: all of it must come to nothing.
fn everything(events: &[LaneEvent]) -> [LaneSettlement; 4] {
    [
        LaneSettlement { completed: ids(events), ..LaneSettlement::default() },
        LaneSettlement {
            holds: events.iter().map(|event| hold(event, Attempt::Counted, Retry::Never)).collect(),
            ..LaneSettlement::default()
        },
        LaneSettlement {
            holds: events.iter().map(|event| hold(event, Attempt::Counted, Retry::OnRequest)).collect(),
            followers: ids(events),
            ..LaneSettlement::default()
        },
        LaneSettlement {
            completed: ids(&events[..1]),
            holds: vec![hold(&events[1], Attempt::Counted, Retry::After(HOUR))],
            followers: ids(&events[2..]),
            release: events.iter().map(key_of).collect(),
        },
    ]
}

async fn assert_lost_changes_nothing<S: OutboxRepository>(
    relay: &Relay<S>,
    leases: &[Lease],
    events: &[LaneEvent],
    why: &str,
) {
    let mut before = Vec::new();
    for event in events {
        before.push(relay.table.row(&event.event).await);
    }
    for settlement in everything(events) {
        let lost = relay.settle_as(relay.owner, leases, &settlement).await;
        assert_eq!(lost, lanes_of(leases), "{why}: every lease is to be reported as lost");
        for (event, before) in events.iter().zip(&before) {
            assert_eq!(
                &relay.table.row(&event.event).await,
                before,
                "{why}: nothing of the lane may be changed"
            );
        }
    }
}

/// `settle`: checks the owner, and changes nothing of a lane that is another's, though the epoch be right.
pub async fn only_the_owner_settles<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    relay.table.create(&OutboxEvent::many(20)).await;
    let fetched = relay.fetch().await;
    let other = Relay::start(&fixture).await;
    assert_lost_changes_nothing(&other, &relay.leases, &fetched, "another owner has these lanes").await;
    assert_eq!(relay.fetch().await, fetched, "all is as it was");
    relay.complete(ids(&fetched)).await;
}

/// `settle`: checks the epoch: an owner that had the lane before, and has it again, is another owner.
pub async fn a_settlement_of_an_older_epoch_changes_nothing<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let mut relay = Relay::first(&fixture).await;
    relay.table.create(&OutboxEvent::many(20)).await;
    let fetched = relay.fetch().await;
    let older = relay.leases.clone();
    relay.leave().await;
    relay.lease().await;
    assert_lost_changes_nothing(
        &relay,
        &older,
        &fetched,
        "the lanes were given back and taken anew meanwhile",
    )
    .await;
    assert_eq!(relay.fetch().await, fetched, "all is as it was");
    relay.complete(ids(&fetched)).await;
}

/// `settle`: after a take-over the owner before changes nothing.
pub async fn who_was_taken_over_changes_nothing<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let old = Relay::first(&fixture).await;
    old.table.create(&OutboxEvent::many(20)).await;
    let fetched = old.fetch().await;
    fixture.advance(TTL * 2).await;
    let new = Relay::start(&fixture).await;
    assert_eq!(new.leases.len(), old.leases.len(), "the lanes of an owner that fell silent are taken");
    assert_lost_changes_nothing(&old, &old.leases, &fetched, "another owner took the lanes over").await;
    assert_eq!(new.fetch().await, fetched, "all is as it was");
    new.complete(ids(&fetched)).await;
    assert_eq!(new.fetch().await, [], "the new owner settles");
}

/// `settle`: a lane that was given back has no owner.
pub async fn who_gave_a_lane_back_changes_nothing<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    relay.table.create(&OutboxEvent::many(20)).await;
    let fetched = relay.fetch().await;
    relay.release(&relay.leases).await;
    assert_lost_changes_nothing(&relay, &relay.leases, &fetched, "the lanes were given back").await;
}

/// `settle`: changes nothing of a lane whose lease is lost, and all that is asked of the others.
pub async fn a_lost_lane_does_not_stop_the_others<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    assert!(relay.leases.len() > 1, "a store that is tested for several lanes has them");
    relay.table.create(&OutboxEvent::many(60)).await;
    let fetched = relay.fetch().await;
    let lost = fetched[0].lane;
    let (given_back, _): (Vec<Lease>, Vec<Lease>) = relay.leases.iter().partition(|lease| lease.lane == lost);
    relay.release(&given_back).await;
    // with and without holds: a store may write the two differently
    let (held, completed) = fetched.iter().cloned().partition::<Vec<_>, _>(|event| event.seq % 7 == 0);
    let settlements = [
        LaneSettlement {
            completed: ids(&completed[..10]),
            holds: held.iter().map(|event| hold(event, Attempt::Counted, Retry::Never)).collect(),
            ..LaneSettlement::default()
        },
        LaneSettlement { completed: ids(&completed), ..LaneSettlement::default() },
    ];
    for settlement in settlements {
        assert_eq!(relay.settle(settlement).await, [lost], "the lease that was lost is named, and no other");
    }
    for event in &fetched {
        let status = relay.table.row(&event.event).await.status();
        if event.lane == lost {
            assert_eq!(status, EventStatus::Pending, "nothing of a lost lane is changed");
        } else {
            assert_ne!(status, EventStatus::Pending, "what belongs to the other lanes is settled");
        }
    }
}

/// `settle`: writes outcomes of events of these leases: one of another lane is left as it is, even if the owner has that lane too.
pub async fn events_of_other_lanes_are_not_settled<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    relay.table.create(&OutboxEvent::many(60)).await;
    let fetched = relay.fetch().await;
    let (of_lane, others): (Vec<Lease>, Vec<Lease>) =
        relay.leases.iter().partition(|lease| lease.lane == fetched[0].lane);
    for settlement in everything(&fetched) {
        let lost = relay.settle_as(relay.owner, &[], &settlement).await;
        assert_eq!(lost, [], "no lease is lost where none is named");
    }
    assert_eq!(relay.fetch().await, fetched, "without a lease nothing is changed");
    let settlement = LaneSettlement { completed: ids(&fetched), ..LaneSettlement::default() };
    assert_eq!(relay.settle_as(relay.owner, &of_lane, &settlement).await, [], "the lease is there");
    let left: Vec<LaneEvent> =
        fetched.into_iter().filter(|event| others.iter().any(|lease| lease.lane == event.lane)).collect();
    assert_eq!(relay.fetch().await, left, "events of lanes whose lease was not named are left as they are");
}

/// `settle`: changes pending events only.
pub async fn only_pending_events_are_settled<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    relay.table.create(&[OutboxEvent::of("a"), OutboxEvent::of("b")]).await;
    let fetched = relay.fetch().await;
    let [done, failed] = [&fetched[0], &fetched[1]];
    relay.complete(vec![done.event.id()]).await;
    relay.hold(failed, Attempt::Counted, Retry::Never, vec![]).await;
    let before = [relay.table.row(&done.event).await, relay.table.row(&failed.event).await];
    fixture.advance(TTL / 2).await;
    let refetched: Vec<LaneEvent> = fetched
        .iter()
        .zip(&before)
        .map(|(event, row)| LaneEvent { event: row.clone(), ..event.clone() })
        .collect();
    for retry in [Retry::Never, Retry::OnRequest, Retry::After(HOUR)] {
        relay
            .settle(LaneSettlement {
                completed: ids(&fetched),
                holds: refetched.iter().map(|event| hold(event, Attempt::Counted, retry)).collect(),
                followers: ids(&fetched),
                release: fetched.iter().map(key_of).collect(),
            })
            .await;
    }
    relay.complete(ids(&fetched)).await;
    let after = [relay.table.row(&done.event).await, relay.table.row(&failed.event).await];
    assert_eq!(after, before, "a completed and a failed event stay as they are, whatever is written of them");
    assert_eq!(relay.fetch().await, [], "and are not read again");
}

/// `settle`: writing the same settlement twice is the same as writing it once.
pub async fn a_settlement_written_twice_counts_once<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let key = |name: &str| [OutboxEvent::of(name), OutboxEvent::of(name), OutboxEvent::of(name)];
    let [a, b, c] = ["a", "b", "c"].map(key);
    relay.table.create(&[a.clone(), b.clone(), c.clone()].concat()).await;
    let fetched = relay.fetch().await;
    let read = |event: &OutboxEvent| {
        fetched.iter().find(|read| read.event.id() == event.id()).expect("every event was read").clone()
    };
    let settlement = LaneSettlement {
        completed: vec![c[0].id()],
        holds: vec![
            hold(&read(&a[0]), Attempt::Counted, Retry::OnRequest),
            hold(&read(&b[0]), Attempt::Counted, Retry::Never),
        ],
        followers: vec![a[1].id(), a[2].id()],
        release: vec![key_of(&read(&b[0])), key_of(&read(&c[0]))],
    };
    let mut seen = Vec::new();
    for _ in 0..3 {
        assert_eq!(relay.settle(settlement.clone()).await, [], "the leases are there");
        let mut rows = Vec::new();
        for event in [&a, &b, &c].into_iter().flatten() {
            let row = relay.table.row(event).await;
            let life = row.lifecycle();
            rows.push((
                life.status(),
                life.attempts_made(),
                life.completed_at(),
                life.last_error().map(str::to_owned),
            ));
        }
        seen.push((rows, publishable(&relay.fetch().await)));
    }
    assert_eq!(seen[0].0[0].1, 1, "Attempt::Counted costs one attempt");
    assert_eq!(seen[0].0[3].1, 1, "Attempt::Counted costs one attempt");
    for again in &seen[1..] {
        assert_eq!(
            again, &seen[0],
            "a settlement whose answer was lost is written again, and must count once"
        );
    }
    let mut due = seen[0].1.clone();
    due.sort();
    let mut expected = table::ids(&[&b[1..], &c[1..]].concat());
    expected.sort();
    assert_eq!(due, expected, "what is not held goes on");
}

/// `LaneHold::attempts_made`: counted ones add up, free ones cost nothing, refunded ones give back; within 0 and the maximum.
pub async fn attempts_are_counted_as_the_failure_says<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let mut relay = Relay::first(&fixture).await;
    let event = OutboxEvent::make("a", None, 2);
    relay.table.create_one(&event).await;
    for (attempt, expected) in [
        (Attempt::Free, 0),
        (Attempt::Refunded, 0),
        (Attempt::Counted, 1),
        (Attempt::Free, 1),
        (Attempt::Counted, 2),
        (Attempt::Counted, 2),
        (Attempt::Refunded, 1),
    ] {
        let due = relay.fetch().await;
        assert_eq!(due.len(), 1, "a retry is read when its time has come");
        relay.hold(&due[0], attempt, Retry::After(TTL / 4), vec![]).await;
        if attempt == Attempt::Counted {
            // its answer was lost
            relay.hold(&due[0], attempt, Retry::After(TTL / 4), vec![]).await;
        }
        let row = relay.table.row(&event).await;
        assert_eq!(
            row.lifecycle().attempts_made(),
            expected,
            "attempts_made after a failure that is {attempt:?} (maximum 2, and a repeat counts once)"
        );
        assert_eq!(row.status(), EventStatus::Pending, "only Retry::Never fails an event");
        fixture.advance(TTL / 2).await;
        relay.lease().await;
    }
    let due = relay.fetch().await;
    relay.hold(&due[0], Attempt::Counted, Retry::Never, vec![]).await;
    let row = relay.table.row(&event).await;
    assert_eq!(row.status(), EventStatus::Failed, "Retry::Never fails an event");
    assert_eq!(row.lifecycle().attempts_made(), 2, "Attempt::Counted costs an attempt");
    assert_eq!(row.lifecycle().last_error(), Some("broker said no"), "the failure's text is kept");
    assert_eq!(relay.fetch().await, [], "a failed event is not read again");
}

/// `announce`: a hint that changes no lease; lost leases are left alone.
pub async fn an_announcement_changes_no_lease<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    use omni_box_core::Activity::{Busy, Idle};
    let mut relay = Relay::first(&fixture).await;
    let before = relay.leases.clone();
    for activity in [Idle, Idle, Busy] {
        relay
            .lanes()
            .announce(relay.owner, &relay.leases, activity)
            .await
            .expect("an owner announces its activity");
        relay.lease().await;
        assert_eq!(relay.leases, before, "an announcement changes no lease");
    }
    fixture.advance(TTL * 2).await;
    let mut new = Relay::start(&fixture).await;
    let taken = new.leases.clone();
    relay
        .lanes()
        .announce(relay.owner, &before, Idle)
        .await
        .expect("lost leases are left alone, without an error");
    new.lease().await;
    assert_eq!(new.leases, taken, "an announcement of lost leases changes nothing");
}
