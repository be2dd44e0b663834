//! The inbox table, its quarantine, and what is known of partitions.

mod statement;

use omni_box_core::event::Identity;
use omni_box_core::store::{DeadLetters, Due, GroupMembers, Quarantine, SealedTransactions};
use omni_box_core::{
    BatchSize, BulkOperations, ClaimToken, ConsumerGroup, Created, DistributedLocking, EventId,
    EventRepository, Failure, FetchFilters, InboxEvent, InboxRepository, InboxSettlement, PartitionEnd,
    QuarantinedMessage, Received, Result, RetentionPolicies, Savepoints, TopicPartition,
};

use super::table::InboxRow;
use super::{MemoryConn, MemoryStore};

impl InboxRepository for MemoryStore {
    async fn receive(&self, conn: &mut MemoryConn, events: &[InboxEvent]) -> Result<Vec<Received>> {
        conn.check()?;
        let events: Vec<&InboxEvent> = events.iter().collect();
        let result = conn.try_receive(&events).await;
        conn.finish(result)
    }

    async fn by_message(
        &self,
        conn: &mut MemoryConn,
        message_id: &str,
        group: &ConsumerGroup,
    ) -> Result<Option<InboxEvent>> {
        conn.check()?;
        let message = Identity::of_message(group, message_id);
        Ok(conn.view.inbox.by_identity(&message).map(InboxRow::event))
    }

    async fn settle(&self, conn: &mut MemoryConn, settlement: &InboxSettlement) -> Result<()> {
        conn.check()?;
        let result = conn.try_settle(settlement).await;
        conn.finish(result)
    }

    async fn quarantine(&self, conn: &mut MemoryConn, messages: &[QuarantinedMessage]) -> Result<()> {
        conn.check()?;
        let result = conn.try_quarantine(messages).await;
        conn.finish(result)
    }

    async fn pending_of(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<InboxEvent>> {
        let tables = self.committed();
        let is_behind = |row: &&InboxRow| {
            after.is_none_or(|after| row.record().position.as_ref().is_some_and(|at| at.offset > after))
        };
        let of_partition = tables.inbox.pending().filter(|row| row.is_of(group, partition));
        let mut rows: Vec<&InboxRow> = of_partition.filter(is_behind).collect();
        rows.sort_by_key(|row| row.place());
        Ok(rows.into_iter().take(limit as usize).map(InboxRow::event).collect())
    }

    async fn attach(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> Result<PartitionEnd> {
        let key = (group.to_string(), partition.topic.clone(), partition.partition);
        let before = self.shared.state().partitions.insert(key, owner.clone());
        Ok(if before.is_some() { PartitionEnd::Unclean } else { PartitionEnd::Clean })
    }

    async fn detach(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> Result<()> {
        let key = (group.to_string(), partition.topic.clone(), partition.partition);
        let mut state = self.shared.state();
        if state.partitions.get(&key) == Some(owner) {
            state.partitions.remove(&key);
        }
        Ok(())
    }

    fn in_quarantine(&self) -> Option<&dyn Quarantine<MemoryConn>> {
        Some(self)
    }

    fn members(&self) -> Option<&dyn GroupMembers> {
        Some(self)
    }

    fn savepoints(&self) -> Option<&dyn Savepoints<MemoryConn>> {
        Some(self)
    }

    fn sealed(&self) -> Option<&dyn SealedTransactions<Self>> {
        Some(self)
    }
}

impl EventRepository<InboxEvent> for MemoryStore {
    async fn create(&self, conn: &mut MemoryConn, event: &InboxEvent) -> Result<Created<InboxEvent>> {
        let mut created = conn.create::<InboxRow>(std::slice::from_ref(event)).await?;
        Ok(created.pop().expect("one for each event"))
    }

    async fn create_many(
        &self,
        conn: &mut MemoryConn,
        events: &[InboxEvent],
    ) -> Result<Vec<Created<InboxEvent>>> {
        conn.create::<InboxRow>(events).await
    }

    async fn get_by_id(&self, conn: &mut MemoryConn, id: EventId) -> Result<Option<InboxEvent>> {
        conn.event::<InboxRow>(id)
    }

    async fn fetch_pending(&self, limit: BatchSize, filters: &FetchFilters) -> Result<Vec<InboxEvent>> {
        let due = Due::new(limit, filters, self.shared.now())?;
        self.committed().inbox.due(due, |_| true)
    }

    async fn mark_processing(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        self.claim_one::<InboxRow>(id, token).await
    }

    async fn mark_completed(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        Ok(!self.complete_claimed::<InboxRow>(&[id], token).await?.is_empty())
    }

    async fn mark_failed(&self, id: EventId, token: &ClaimToken, failure: &Failure) -> Result<bool> {
        self.fail_claimed::<InboxRow>(id, token, failure).await
    }

    fn bulk(&self) -> Option<&dyn BulkOperations<InboxEvent>> {
        Some(self)
    }

    fn locking(&self) -> Option<&dyn DistributedLocking<InboxEvent>> {
        Some(self)
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters<InboxEvent>> {
        Some(self)
    }

    fn retention(&self) -> Option<&dyn RetentionPolicies<InboxEvent>> {
        Some(self)
    }
}
