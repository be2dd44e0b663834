//! The outbox in a sample.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use omni_box_core::store::OutboxSample;
use omni_box_core::{
    Attempt, DeliveryMode, LeaseRequest, OutboxEvent, OutboxRepository, OwnerId, Retry, WorkerId,
};

use super::{exactly, is_about, sample};
use crate::specimen::{new_outbox, outbox};
use crate::table::{DAY, HOUR, MINUTE, TTL, Table};
use crate::transaction::retried;
use crate::{Specimen, StoreFixture};

/// `sample`: nothing is told of an empty table, and no lane is missed in mode `rows`.
pub async fn an_empty_outbox_has_nothing_to_tell<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let table = Table::<_, OutboxEvent>::first(&fixture).await;
    assert_eq!(sample(&table.store).await.outbox, OutboxSample::default());
}

/// `OutboxSample::oldest_due_age`, `backlog`: what is due is counted, and its age is that of the oldest, by the store's clock.
pub async fn what_is_due_is_counted_and_has_an_age<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let table = Table::<_, OutboxEvent>::first(&fixture).await;
    let events = OutboxEvent::many(5);
    table.create(&events[..2]).await;
    fixture.advance(HOUR).await;
    table.create(&events[2..]).await;
    let outbox = sample(&table.store).await.outbox;
    assert_eq!(outbox.backlog, exactly(5), "every due event is counted");
    assert!(is_about(outbox.oldest_due_age, HOUR), "the oldest was created an hour ago: {outbox:?}");
    table.complete(&events[0]).await;
    table.complete(&events[1]).await;
    let outbox = sample(&table.store).await.outbox;
    assert_eq!(outbox.backlog, exactly(3), "what is completed is not due");
    assert!(is_about(outbox.oldest_due_age, Duration::ZERO), "the others were created just now: {outbox:?}");
}

/// `OutboxSample::oldest_due_age`: an event scheduled for later has no age before its time, and is as old as its schedule afterwards.
pub async fn what_is_scheduled_counts_when_it_is_due<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let table = Table::<_, OutboxEvent>::first(&fixture).await;
    let at = Utc::now() + TimeDelta::days(1);
    table.create_one(&outbox(new_outbox("orders").scheduled_at(at))).await;
    let early = sample(&table.store).await.outbox;
    assert_eq!(early, OutboxSample::default(), "an event that is due tomorrow raises no alarm");
    // its schedule is by the machine's clock, which is not exactly the store's
    fixture.advance(DAY + HOUR + MINUTE / 2).await;
    let late = sample(&table.store).await.outbox;
    assert_eq!(late.backlog, exactly(1), "now it is due");
    assert!(is_about(late.oldest_due_age, HOUR), "for an hour, not for a day: {late:?}");
}

/// `OutboxSample::retrying_keys`, `parked_keys`, `oldest_held_age`: keys that wait are counted by what they wait for, and are not due.
pub async fn keys_that_wait_are_not_due<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let table = Table::<_, OutboxEvent>::first(&fixture).await;
    let events = OutboxEvent::many(4);
    table.create(&events[..1]).await;
    fixture.advance(HOUR).await;
    table.create(&events[1..]).await;
    table.fail(&events[0], Attempt::Counted, Retry::OnRequest).await;
    table.fail(&events[1], Attempt::Counted, Retry::After(HOUR)).await;
    table.fail(&events[2], Attempt::Free, Retry::After(HOUR)).await;
    let outbox = sample(&table.store).await.outbox;
    assert_eq!(outbox.parked_keys, exactly(1), "one waits for an operator");
    assert_eq!(outbox.retrying_keys, exactly(2), "two wait for their retries");
    assert!(is_about(outbox.oldest_held_age, HOUR), "the oldest of them was created an hour ago: {outbox:?}");
    assert_eq!(outbox.backlog, exactly(1), "one does not wait");
    assert!(is_about(outbox.oldest_due_age, Duration::ZERO), "what waits has no age: {outbox:?}");
}

/// `OutboxSample::failed`: events that were given up are counted until they are resolved.
pub async fn what_was_given_up_is_counted<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let table = Table::<_, OutboxEvent>::first(&fixture).await;
    let events = OutboxEvent::many(3);
    table.create(&events).await;
    table.complete(&events[0]).await;
    table.fail(&events[1], Attempt::Counted, Retry::Never).await;
    table.fail(&events[2], Attempt::Counted, Retry::Never).await;
    let expected = OutboxSample::default();
    let outbox = sample(&table.store).await.outbox;
    assert_eq!(outbox.failed, exactly(2), "two were given up");
    assert_eq!((outbox.backlog, outbox.oldest_due_age), (expected.backlog, None), "and are not due");
}

/// `OutboxSample::unowned_lanes`: lanes without a valid lease, in mode `lanes`.
pub async fn lanes_without_a_lease_are_counted<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    fixture.set_mode(DeliveryMode::Lanes).await;
    let table = Table::<_, OutboxEvent>::open(&fixture).await;
    let Some(lanes) = table.store.lanes() else { return };
    let unowned = async || sample(&table.store).await.outbox.unowned_lanes;
    let all = unowned().await;
    let worker = WorkerId::new("publisher-1").expect("a valid name");
    let request = LeaseRequest { owner: OwnerId::generate(), worker, ttl: TTL };
    let share = retried("lease lanes", async || lanes.lease(&request).await).await;
    assert_eq!(all, Some(share.leases.len() as u64), "without an owner every lane is without a lease");
    assert_eq!(unowned().await, Some(0), "an owner that is alone has every lane");
    fixture.advance(TTL + MINUTE).await;
    assert_eq!(unowned().await, all, "a lease that has run out is none");
    fixture.set_mode(DeliveryMode::Rows).await;
    assert_eq!(unowned().await, None, "in mode rows nothing is leased");
}
