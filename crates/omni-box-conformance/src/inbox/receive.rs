//! A message is stored once, and its row says what became of it.

use std::pin::pin;
use std::time::Duration;

use omni_box_core::{
    Attempt, ConsumerGroup, Event, EventStatus, InboxEvent, InboxRepository, InboxSettlement, Received, Retry,
};

use super::{Inbox, message, new_message, position};
use crate::specimen::{group, inbox};
use crate::table::{DAY, HOUR, failure, ids};
use crate::transaction::{at_once, begin, commit, rollback};
use crate::{Specimen, StoreFixture};

/// `receive`: inserts each message, or says what is known of it, in the order given.
pub async fn a_message_is_judged_by_its_row<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let (table, elsewhere) = (Inbox::open(&fixture).await, Inbox::open(&fixture).await);
    let stored = [
        message("pending", 0, "1"),
        message("done", 1, "1"),
        message("given up", 2, "1"),
        message("other", 3, "1"),
    ];
    assert_eq!(table.receive(&stored).await, vec![Received::New; 4], "messages that were not there are New");
    table.settle_completed(&stored[1]).await;
    table.settle_failure(&stored[2], failure(Attempt::Counted, Retry::Never)).await;

    let again = [
        message("other", 3, "2"),
        message("given up", 2, "1"),
        message("fresh", 9, "1"),
        message("done", 1, "1"),
        message("pending", 0, "1"),
    ];
    let received = elsewhere.receive(&again).await;
    assert_eq!(received.len(), again.len(), "one answer for each message");
    assert!(
        matches!(&received[0], Received::Conflict(row) if row.id() == stored[3].id()),
        "another value under an id that is there is a Conflict, not a repeat to be skipped: {:?}",
        received[0]
    );
    assert!(
        matches!(&received[1], Received::Failed(row) if row.id() == stored[2].id() && row.lifecycle().last_error() == Some("no stock")),
        "a message that was given up is Failed, with its row: {:?}",
        received[1]
    );
    assert_eq!(received[2], Received::New, "a message that was not there is New, whatever stands around it");
    assert!(
        matches!(&received[3], Received::Completed(row) if row.id() == stored[1].id()),
        "a message that took effect is Completed: {:?}",
        received[3]
    );
    assert!(
        matches!(&received[4], Received::Pending { event, wait } if event.id() == stored[0].id()
            && event.content() == stored[0].content() && wait.is_zero()),
        "a message that is there and pending is Pending, with its row, and due at once: {:?}",
        received[4]
    );
    assert!(table.receive(&[]).await.is_empty(), "no messages are a valid batch");
}

/// `receive`: stores the message as it was given, every one of a batch.
pub async fn a_received_message_is_stored_as_it_was_given<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let given = InboxEvent::full();
    assert_eq!(table.receive_one(&given).await, Received::New, "it was not there");
    let row = table.row(&given).await;
    assert_eq!(row.payload().as_str(), given.payload().as_str(), "the payload's text is kept as it is");
    assert_eq!(row.content(), given.content(), "content");
    InboxEvent::assert_same_fields(&given, &row);
    assert_eq!(row.status(), EventStatus::Pending, "status");
    assert_eq!((row.lifecycle().attempts_made(), row.lifecycle().max_attempts()), (0, 9), "attempts");
    let batch: Vec<InboxEvent> = (0..57).map(|n| message(&n.to_string(), n, "1")).collect();
    assert_eq!(table.receive(&batch).await, vec![Received::New; 57], "none of them was there");
    for event in &batch {
        table.row(event).await;
    }
}

/// `receive`: exists only if the transaction commits.
pub async fn what_was_received_is_undone_by_a_rollback<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let event = message("a", 0, "1");
    for dropped in [false, true] {
        let mut tx = begin(&table.store).await;
        let received =
            table.store.receive(&mut tx, std::slice::from_ref(&event)).await.expect("it is received");
        assert_eq!(received, [Received::New], "the transaction before was undone: the message is not there");
        let settlement = InboxSettlement { completed: vec![event.id()], ..InboxSettlement::default() };
        InboxRepository::settle(&table.store, &mut tx, &settlement).await.expect("it is settled");
        if dropped { drop(tx) } else { rollback(&table.store, tx).await }
    }
    assert_eq!(table.receive_one(&event).await, Received::New, "a rollback leaves nothing of the message");
    let mut tx = begin(&table.store).await;
    table.store.receive(&mut tx, std::slice::from_ref(&event)).await.expect("it is received");
    let settlement = InboxSettlement { completed: vec![event.id()], ..InboxSettlement::default() };
    InboxRepository::settle(&table.store, &mut tx, &settlement).await.expect("it is settled");
    rollback(&table.store, tx).await;
    assert!(
        matches!(table.receive_one(&event).await, Received::Pending { .. }),
        "an outcome whose transaction was rolled back did not happen: the message is pending"
    );
}

