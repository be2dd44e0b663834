//! [`OutboxRepository`]: what only outbox events have.

use chrono::{TimeDelta, Utc};
use omni_box_core::{DeliveryMode, Event, EventRepository, OutboxEvent, OutboxRepository, Store};

use super::capability::assert_tested;
use super::specimen::{new_outbox, outbox};
use super::table::{HOUR, MINUTE, Table, ids};
use super::{Specimen, StoreFixture, lanes};

/// The capabilities that the store offers are those that it is tested for.
pub async fn capabilities_are_those_tested<F>(fixture: F, tested: &[&str])
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let store = fixture.open().await;
    let lanes = if store.lanes().is_some() { lanes::count(&fixture).await } else { 0 };
    assert_tested(
        &[
            ("breakers", store.breakers().is_some()),
            ("bulk", store.bulk().is_some()),
            ("dead_letters", store.dead_letters().is_some()),
            ("inspection", store.inspection().is_some()),
            ("lanes", lanes > 0),
            ("locking", store.locking().is_some()),
            ("retention", store.retention().is_some()),
            ("several_lanes", lanes > 1),
            ("wakeup", store.wakeup().is_some()),
        ],
        tested,
    );
}

/// `delivery_mode`: the table's, for every process.
pub async fn the_delivery_mode_is_that_of_the_table<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let stores = [fixture.open().await, fixture.open().await];
    fixture.set_mode(DeliveryMode::Rows).await;
    for store in stores {
        let mode = store.delivery_mode().await.expect("the mode of a table that is there can be read");
        assert_eq!(mode, DeliveryMode::Rows, "every process sees the mode that was set");
    }
}

/// `fetch_pending`: an event scheduled for later is due from then on, and holds nothing until then.
pub async fn a_scheduled_event_joins_when_it_is_due<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let table = Table::<_, OutboxEvent>::first(&fixture).await;
    let at = Utc::now() + TimeDelta::hours(2);
    let scheduled = outbox(new_outbox("orders").partition_key("a").scheduled_at(at));
    let events = [scheduled, OutboxEvent::of("a"), OutboxEvent::of("b")];
    table.create(&events).await;
    let stored =
        table.row(&events[0]).await.lifecycle().scheduled_at().expect("a stored event has a schedule");
    assert!(
        (stored - at).abs() < TimeDelta::milliseconds(2),
        "the schedule is kept: {at} was given, {stored} read"
    );
    assert_eq!(
        table.pending().await,
        ids(&events[1..]),
        "an event scheduled for later is not due yet, and does not hold its key"
    );
    table.complete(&events[1]).await;
    fixture.advance(2 * HOUR - MINUTE).await;
    assert_eq!(table.pending().await, [events[2].id()], "it is not due before its time");
    fixture.advance(2 * MINUTE).await;
    let mut due = table.pending().await;
    due.sort();
    assert_eq!(due, [events[0].id(), events[2].id()], "it is due when its time has come");
}

/// `fetch_pending`: an event whose schedule has passed when it is created is due at once.
pub async fn a_schedule_in_the_past_is_due_at_once<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let table = Table::<_, OutboxEvent>::first(&fixture).await;
    let event = outbox(new_outbox("orders").scheduled_at(Utc::now() - TimeDelta::seconds(30)));
    table.create_one(&event).await;
    assert_eq!(table.pending().await, [event.id()], "it is due");
}

/// `OutboxRecord::partition_key`: without one, no order is asked for: each event is a key of its own.
pub async fn events_without_a_key_do_not_wait_for_each_other<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let table = Table::<_, OutboxEvent>::first(&fixture).await;
    let events = [0; 3].map(|_| outbox(new_outbox("orders")));
    table.create(&events).await;
    assert_eq!(table.pending().await, ids(&events), "every event without a key is due");
    let other_topic = outbox(new_outbox("users").partition_key("a"));
    let events = [OutboxEvent::of("a"), other_topic];
    table.create(&events).await;
    assert_eq!(table.pending().await.len(), 5, "one key in two topics is two keys");
}
