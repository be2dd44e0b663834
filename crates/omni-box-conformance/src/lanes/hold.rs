//! What waits holds its own key and no other.

use chrono::{TimeDelta, Utc};
use omni_box_core::{Attempt, Event, EventStatus, LaneSettlement, OutboxEvent, OutboxRepository, Retry};

use super::{AMPLE, Relay, hold, ids, key_of, publishable};
use crate::specimen::{new_outbox, outbox};
use crate::table::{self, DAY, HOUR, MINUTE, TTL};
use crate::{Specimen, StoreFixture};

/// `settle`: the event waits as the head of its key, and the others of its lane go on. `fetch`: never returns a follower of a held
/// key as publishable.
pub async fn a_held_head_holds_its_key_and_no_other<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    // other keys in the head's lane as well
    let others = OutboxEvent::many(40);
    let key = [0; 3].map(|_| OutboxEvent::of("a"));
    relay.table.create(&key).await;
    relay.table.create(&others).await;
    let fetched = relay.fetch().await;
    let head = fetched.iter().find(|event| event.event.id() == key[0].id()).expect("the head is due");
    // the second was in flight with it; the third is met later
    relay.hold(head, Attempt::Counted, Retry::OnRequest, vec![key[1].id()]).await;
    relay.table.create_one(&OutboxEvent::of("a")).await;
    let rest = relay.fetch().await;
    let mut due = publishable(&rest);
    due.sort();
    assert_eq!(
        due,
        table::ids(&others),
        "behind a held head nothing of its key may be published, neither its followers nor what came later; other keys go on"
    );
    assert!(!ids(&rest).contains(&key[1].id()), "what was settled as a follower is left out");
    assert!(!ids(&rest).contains(&key[0].id()), "a head that waits is left out");
    let row = relay.table.row(&key[0]).await;
    assert_eq!(row.status(), EventStatus::Pending, "a held event stays pending");
    assert_eq!(row.lifecycle().last_error(), Some("broker said no"), "the failure's text is kept");
}

/// `fetch`: includes heads of held keys whose time has come. `Retry::After`: by the store's clock.
pub async fn a_held_head_is_read_when_its_time_has_come<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let mut relay = Relay::first(&fixture).await;
    let events = [OutboxEvent::of("a"), OutboxEvent::of("a"), OutboxEvent::of("a")];
    relay.table.create(&events).await;
    let fetched = relay.fetch().await;
    relay.hold(&fetched[0], Attempt::Counted, Retry::After(HOUR), ids(&fetched[1..])).await;
    assert_eq!(relay.fetch().await, [], "head and followers wait");
    fixture.advance(HOUR - MINUTE).await;
    relay.lease().await;
    assert_eq!(relay.fetch().await, [], "a retry is not due before its time");
    fixture.advance(2 * MINUTE).await;
    relay.lease().await;
    let due = relay.fetch().await;
    assert_eq!(ids(&due), [events[0].id()], "the head is due when its time has come, its followers are not");
    assert!(due[0].is_held_head && !due[0].is_behind_head, "it is told as the head of a held key");
    assert_eq!(due[0].event.lifecycle().attempts_made(), 1, "it comes as it is stored");
    assert_eq!(due[0].lane, fetched[0].lane, "it is still of its lane");
    assert_eq!(relay.fetch_without(&ids(&due)).await, [], "in flight it is left out like any other");
    // it fails again
    relay.hold(&due[0], Attempt::Counted, Retry::After(HOUR), vec![]).await;
    assert_eq!(relay.fetch().await, [], "it waits again");
    fixture.advance(HOUR + MINUTE).await;
    relay.lease().await;
    let due = relay.fetch().await;
    assert_eq!(ids(&due), [events[0].id()], "and is due again");
    let done =
        LaneSettlement { completed: ids(&due), release: vec![key_of(&due[0])], ..LaneSettlement::default() };
    relay.settle(done).await;
    let released = relay.fetch().await;
    assert_eq!(publishable(&released), table::ids(&events[1..]), "its followers go on, in their order");
}

/// `Retry::OnRequest`: a head that waits for an operator never becomes due by itself.
pub async fn what_waits_for_an_operator_is_never_due<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let mut relay = Relay::first(&fixture).await;
    relay.table.create(&[OutboxEvent::of("a"), OutboxEvent::of("a")]).await;
    let fetched = relay.fetch().await;
    relay.hold(&fetched[0], Attempt::Free, Retry::OnRequest, ids(&fetched[1..])).await;
    for _ in 0..2 {
        fixture.advance(400 * DAY).await;
        relay.lease().await;
        assert_eq!(
            publishable(&relay.fetch().await),
            [],
            "an event that waits for an operator is retried by that operator alone"
        );
    }
}