/// `by_message`: the row of the message with this id in this group, as this transaction sees it.
pub async fn a_message_is_found_by_its_id_and_its_group<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let [ours, billing] = [group(), ConsumerGroup::new("billing").expect("a valid name")];
    let theirs =
        inbox(new_message("same", &billing, "shop", "order.placed", "1").position(position("orders", 0, 7)));
    assert_eq!(table.receive_one(&theirs).await, Received::New, "it was not there");
    let event = message("same", 8, "2");
    let mut tx = begin(&table.store).await;
    assert_eq!(
        table.look_up(&mut tx, "same", &ours).await,
        None,
        "another group's message is another message"
    );
    assert_eq!(
        table.look_up(&mut tx, "same", &billing).await,
        Some(theirs.id()),
        "what has committed is found"
    );
    table.store.receive(&mut tx, std::slice::from_ref(&event)).await.expect("it is received");
    assert_eq!(table.look_up(&mut tx, "same", &ours).await, Some(event.id()), "its own transaction finds it");
    assert_eq!(table.look_up(&mut tx, "other", &ours).await, None, "an unknown message is none");
    rollback(&table.store, tx).await;
}

/// `receive`: a message is unique by its id within its consumer group.
pub async fn each_group_has_its_own_messages<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let billing = ConsumerGroup::new("billing").expect("a valid name");
    let make = |group: &ConsumerGroup| {
        inbox(new_message("same", group, "shop", "order.placed", "1").position(position("orders", 0, 7)))
    };
    let [ours, theirs] = [make(&group()), make(&billing)];
    assert_eq!(table.receive_one(&ours).await, Received::New, "it was not there");
    table.settle_completed(&ours).await;
    assert_eq!(
        table.receive_one(&theirs).await,
        Received::New,
        "the message of one group is not a message of another"
    );
    let both = table.receive(&[make(&billing), make(&group())]).await;
    assert!(
        matches!(&both[0], Received::Pending { event, .. } if event.id() == theirs.id()),
        "each group's own row is judged: {:?}",
        both[0]
    );
    assert!(
        matches!(&both[1], Received::Completed(row) if row.id() == ours.id()),
        "and the other's: {:?}",
        both[1]
    );
}

/// `Received::Conflict`: source, type or value differ; only where both rows have a digest.
pub async fn another_message_with_the_same_id_is_a_conflict<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let make = |source, event_type, value| {
        new_message("same", &group(), source, event_type, value).position(position("orders", 0, 7))
    };
    let first = inbox(make("shop", "order.placed", "1"));
    table.receive_one(&first).await;
    for (event, differs) in [
        (make("bank", "order.placed", "1"), "source"),
        (make("shop", "order.cancelled", "1"), "type"),
        (make("shop", "order.placed", "2"), "value"),
    ] {
        let received = table.receive_one(&inbox(event)).await;
        assert!(
            matches!(&received, Received::Conflict(row) if row.id() == first.id() && row.content() == first.content()),
            "a message whose {differs} differs from that of its id is a Conflict, with the row: {received:?}"
        );
    }
    let moved = inbox(make("shop", "order.placed", "1").position(position("orders", 1, 99)));
    assert!(
        matches!(table.receive_one(&moved).await, Received::Pending { .. }),
        "the same message at another offset is a repeat"
    );
    // a foreign writer knows no digests, and may name source and type in its own way
    let foreign = omni_box_core::NewInboxEvent::new(
        "foreign",
        group(),
        "elsewhere",
        crate::specimen::content("OrderPlaced", "1"),
    );
    let foreign = inbox(foreign);
    table.receive_one(&foreign).await;
    let repeat = inbox(new_message("foreign", &group(), "shop", "order.placed", "1"));
    assert!(
        matches!(table.receive_one(&repeat).await, Received::Pending { event, .. } if event.id() == foreign.id()),
        "without a digest on both sides nothing tells another message from a repeat: it is a repeat"
    );
}

/// `conflicts_with`: a source that is the message's topic tells nothing.
pub async fn a_message_is_the_same_in_a_retry_topic<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let at = |topic, offset, value| {
        inbox(
            new_message("same", &group(), topic, "order.placed", value).position(position(topic, 0, offset)),
        )
    };
    let first = at("orders", 7, "1");
    table.receive_one(&first).await;
    let received = table.receive_one(&at("orders-retry", 3, "1")).await;
    assert!(
        matches!(&received, Received::Pending { event, .. } if event.id() == first.id()),
        "the same message by a retry topic is a repeat, though its source is named after another topic: {received:?}"
    );
    let received = table.receive_one(&at("orders-retry", 3, "2")).await;
    assert!(matches!(received, Received::Conflict(_)), "another value is another message: {received:?}");
    table.settle_completed(&first).await;
    let received = table.receive_one(&at("mirror.orders", 9, "1")).await;
    assert!(
        matches!(received, Received::Completed(_)),
        "what took effect does not take effect again by a mirror: {received:?}"
    );
}

