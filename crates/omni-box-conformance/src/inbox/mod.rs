//! [`InboxRepository`]: what only inbox events have.

pub mod bare;
pub mod kept;
pub mod members;
pub mod partition;
pub mod quarantine;
pub mod receive;
pub mod settle;

use omni_box_core::{
    ClaimToken, ConsumerGroup, Event, EventId, EventRepository, Failure, InboxEvent, InboxRepository,
    InboxSettlement, NewInboxEvent, PartitionEnd, Received, SourcePosition, Store, TopicPartition,
};

use super::StoreFixture;
use super::capability::assert_tested;
use super::specimen::{content, group, inbox};
use super::table::{Table, token};
use super::transaction::{committed, retried};

/// The capabilities that the store offers are those that it is tested for.
pub async fn capabilities_are_those_tested<F>(fixture: F, tested: &[&str])
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    // a store that remembers nothing of partitions answers Clean each time
    table.attach("a").await;
    let remembers = table.attach("a").await == PartitionEnd::Unclean;
    let store = &table.store;
    assert_tested(
        &[
            ("breakers", store.breakers().is_some()),
            ("bulk", store.bulk().is_some()),
            ("dead_letters", store.dead_letters().is_some()),
            ("inspection", store.inspection().is_some()),
            ("locking", store.locking().is_some()),
            ("partitions", remembers),
            ("members", store.members().is_some()),
            ("quarantine", store.in_quarantine().is_some()),
            ("retention", store.retention().is_some()),
            ("savepoints", store.savepoints().is_some()),
            ("sealed", store.sealed().is_some()),
        ],
        tested,
    );
}

/// The inbox as one process sees it.
type Inbox<S> = Table<S, InboxEvent>;

impl<S: InboxRepository> Inbox<S> {
    /// Receives messages in a committed transaction.
    async fn receive(&self, events: &[InboxEvent]) -> Vec<Received> {
        committed(&self.store, "receive messages", async |conn| self.store.receive(conn, events).await).await
    }

    async fn receive_one(&self, event: &InboxEvent) -> Received {
        let mut received = self.receive(std::slice::from_ref(event)).await;
        assert_eq!(received.len(), 1, "one answer for one message");
        received.remove(0)
    }

    async fn look_up(&self, conn: &mut S::Conn, message_id: &str, group: &ConsumerGroup) -> Option<EventId> {
        let found = self.store.by_message(conn, message_id, group).await;
        found.expect("a look-up fails only when the database does").map(|row| row.id())
    }

    /// Settles in a committed transaction that has locked the rows.
    async fn settle(&self, of: &[InboxEvent], settlement: &InboxSettlement) {
        committed(&self.store, "settle messages", async |conn| {
            self.store.receive(conn, of).await?;
            InboxRepository::settle(&self.store, conn, settlement).await
        })
        .await;
    }

    async fn settle_failure(&self, event: &InboxEvent, failure: Failure) {
        let settlement =
            InboxSettlement { failures: vec![(event.id(), failure)], ..InboxSettlement::default() };
        self.settle(std::slice::from_ref(event), &settlement).await;
    }

    async fn settle_completed(&self, event: &InboxEvent) {
        let settlement = InboxSettlement { completed: vec![event.id()], ..InboxSettlement::default() };
        self.settle(std::slice::from_ref(event), &settlement).await;
    }

    async fn attach(&self, topic: &str) -> PartitionEnd {
        self.attach_to(&group(), &partition(topic, 0), &token()).await
    }

    async fn attach_to(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> PartitionEnd {
        retried("attach to a partition", async || self.store.attach(group, partition, owner).await).await
    }

    async fn pending_of(&self, partition: &TopicPartition, after: Option<i64>, limit: u32) -> Vec<EventId> {
        let rows = retried("fetch pending messages of a partition", async || {
            self.store.pending_of(&group(), partition, after, limit).await
        })
        .await;
        rows.iter().map(Event::id).collect()
    }
}

fn partition(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition }
}

/// A message with its id and value, at an offset of partition 0 of `orders`.
fn message(message_id: &str, offset: i64, value: &str) -> InboxEvent {
    inbox(
        new_message(message_id, &group(), "shop", "order.placed", value)
            .position(position("orders", 0, offset)),
    )
}

fn new_message(
    message_id: &str,
    group: &ConsumerGroup,
    source: &str,
    event_type: &str,
    value: &str,
) -> NewInboxEvent {
    NewInboxEvent::new(message_id, group.clone(), source, content(event_type, value))
        .partition_key("a")
        .digest(value.as_bytes().to_vec())
}

fn position(topic: &str, partition: i32, offset: i64) -> SourcePosition {
    SourcePosition { topic: topic.into(), partition, offset }
}
