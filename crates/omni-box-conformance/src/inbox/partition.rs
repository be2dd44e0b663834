//! What is known of a partition: the messages that were stored first, and how its last owner ended.

use omni_box_core::{
    Attempt, ClaimToken, ConsumerGroup, Event, EventId, FetchFilters, InboxEvent, InboxRepository,
    NewInboxEvent, PartitionEnd, Retry,
};

use super::{Inbox, message, new_message, partition, position};
use crate::StoreFixture;
use crate::specimen::{content, group, inbox};
use crate::table::{HOUR, failure, ids, token};
use crate::transaction::retried;

/// `pending_of`: pending rows of a partition, in the order of their offsets, behind `after`, at most `limit`.
pub async fn pending_messages_come_in_the_order_of_their_offsets<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let offsets = [5, 1, 1 << 40, 3, 10, 2];
    let events = offsets.map(|offset| message(&format!("m{offset}"), offset, "1"));
    table.receive(&events).await;
    table.settle_completed(&events[3]).await;
    table.settle_failure(&events[5], failure(Attempt::Counted, Retry::Never)).await;
    let [five, one, last, _, ten, _] = offsets.map(|offset| {
        events
            .iter()
            .find(|e| e.position().is_some_and(|at| at.offset == offset))
            .map(Event::id)
            .expect("it is there")
    });
    let orders = partition("orders", 0);
    for (after, limit, expected) in [
        (None, 100, vec![one, five, ten, last]),
        (Some(1), 100, vec![five, ten, last]),
        (Some(4), 2, vec![five, ten]),
        (None, 1, vec![one]),
        (Some(10), 1, vec![last]),
        (Some(1 << 40), 100, vec![]),
    ] {
        assert_eq!(
            table.pending_of(&orders, after, limit).await,
            expected,
            "pending messages behind offset {after:?}, at most {limit}: by offset as a number, without what is completed or failed"
        );
    }
}

/// `pending_of`: rows of this group, topic and partition only.
pub async fn pending_messages_are_those_of_the_partition<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let billing = ConsumerGroup::new("billing").expect("a valid name");
    let make = |id: &str, group: &ConsumerGroup, topic: &str, partition| {
        inbox(new_message(id, group, "shop", "order.placed", "1").position(position(topic, partition, 7)))
    };
    let ours = make("a", &group(), "orders", 3);
    let unplaced: InboxEvent = inbox(new_message("e", &group(), "shop", "order.placed", "1"));
    let others = [
        make("b", &group(), "orders", 2),
        make("c", &group(), "users", 3),
        make("d", &billing, "orders", 3),
        unplaced,
    ];
    table.receive(&others).await;
    table.receive_one(&ours).await;
    assert_eq!(
        table.pending_of(&partition("orders", 3), None, 100).await,
        [ours.id()],
        "messages of other partitions, topics and groups, and those without an offset, are not this partition's"
    );
}

/// `pending_of`: also rows whose next attempt is not due: they hold what follows them.
pub async fn messages_that_wait_for_a_retry_are_pending<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let events = [message("a", 0, "1"), message("b", 1, "1"), message("c", 2, "1")];
    table.receive(&events).await;
    table.settle_failure(&events[0], failure(Attempt::Counted, Retry::After(HOUR))).await;
    table.settle_failure(&events[1], failure(Attempt::Counted, Retry::OnRequest)).await;
    let expected: Vec<_> = events.iter().map(Event::id).collect();
    assert_eq!(
        table.pending_of(&partition("orders", 0), None, 100).await,
        expected,
        "a message that waits is pending: what follows it in its key must not pass it"
    );
}

/// `fetch_pending`: a message without a key shares its partition's; one without a partition is a key of its own.
pub async fn messages_without_a_key_keep_the_order_of_their_partition<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let make = |id: &str, key: Option<&[u8]>, at: Option<(i32, i64)>| {
        let mut event = NewInboxEvent::new(id, group(), "shop", content("order.placed", "1"));
        if let Some((partition, offset)) = at {
            event = event.position(position("orders", partition, offset));
        }
        inbox(match key {
            Some(key) => event.partition_key(key),
            None => event,
        })
    };
    // bytes that are not text: a key like any other, kept beside the row
    let raw: Option<&[u8]> = Some(b"\xff\0");
    let events = [
        make("no key, second", None, Some((0, 8))),
        make("no key, first", None, Some((0, 7))),
        make("no key, elsewhere", None, Some((1, 9))),
        make("raw key, second", raw, Some((2, 8))),
        make("raw key, first", raw, Some((2, 7))),
        make("no partition", None, None),
        make("no partition either", None, None),
    ];
    table.receive(&events).await;
    let mut due = table.pending().await;
    due.sort();
    let expected: Vec<_> = [1, 2, 4, 5, 6].map(|n: usize| events[n].id()).into();
    assert_eq!(
        due, expected,
        "of each key, and of the messages of a partition without one, the lowest offset comes first"
    );
    assert_eq!(table.row(&events[4]).await.raw_key(), raw, "a key that is not text is kept");
    table.complete(&events[1]).await;
    table.complete(&events[4]).await;
    let due = table.pending().await;
    assert!(due.contains(&events[0].id()) && due.contains(&events[3].id()), "then the next");
}