/// `LaneSettlement::release`: the followers become due again, in their old order, ahead of what came after them.
pub async fn a_release_restores_the_order<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let events: Vec<OutboxEvent> = (0..9).map(|_| OutboxEvent::of("a")).collect();
    relay.table.create(&events[..8]).await;
    let fetched = relay.fetch().await;
    // the followers are met in batches, and not in order
    relay
        .hold(
            &fetched[0],
            Attempt::Counted,
            Retry::OnRequest,
            vec![fetched[3].event.id(), fetched[1].event.id()],
        )
        .await;
    let rest = vec![fetched[7].event.id(), fetched[2].event.id(), fetched[4].event.id()];
    relay.settle(LaneSettlement { followers: rest, ..LaneSettlement::default() }).await;
    relay.table.create(&events[8..]).await;
    let done = LaneSettlement {
        completed: ids(&fetched[..1]),
        release: vec![key_of(&fetched[0])],
        ..LaneSettlement::default()
    };
    assert_eq!(relay.settle(done).await, [], "the lease is there");
    let released = relay.fetch().await;
    assert_eq!(
        ids(&released),
        table::ids(&events[1..]),
        "all of them are due again, in the order of their creation"
    );
    assert!(
        released.iter().all(|event| !event.is_behind_head && !event.is_held_head),
        "none of them is held any more"
    );
}

/// `LaneSettlement::release`: of very many followers a part is released with each call, lowest first, until none is left. What comes after
/// those that wait still is behind them.
pub async fn very_many_followers_are_released_in_order<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    const COUNT: usize = 10_500;
    let relay = Relay::first(&fixture).await;
    let events: Vec<OutboxEvent> = (0..=COUNT).map(|_| OutboxEvent::of("a")).collect();
    relay.table.create(&events).await;
    let fetched = relay.read(&relay.reads(1), &[], AMPLE).await;
    relay.hold(&fetched[0], Attempt::Counted, Retry::OnRequest, vec![]).await;
    for followers in table::ids(&events[1..]).chunks(1000) {
        relay.settle(LaneSettlement { followers: followers.to_vec(), ..LaneSettlement::default() }).await;
    }
    let later = OutboxEvent::of("a");
    relay.table.create_one(&later).await;
    let mut settlement = LaneSettlement {
        completed: ids(&fetched),
        release: vec![key_of(&fetched[0])],
        ..LaneSettlement::default()
    };
    let expected = [table::ids(&events[1..]), vec![later.id()]].concat();
    let mut done = 0;
    loop {
        let (before, unreleased) = (done, relay.settle_and_release(&settlement).await);
        loop {
            let due = publishable(&relay.read(&relay.reads(5000), &[], u64::MAX).await);
            if due.is_empty() {
                break;
            }
            assert!(
                due == expected[done..][..due.len()],
                "what is released is what comes first, in its order"
            );
            done += due.len();
            relay.complete(due).await;
        }
        assert!(done > before, "each call releases something");
        if unreleased.is_empty() {
            break;
        }
        settlement = LaneSettlement { release: unreleased, ..LaneSettlement::default() };
    }
    assert_eq!(done, expected.len(), "a key of which more waits is told, so that it is released again");
}

/// `LaneSettlement::release`: of a key whose head still waits, changes nothing.
pub async fn a_release_waits_for_the_head<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let events = [0; 3].map(|_| OutboxEvent::of("a"));
    relay.table.create(&events).await;
    let fetched = relay.fetch().await;
    relay.hold(&fetched[0], Attempt::Counted, Retry::OnRequest, ids(&fetched[1..])).await;
    let release = LaneSettlement { release: vec![key_of(&fetched[0])], ..LaneSettlement::default() };
    relay.settle(release).await;
    assert_eq!(
        publishable(&relay.fetch().await),
        [],
        "while the head waits nothing of its key may be published"
    );
}

/// `Retry::Never`: fails the event; its followers go on with the release.
pub async fn a_head_that_fails_for_good_lets_its_key_go_on<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let events = [0; 3].map(|_| OutboxEvent::of("a"));
    relay.table.create(&events).await;
    let fetched = relay.fetch().await;
    relay.hold(&fetched[0], Attempt::Counted, Retry::OnRequest, ids(&fetched[1..])).await;
    let head = omni_box_core::LaneEvent { event: relay.table.row(&events[0]).await, ..fetched[0].clone() };
    let failed = LaneSettlement {
        holds: vec![hold(&head, Attempt::Counted, Retry::Never)],
        release: vec![key_of(&head)],
        ..LaneSettlement::default()
    };
    relay.settle(failed).await;
    let row = relay.table.row(&events[0]).await;
    assert_eq!(row.status(), EventStatus::Failed, "Retry::Never fails an event");
    assert_eq!(row.lifecycle().attempts_made(), 2, "Attempt::Counted costs an attempt");
    let rest = relay.fetch().await;
    assert_eq!(publishable(&rest), table::ids(&events[1..]), "its followers go on, in their order");
}

