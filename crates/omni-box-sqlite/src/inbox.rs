//! The inbox table: receive, settle, quarantine, and what is known of partitions.

use std::time::Duration;

use omni_box_core::store::{DeadLetters, GroupMembers, Quarantine, SealedTransactions};
use omni_box_core::{
    BatchSize, BulkOperations, ClaimToken, ConsumerGroup, Created, DistributedLocking, Event, EventId,
    EventRepository, Failure, FetchFilters, InboxEvent, InboxRepository, InboxSettlement, PartitionEnd,
    QuarantinedMessage, Received, Result, RetentionPolicies, Savepoints, Store, TopicPartition,
};
use omni_box_sql::{Outcome, StoredEvent, known_message, micros};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::SqliteStore;
use crate::error::failed;
use crate::query::{array, ids};
use crate::row::Reader;
use crate::transaction::require_transaction;

impl InboxRepository for SqliteStore {
    /// The transaction has the file's write lock, and so the lock of every row.
    async fn receive(&self, conn: &mut SqliteConnection, events: &[InboxEvent]) -> Result<Vec<Received>> {
        let events: Vec<&InboxEvent> = events.iter().collect();
        self.receive_as(conn, &events, Stored::Pending).await
    }

    async fn by_message(
        &self,
        conn: &mut SqliteConnection,
        message_id: &str,
        group: &ConsumerGroup,
    ) -> Result<Option<InboxEvent>> {
        let row = sqlx::query(self.queries.inbox_by_message.sql())
            .bind(message_id)
            .bind(group.as_str())
            .fetch_optional(conn)
            .await
            .map_err(failed("look a message up"))?;
        row.as_ref().map(inbox_event).transpose()
    }

    async fn settle(&self, conn: &mut SqliteConnection, settlement: &InboxSettlement) -> Result<()> {
        let InboxSettlement { completed, failures } = settlement;
        // a handler may have passed over an error with which SQLite ended the transaction
        require_transaction(conn).await?;
        if !completed.is_empty() {
            sqlx::query(self.queries.inbox_settle_completed.sql())
                .bind(ids(completed))
                .execute(&mut *conn)
                .await
                .map_err(failed("complete messages"))?;
        }
        for (id, failure) in failures {
            self.fail(conn, *id, failure, None).await?;
        }
        Ok(())
    }

    async fn quarantine(&self, conn: &mut SqliteConnection, messages: &[QuarantinedMessage]) -> Result<()> {
        require_transaction(conn).await?;
        for QuarantinedMessage { consumer_group, message, error } in messages {
            sqlx::query(self.queries.inbox_quarantine.sql())
                // in the order in which they come
                .bind(Uuid::now_v7().to_string())
                .bind(consumer_group.as_str())
                .bind(message.topic.as_str())
                .bind(message.partition)
                .bind(message.offset)
                .bind(message.key.as_deref())
                .bind(message.raw_headers().to_string())
                .bind(message.value.as_deref())
                .bind(message.timestamp.map(|at| at.timestamp_micros()))
                .bind(error.replace('\0', "\u{fffd}"))
                .bind(message.fingerprint().to_vec())
                .execute(&mut *conn)
                .await
                .map_err(failed("quarantine a message"))?;
        }
        Ok(())
    }