/// `fetch_pending`: messages whose key is not text are ordered by its bytes: each by the messages of its own key, and by no others.
pub async fn a_key_that_is_no_text_has_an_order_of_its_own<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let events = of_raw_keys();
    for event in &events {
        table.receive_one(event).await;
    }
    assert_eq!(sorted(table.pending().await), some(&events, &[3, 4, 5, 6]), "{RAW_KEYS}");
    table.complete(&events[6]).await;
    assert_eq!(sorted(table.pending().await), some(&events, &[1, 3, 4, 5]), "then the next of the key");
}

/// `claim`: as [`a_key_that_is_no_text_has_an_order_of_its_own`]; of stores that lock.
pub async fn a_key_that_is_no_text_is_claimed_in_its_own_order<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let events = of_raw_keys();
    for event in &events {
        table.receive_one(event).await;
    }
    let (mine, theirs) = (token(), token());
    let claimed = ids(&table.claim_some(&mine, 1000, &FetchFilters::new()).await);
    assert_eq!(sorted(claimed), some(&events, &[3, 4, 5, 6]), "claimed are {RAW_KEYS}");
    assert_eq!(table.claim(&theirs).await, [], "what follows in a claimed key waits");
    assert!(table.mark_completed(&events[6], &mine).await, "it is claimed");
    assert_eq!(table.claim(&theirs).await, [events[1].id()], "then the next of the key");
}

const RAW_KEYS: &str = "the oldest of each key: a key that is not text waits for itself alone, neither for another one nor for messages without";

/// Messages to be stored from the last to the first, so that neither the order of arrival nor that of ids helps.
fn of_raw_keys() -> [InboxEvent; 7] {
    let make = |id: &str, key: Option<&[u8]>, partition, offset| {
        let event = NewInboxEvent::new(id, group(), "shop", content("order.placed", "1"))
            .position(position("orders", partition, offset));
        inbox(match key {
            Some(key) => event.partition_key(key),
            None => event,
        })
    };
    [
        make("ff, third", Some(b"\xff"), 0, 9),
        make("ff, second", Some(b"\xff"), 0, 8),
        make("fe, second", Some(b"\xfe\0"), 0, 7),
        make("no key", None, 0, 6),
        make("ff, elsewhere", Some(b"\xff"), 1, 5),
        make("fe, first", Some(b"\xfe\0"), 0, 4),
        make("ff, first", Some(b"\xff"), 0, 3),
    ]
}

/// The ids of some events, by their places.
fn some(events: &[InboxEvent], places: &[usize]) -> Vec<EventId> {
    sorted(places.iter().map(|place| events[*place].id()).collect())
}

fn sorted(mut ids: Vec<EventId>) -> Vec<EventId> {
    ids.sort();
    ids
}

/// `attach`: tells whether the owner before has detached. `detach`: notes a good end, unless another has attached since.
pub async fn a_partition_remembers_how_its_owner_ended<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let (table, elsewhere) = (Inbox::open(&fixture).await, Inbox::open(&fixture).await);
    let (orders, group) = (partition("orders", 0), group());
    let [first, second, third, fourth, fifth] = std::array::from_fn(|_| token());
    let detach = async |owner: &ClaimToken| {
        retried("detach", async || table.store.detach(&group, &orders, owner).await).await;
    };
    let attach = async |owner: &ClaimToken| elsewhere.attach_to(&group, &orders, owner).await;
    let end = table.attach_to(&group, &orders, &first).await;
    assert_eq!(end, PartitionEnd::Clean, "it had no owner before");
    let end = attach(&second).await;
    assert_eq!(
        end,
        PartitionEnd::Unclean,
        "the one before never detached: a message may have ended its process"
    );
    detach(&second).await;
    assert_eq!(attach(&third).await, PartitionEnd::Clean, "the one before detached");
    detach(&third).await;
    detach(&third).await;
    assert_eq!(attach(&fourth).await, PartitionEnd::Clean, "to detach twice is to detach");
    detach(&first).await;
    detach(&third).await;
    let end = attach(&fifth).await;
    assert_eq!(end, PartitionEnd::Unclean, "who detaches late says nothing of who has attached since");
    let billing = ConsumerGroup::new("billing").expect("a valid name");
    for (group, partition, what) in [
        (&group, partition("orders", 1), "partition"),
        (&group, partition("users", 0), "topic"),
        (&billing, orders.clone(), "group"),
    ] {
        let end = table.attach_to(group, &partition, &token()).await;
        assert_eq!(end, PartitionEnd::Clean, "another {what} has owners of its own");
    }
}