/// `settle`: a follower whose key has no held head any more is left as it is.
pub async fn a_follower_without_a_head_stays_due<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let events = [OutboxEvent::of("a"), OutboxEvent::of("b"), outbox(new_outbox("orders"))];
    relay.table.create(&events).await;
    relay.settle(LaneSettlement { followers: table::ids(&events), ..LaneSettlement::default() }).await;
    let mut due = publishable(&relay.fetch().await);
    due.sort();
    assert_eq!(due, table::ids(&events), "nothing would ever release a follower whose key has no head");
}

/// `settle`: a follower that was scheduled for later joins at the end of the key.
pub async fn a_scheduled_follower_joins_at_the_end<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let mut relay = Relay::first(&fixture).await;
    let at = Utc::now() + TimeDelta::hours(1);
    let scheduled = outbox(new_outbox("orders").partition_key("a").scheduled_at(at));
    let [head, next] = [OutboxEvent::of("a"), OutboxEvent::of("a")];
    relay.table.create(&[scheduled.clone(), head.clone(), next.clone()]).await;
    let fetched = relay.fetch().await;
    assert_eq!(ids(&fetched), [head.id(), next.id()], "what is scheduled for later is not due yet");
    relay.hold(&fetched[0], Attempt::Free, Retry::OnRequest, vec![next.id()]).await;
    fixture.advance(2 * HOUR).await;
    relay.lease().await;
    let due = relay.fetch().await;
    assert_eq!(publishable(&due), [], "when it is due, its key is held: it must not be published");
    relay.settle(LaneSettlement { followers: vec![scheduled.id()], ..LaneSettlement::default() }).await;
    assert_eq!(publishable(&relay.fetch().await), [], "it waits behind the head");
    let done = LaneSettlement {
        completed: vec![head.id()],
        release: vec![key_of(&fetched[0])],
        ..LaneSettlement::default()
    };
    relay.settle(done).await;
    assert_eq!(
        publishable(&relay.fetch().await),
        [next.id(), scheduled.id()],
        "an event that was scheduled for later joins when it is due, at the end of its key"
    );
}

/// An event without a key is held alone.
pub async fn an_event_without_a_key_holds_no_other<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let mut relay = Relay::first(&fixture).await;
    let events = [0; 40].map(|_| outbox(new_outbox("orders")));
    relay.table.create(&events).await;
    let fetched = relay.fetch().await;
    relay.hold(&fetched[0], Attempt::Counted, Retry::After(TTL / 2), vec![]).await;
    let held = fetched[0].event.id();
    let rest = relay.fetch().await;
    assert_eq!(publishable(&rest), ids(&fetched[1..]), "the others go on: they have no order to keep");
    fixture.advance(TTL * 3 / 4).await;
    relay.lease().await;
    assert!(publishable(&relay.fetch().await).contains(&held), "it is due again when its time has come");
}

/// Who takes a lane over finds what is held: the hold is in the store.
pub async fn a_new_owner_knows_what_is_held<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let events = [OutboxEvent::of("a"), OutboxEvent::of("a"), OutboxEvent::of("a"), OutboxEvent::of("b")];
    relay.table.create(&events).await;
    let fetched = relay.fetch().await;
    let head = fetched.iter().find(|event| event.event.id() == events[0].id()).expect("the head is due");
    relay.hold(head, Attempt::Counted, Retry::After(HOUR), vec![events[1].id()]).await;
    fixture.advance(TTL * 2).await;
    let mut new = Relay::start(&fixture).await;
    assert_eq!(
        publishable(&new.fetch().await),
        [events[3].id()],
        "a new owner must not publish what waits behind a head that its predecessor held"
    );
    fixture.advance(HOUR).await;
    new.lease().await;
    let due = new.fetch().await;
    let head = due
        .iter()
        .find(|event| event.event.id() == events[0].id())
        .expect("the head is due for the new owner");
    assert!(head.is_held_head, "it is told as the head of a held key");
    assert!(!publishable(&due).contains(&events[1].id()), "its follower still waits");
}