    async fn pending_of(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<InboxEvent>> {
        let mut reader = self.reader().await?;
        let rows = sqlx::query(self.queries.inbox_pending_of.sql())
            .bind(group.as_str())
            .bind(&partition.topic)
            .bind(partition.partition)
            .bind(after.unwrap_or(i64::MIN))
            .bind(i64::from(limit))
            .fetch_all(&mut *reader)
            .await
            .map_err(failed("fetch pending messages"))?;
        inbox_events(&rows)
    }

    async fn attach(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> Result<PartitionEnd> {
        let doing = "attach to a partition";
        let mut tx = self.begin().await?;
        let clean: Option<bool> = sqlx::query_scalar(self.queries.inbox_partition_end.sql())
            .bind(group.as_str())
            .bind(&partition.topic)
            .bind(partition.partition)
            .fetch_optional(&mut *tx)
            .await
            .map_err(failed(doing))?;
        sqlx::query(self.queries.inbox_attach.sql())
            .bind(group.as_str())
            .bind(&partition.topic)
            .bind(partition.partition)
            .bind(owner.as_str())
            .execute(&mut *tx)
            .await
            .map_err(failed(doing))?;
        tx.commit().await?;
        Ok(if clean.unwrap_or(true) { PartitionEnd::Clean } else { PartitionEnd::Unclean })
    }

    async fn detach(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query(self.queries.inbox_detach.sql())
            .bind(group.as_str())
            .bind(&partition.topic)
            .bind(partition.partition)
            .bind(owner.as_str())
            .execute(&mut *tx)
            .await
            .map_err(failed("detach from a partition"))?;
        tx.commit().await
    }

    fn in_quarantine(&self) -> Option<&dyn Quarantine<SqliteConnection>> {
        Some(self)
    }

    fn members(&self) -> Option<&dyn GroupMembers> {
        Some(self)
    }

    fn savepoints(&self) -> Option<&dyn Savepoints<SqliteConnection>> {
        Some(self)
    }

    fn sealed(&self) -> Option<&dyn SealedTransactions<Self>> {
        Some(self)
    }
}

impl EventRepository<InboxEvent> for SqliteStore {
    async fn create(&self, conn: &mut SqliteConnection, event: &InboxEvent) -> Result<Created<InboxEvent>> {
        require_transaction(conn).await?;
        if let Some((existing, _)) = self.store_message(conn, event, Stored::Pending).await? {
            return Ok(Created::Existing(existing));
        }
        let (stored, _) = self.stored(conn, event).await?;
        Ok(Created::New(stored))
    }

    async fn get_by_id(&self, conn: &mut SqliteConnection, id: EventId) -> Result<Option<InboxEvent>> {
        let row = sqlx::query(self.queries.inbox_events.get.sql())
            .bind(id.to_string())
            .fetch_optional(conn)
            .await
            .map_err(failed("look a message up"))?;
        row.as_ref().map(inbox_event).transpose()
    }

    async fn fetch_pending(&self, limit: BatchSize, filters: &FetchFilters) -> Result<Vec<InboxEvent>> {
        InboxEvent::check_filters(filters)?;
        let mut reader = self.reader().await?;
        let found = self.due_rows::<InboxEvent>(&mut reader, limit, filters, None).await?;
        let rows = sqlx::query(self.queries.inbox_read.sql())
            .bind(array(found))
            .fetch_all(&mut *reader)
            .await
            .map_err(failed("fetch pending messages"))?;
        inbox_events(&rows)
    }

    async fn mark_processing(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(self.queries.inbox_events.claim_one.sql())
            .bind(id.to_string())
            .bind(token.as_str())
            .execute(&mut *tx)
            .await
            .map_err(failed("claim a message"))?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    async fn mark_completed(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        Ok(!BulkOperations::<InboxEvent>::complete_many(self, &[id], token).await?.is_empty())
    }

    async fn mark_failed(&self, id: EventId, token: &ClaimToken, failure: &Failure) -> Result<bool> {
        let mut tx = self.begin().await?;
        let is_marked = self.fail(&mut tx, id, failure, Some(token)).await?;
        tx.commit().await?;
        Ok(is_marked)
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

/// What a new message is stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    Pending,
    /// In a sealed transaction.
    Completed,
}

impl SqliteStore {
    pub(crate) async fn receive_as(
        &self,
        conn: &mut SqliteConnection,
        events: &[&InboxEvent],
        stored: Stored,
    ) -> Result<Vec<Received>> {
        require_transaction(conn).await?;
        let mut received = Vec::with_capacity(events.len());
        for event in events {
            received.push(match self.store_message(conn, event, stored).await? {
                None => Received::New,
                Some((row, _)) if row.is_sent_again_by(event) => {
                    self.reopen(conn, event).await?;
                    let (row, wait) = self.stored(conn, event).await?;
                    Received::of(row, event, wait)
                }
                Some((row, wait)) => Received::of(row, event, wait),
            });
        }
        Ok(received)
    }

    /// Stores a message, or returns the row that is there.
    async fn store_message(
        &self,
        conn: &mut SqliteConnection,
        event: &InboxEvent,
        stored: Stored,
    ) -> Result<Option<(InboxEvent, Duration)>> {
        // one that was read with a claim is there
        if event.lifecycle().lock().is_some()
            && let Some(row) = self.find_stored(conn, event).await?
        {
            return Ok(Some(row));
        }
        let content = event.content();
        let position = event.position();
        let done = sqlx::query(self.queries.inbox_receive.sql())
            .bind(event.id().to_string())
            .bind(event.message_id())
            .bind(event.consumer_group().as_str())
            .bind(event.event_type())
            .bind(event.source())
            .bind(event.payload().as_str())
            .bind(event.headers().to_json())
            .bind(content.trace_id.as_deref())
            .bind(content.correlation_id.as_deref())
            .bind(content.causation_id.as_deref())
            .bind(content.idempotency_key.as_deref())
            .bind(content.schema_version.as_deref())
            .bind(i64::from(event.lifecycle().max_attempts()))
            .bind(event.partition_key())
            .bind(position.map(|position| position.topic.as_str()))
            .bind(position.map(|position| position.partition))
            .bind(position.map(|position| position.offset))
            .bind(event.produced_at().map(|at| at.timestamp_micros()))
            .bind(event.digest())
            .bind(event.raw_key())
            .bind(event.lifecycle().scheduled_at().map(|at| at.timestamp_micros()))
            .bind(stored == Stored::Completed)
            .execute(&mut *conn)
            .await
            .map_err(failed("store a message"))?;
        if done.rows_affected() == 1 {
            return Ok(None);
        }
        self.stored(conn, event).await.map(Some)
    }

    /// Makes a message pending again that was given up and was sent again.
    async fn reopen(&self, conn: &mut SqliteConnection, event: &InboxEvent) -> Result<()> {
        let position = event.position();
        sqlx::query(self.queries.inbox_reopen.sql())
            .bind(event.message_id())
            .bind(event.consumer_group().as_str())
            .bind(position.map(|position| position.topic.as_str()))
            .bind(position.map(|position| position.partition))
            .bind(position.map(|position| position.offset))
            .execute(conn)
            .await
            .map_err(failed("reopen a message that was sent again"))?;
        Ok(())
    }

    /// The row of a message that is there, and how long until its next attempt.
    async fn stored(
        &self,
        conn: &mut SqliteConnection,
        event: &InboxEvent,
    ) -> Result<(InboxEvent, Duration)> {
        let deleted = || failed("look a message up")(sqlx::Error::RowNotFound);
        self.find_stored(conn, event).await?.ok_or_else(deleted)
    }

    /// The same, if it is there.
    async fn find_stored(
        &self,
        conn: &mut SqliteConnection,
        event: &InboxEvent,
    ) -> Result<Option<(InboxEvent, Duration)>> {
        let row = sqlx::query(self.queries.inbox_by_message.sql())
            .bind(event.message_id())
            .bind(event.consumer_group().as_str())
            .fetch_optional(conn)
            .await
            .map_err(failed("look a message up"))?;
        row.map(|row| known_message(&mut Reader::new(&row))).transpose().map_err(failed("read a message"))
    }

    /// Records a failure; with a token only if it has claimed the message.
    async fn fail(
        &self,
        conn: &mut SqliteConnection,
        id: EventId,
        failure: &Failure,
        token: Option<&ClaimToken>,
    ) -> Result<bool> {
        let Outcome { charge, kind, delay } = Outcome::from(failure);
        let done = sqlx::query(self.queries.inbox_fail.sql())
            .bind(id.to_string())
            .bind(charge)
            .bind(failure.error())
            .bind(kind)
            .bind(micros(delay))
            .bind(token.map(ClaimToken::as_str))
            .execute(conn)
            .await
            .map_err(failed("record a failure"))?;
        Ok(done.rows_affected() == 1)
    }
}

fn inbox_event(row: &SqliteRow) -> Result<InboxEvent> {
    InboxEvent::read(&mut Reader::new(row)).map_err(failed("read a message"))
}

pub(crate) fn inbox_events(rows: &[SqliteRow]) -> Result<Vec<InboxEvent>> {
    rows.iter().map(inbox_event).collect()
}
