//! The inbox in a sample.

use std::time::Duration;

use omni_box_core::store::{GroupSample, Sample};
use omni_box_core::{
    Attempt, ConsumerGroup, InboundMessage, InboxEvent, InboxRepository, NewInboxEvent, QuarantinedMessage,
    Retry,
};

use super::{exactly, is_about, sample};
use crate::specimen::{content, inbox};
use crate::table::{HOUR, Table};
use crate::transaction::committed;
use crate::{Specimen, StoreFixture};

fn group(name: &str) -> ConsumerGroup {
    ConsumerGroup::new(name).expect("a valid name")
}

fn of(consumer_group: &str, message_id: &str) -> InboxEvent {
    let content = content("order.placed", "{}");
    inbox(NewInboxEvent::new(message_id, group(consumer_group), "shop", content).partition_key(message_id))
}

fn find<'a>(sample: &'a Sample, group: &str) -> &'a GroupSample {
    let found = sample.groups.iter().find(|sample| sample.consumer_group == group);
    found
        .unwrap_or_else(|| panic!("group {group} has something in the inbox, and is not told of: {sample:?}"))
}

/// `GroupSample`: messages are counted by group and status; those that take effect are not.
pub async fn messages_are_counted_by_group<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Table::<_, InboxEvent>::first(&fixture).await;
    assert_eq!(sample(&table.store).await.groups, [], "nothing is told of an empty table");
    let events = ["1", "2", "3", "4"].map(|id| of("shipping", id));
    table.create(&events[..1]).await;
    fixture.advance(HOUR).await;
    table.create(&events[1..]).await;
    table.create(&[of("billing", "1"), of("audit", "1")]).await;
    let quarantined = QuarantinedMessage {
        consumer_group: group("mail"),
        message: InboundMessage {
            topic: "orders".to_owned(),
            partition: 0,
            offset: 7,
            key: None,
            value: None,
            headers: Vec::new(),
            timestamp: None,
        },
        error: "no value".to_owned(),
    };
    let messages = [quarantined];
    committed(&table.store, "quarantine a message", async |conn| {
        table.store.quarantine(conn, &messages).await
    })
    .await;
    table.fail(&events[1], Attempt::Counted, Retry::Never).await;
    table.complete(&events[2]).await;
    table.fail(&of_row(&table, "audit").await, Attempt::Counted, Retry::Never).await;

    let seen = sample(&table.store).await;
    let names: Vec<&str> = seen.groups.iter().map(|group| group.consumer_group.as_str()).collect();
    assert_eq!(names, ["audit", "billing", "mail", "shipping"], "each group once, by name");
    let shipping = find(&seen, "shipping");
    assert_eq!(
        (shipping.pending, shipping.failed),
        (exactly(2), exactly(1)),
        "two are due, one was given up"
    );
    assert!(is_about(shipping.oldest_pending_age, HOUR), "one is due for an hour: {shipping:?}");
    let billing = find(&seen, "billing");
    assert_eq!((billing.pending, billing.failed), (exactly(1), exactly(0)), "each group has its own");
    assert!(is_about(billing.oldest_pending_age, Duration::ZERO), "{billing:?}");
    let audit = find(&seen, "audit");
    assert_eq!((audit.failed, audit.pending), (exactly(1), exactly(0)), "it has only one that was given up");
    let mail = find(&seen, "mail");
    assert_eq!((mail.quarantined, mail.pending), (exactly(1), exactly(0)), "it has only one in quarantine");
    assert_eq!(shipping.quarantined, exactly(0), "the quarantine has groups too");
}

/// The message of a group that has one.
async fn of_row<S: InboxRepository>(table: &Table<S, InboxEvent>, name: &str) -> InboxEvent {
    let pending = table.fetch(100, &omni_box_core::FetchFilters::new()).await;
    let found = pending.into_iter().find(|event| *event.consumer_group() == group(name));
    found.expect("a pending message is found")
}

/// `GroupSample::pending`: a message that waits for its retry, or for an operator, is not due.
pub async fn messages_that_wait_are_not_due<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Table::<_, InboxEvent>::first(&fixture).await;
    let events = InboxEvent::many(2);
    table.create(&events).await;
    table.fail(&events[0], Attempt::Counted, Retry::After(HOUR)).await;
    table.fail(&events[1], Attempt::Counted, Retry::OnRequest).await;
    let due = |sample: &Sample| find(sample, events[0].consumer_group().as_str()).clone();
    let early = due(&sample(&table.store).await);
    assert_eq!((early.pending, early.oldest_pending_age), (exactly(0), None), "both wait");
    fixture.advance(2 * HOUR).await;
    let late = due(&sample(&table.store).await);
    assert_eq!(late.pending, exactly(1), "one is due, the other waits for an operator");
    assert!(is_about(late.oldest_pending_age, HOUR), "since its retry: {late:?}");
}