/// `receive`: a message that was given up and is sent again is pending, with all its attempts and its new position.
pub async fn a_message_that_is_sent_again_is_tried_again<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let (table, partition) = (Inbox::open(&fixture).await, super::partition("orders", 1));
    let first = message("a", 7, "1");
    table.receive_one(&first).await;
    table.settle_failure(&first, failure(Attempt::Counted, Retry::Never)).await;
    let received = table.receive_one(&message("a", 7, "1")).await;
    assert!(
        matches!(received, Received::Failed(_)),
        "a message that is delivered again is not sent again, and stays given up: {received:?}"
    );
    let again =
        inbox(new_message("a", &group(), "shop", "order.placed", "1").position(position("orders", 1, 12)));
    let received = table.receive_one(&again).await;
    assert!(
        matches!(&received, Received::Pending { event, wait } if event.id() == first.id() && wait.is_zero()
            && event.lifecycle().attempts_made() == 0 && event.position() == again.position()),
        "a message that was given up and is sent again is due at once, with all its attempts and its new position: {received:?}"
    );
    assert_eq!(
        table.pending_of(&partition, None, 10).await,
        [first.id()],
        "and it is of the partition where it is now"
    );
    table.settle_completed(&first).await;
    let received = table.receive_one(&message("a", 7, "1")).await;
    assert!(matches!(received, Received::Completed(_)), "once it took effect, it is done: {received:?}");
}

/// `Received::Pending`: how long until its next attempt is due, by the database's clock.
pub async fn a_pending_message_says_how_long_it_waits<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let event = message("a", 0, "1");
    let wait = async || match table.receive_one(&event).await {
        Received::Pending { wait, .. } => wait,
        other => panic!("a message that was received and not settled is Pending, got {other:?}"),
    };
    table.receive_one(&event).await;
    assert_eq!(wait().await, Duration::ZERO, "a message that has not failed is due at once");
    table.settle_failure(&event, failure(Attempt::Counted, Retry::After(HOUR))).await;
    let slack = Duration::from_secs(30);
    let left = wait().await;
    assert!(left > HOUR - slack && left <= HOUR, "{left:?} until a retry in an hour");
    fixture.advance(HOUR / 2).await;
    let left = wait().await;
    assert!(left > HOUR / 2 - slack && left <= HOUR / 2, "{left:?} until a retry in half an hour");
    fixture.advance(HOUR).await;
    assert_eq!(wait().await, Duration::ZERO, "a retry whose time has passed is due");
    table.settle_failure(&event, failure(Attempt::Counted, Retry::OnRequest)).await;
    fixture.advance(400 * DAY).await;
    assert!(wait().await > 365 * DAY, "what waits for an operator is not due by itself: it waits for years");
}

/// `receive`: the rows stay locked until the transaction ends: of two owners of one partition, one waits.
pub async fn of_two_owners_of_a_partition_one_waits<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let (table, elsewhere) = (Inbox::open(&fixture).await, Inbox::open(&fixture).await);
    let known = message("known", 0, "1");
    table.receive_one(&known).await;
    for (event, what) in [(message("new", 1, "1"), "has inserted"), (known, "has locked")] {
        let mut tx = begin(&table.store).await;
        table.store.receive(&mut tx, std::slice::from_ref(&event)).await.expect("a message is received");
        let again = message(event.message_id(), event.position().map_or(0, |position| position.offset), "1");
        let mut second = pin!(elsewhere.receive_one(&again));
        assert!(
            at_once(second.as_mut()).await.is_none(),
            "a message that another transaction {what} was received: both would handle it"
        );
        let settlement = InboxSettlement { completed: vec![event.id()], ..InboxSettlement::default() };
        InboxRepository::settle(&table.store, &mut tx, &settlement)
            .await
            .expect("a locked message is settled");
        commit(&table.store, tx).await;
        let received = second.await;
        assert!(
            matches!(&received, Received::Completed(row) if row.id() == event.id()),
            "who waited sees what the other has done: {received:?}"
        );
    }
}

/// `receive`: a lock ends with its transaction, also when that is rolled back.
pub async fn who_waited_for_a_rollback_receives_anew<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let (table, elsewhere) = (Inbox::open(&fixture).await, Inbox::open(&fixture).await);
    let [first, again] = [message("a", 0, "1"), message("a", 0, "1")];
    let mut tx = begin(&table.store).await;
    table.store.receive(&mut tx, std::slice::from_ref(&first)).await.expect("a message is received");
    let mut second = pin!(elsewhere.receive_one(&again));
    assert!(
        at_once(second.as_mut()).await.is_none(),
        "a message that another transaction has inserted was received"
    );
    drop(tx);
    assert_eq!(second.await, Received::New, "the other's transaction was dropped: the message is not there");
    assert_eq!(ids(&[elsewhere.row(&again).await]), [again.id()], "and is stored as this one received it");
}
