//! The inbox table: receive, settle, quarantine, and what is known of partitions.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Datelike, Utc};
use omni_box_core::store::{DeadLetters, GroupMembers, Quarantine, SealedTransactions};
use omni_box_core::{
    BatchSize, BulkOperations, ClaimToken, ConsumerGroup, Created, DistributedLocking, Error, ErrorKind,
    Event, EventId, EventRepository, Failure, FetchFilters, InboxEvent, InboxRepository, InboxSettlement,
    Lifecycle, PartitionEnd, QuarantinedMessage, Received, Result, RetentionPolicies, Savepoints,
    TopicPartition,
};
use omni_box_sql::{Outcome, StoredEvent, claimed_message, known_message};
use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::PgStore;
use crate::error::failed;
use crate::outbox::require_transaction;
use crate::row::Reader;
use crate::row::uuids;
use crate::store::interval;

impl InboxRepository for PgStore {
    async fn receive(&self, conn: &mut PgConnection, events: &[InboxEvent]) -> Result<Vec<Received>> {
        let events: Vec<&InboxEvent> = events.iter().collect();
        self.receive_as(conn, &events, Stored::Pending).await
    }

    async fn by_message(
        &self,
        conn: &mut PgConnection,
        message_id: &str,
        group: &ConsumerGroup,
    ) -> Result<Option<InboxEvent>> {
        let row = sqlx::query(self.queries.inbox_by_message.sql())
            .bind(message_id)
            .bind(group.as_str())
            .fetch_optional(conn)
            .await
            .map_err(self.failed("look a message up"))?;
        row.as_ref().map(inbox_event).transpose()
    }

    async fn settle(&self, conn: &mut PgConnection, settlement: &InboxSettlement) -> Result<()> {
        let InboxSettlement { completed, failures } = settlement;
        require_transaction(conn).await?;
        if !completed.is_empty() {
            let is_large = sqlx::query_scalar(self.queries.inbox_settle_completed.sql())
                .persistent(self.inbox_plans.are_kept())
                .bind(uuids(completed))
                .fetch_one(&mut *conn)
                .await
                .map_err(failed("complete messages"))?;
            self.inbox_plans.note(is_large);
        }
        if !failures.is_empty() {
            let outcomes: Vec<Outcome> = failures.iter().map(|(_, failure)| Outcome::from(failure)).collect();
            sqlx::query(self.queries.inbox_settle_failed.sql())
                .persistent(self.inbox_plans.are_kept())
                .bind(failures.iter().map(|(id, _)| id.as_uuid()).collect::<Vec<_>>())
                .bind(outcomes.iter().map(|outcome| outcome.charge).collect::<Vec<_>>())
                .bind(failures.iter().map(|(_, failure)| failure.error()).collect::<Vec<_>>())
                .bind(outcomes.iter().map(|outcome| outcome.kind).collect::<Vec<_>>())
                .bind(outcomes.iter().map(|outcome| interval(outcome.delay)).collect::<Vec<_>>())
                .execute(conn)
                .await
                .map_err(failed("record failures of messages"))?;
        }
        Ok(())
    }

    async fn quarantine(&self, conn: &mut PgConnection, messages: &[QuarantinedMessage]) -> Result<()> {
        require_transaction(conn).await?;
        if messages.is_empty() {
            return Ok(());
        }
        fn column<'a, T>(
            messages: &'a [QuarantinedMessage],
            get: impl Fn(&'a QuarantinedMessage) -> T,
        ) -> Vec<T> {
            messages.iter().map(get).collect()
        }
        sqlx::query(self.queries.inbox_quarantine.sql())
            // in the order in which they come
            .bind(messages.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
            .bind(column(messages, |m| m.consumer_group.as_str()))
            .bind(column(messages, |m| m.message.topic.as_str()))
            .bind(column(messages, |m| m.message.partition))
            .bind(column(messages, |m| m.message.offset))
            .bind(column(messages, |m| m.message.key.as_deref()))
            .bind(column(messages, |m| m.message.raw_headers()))
            .bind(column(messages, |m| m.message.value.as_deref()))
            .bind(column(messages, |m| m.message.timestamp.filter(is_storable)))
            .bind(column(messages, |m| m.error.replace('\0', "\u{fffd}")))
            .bind(column(messages, |m| m.message.fingerprint().to_vec()))
            .execute(conn)
            .await
            .map_err(self.failed("quarantine messages"))?;
        Ok(())
    }

    async fn pending_of(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<InboxEvent>> {
        let mut session = self.session().await?;
        let rows = sqlx::query(self.queries.inbox_pending_of.sql())
            .bind(group.as_str())
            .bind(&partition.topic)
            .bind(partition.partition)
            .bind(after.unwrap_or(i64::MIN))
            .bind(i64::from(limit))
            .fetch_all(&mut *session)
            .await
            .map_err(self.failed("fetch pending messages"))?;
        session.finish().await?;
        inbox_events(&rows)
    }

    async fn attach(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> Result<PartitionEnd> {
        let mut session = self.session().await?;
        let clean: bool = sqlx::query_scalar(self.queries.inbox_attach.sql())
            .bind(group.as_str())
            .bind(&partition.topic)
            .bind(partition.partition)
            .bind(owner.as_str())
            .fetch_one(&mut *session)
            .await
            .map_err(self.failed("attach to a partition"))?;
        session.finish().await?;
        Ok(if clean { PartitionEnd::Clean } else { PartitionEnd::Unclean })
    }

    async fn detach(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> Result<()> {
        let mut session = self.session().await?;
        sqlx::query(self.queries.inbox_detach.sql())
            .bind(group.as_str())
            .bind(&partition.topic)
            .bind(partition.partition)
            .bind(owner.as_str())
            .execute(&mut *session)
            .await
            .map_err(self.failed("detach from a partition"))?;
        session.finish().await
    }

    fn in_quarantine(&self) -> Option<&dyn Quarantine<PgConnection>> {
        Some(self)
    }

    fn members(&self) -> Option<&dyn GroupMembers> {
        Some(self)
    }

    fn savepoints(&self) -> Option<&dyn Savepoints<PgConnection>> {
        Some(self)
    }

    fn sealed(&self) -> Option<&dyn SealedTransactions<Self>> {
        self.config.seals().then_some(self)
    }
}

impl EventRepository<InboxEvent> for PgStore {
    async fn create(&self, conn: &mut PgConnection, event: &InboxEvent) -> Result<Created<InboxEvent>> {
        require_transaction(conn).await?;
        let is_new = !self.insert_messages(conn, &[event], Stored::Pending).await?.is_empty();
        let stored = self.by_message(conn, event.message_id(), event.consumer_group()).await?;
        match stored {
            Some(stored) if is_new => Ok(Created::New(stored)),
            Some(stored) => Ok(Created::Existing(stored)),
            None => Err(deleted_meanwhile()),
        }
    }

    async fn get_by_id(&self, conn: &mut PgConnection, id: EventId) -> Result<Option<InboxEvent>> {
        let row = sqlx::query(self.queries.inbox_events.get.sql())
            .bind(id.as_uuid())
            .fetch_optional(conn)
            .await
            .map_err(self.failed("look a message up"))?;
        row.as_ref().map(inbox_event).transpose()
    }

    async fn fetch_pending(&self, limit: BatchSize, filters: &FetchFilters) -> Result<Vec<InboxEvent>> {
        InboxEvent::check_filters(filters)?;
        self.due(self.session().await?, limit, filters, None).await
    }

    async fn mark_processing(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        let mut session = self.session().await?;
        let done = sqlx::query(self.queries.inbox_events.claim_one.sql())
            .bind(id.as_uuid())
            .bind(token.as_str())
            .execute(&mut *session)
            .await
            .map_err(self.failed("claim a message"))?;
        session.finish().await?;
        Ok(done.rows_affected() == 1)
    }

    async fn mark_completed(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        Ok(!BulkOperations::<InboxEvent>::complete_many(self, &[id], token).await?.is_empty())
    }

    async fn mark_failed(&self, id: EventId, token: &ClaimToken, failure: &Failure) -> Result<bool> {
        let Outcome { charge, kind, delay } = Outcome::from(failure);
        let mut session = self.session().await?;
        let done = sqlx::query(self.queries.inbox_fail.sql())
            .bind(id.as_uuid())
            .bind(token.as_str())
            .bind(charge)
            .bind(failure.error())
            .bind(kind)
            .bind(interval(delay))
            .execute(&mut *session)
            .await
            .map_err(self.failed("record a failure"))?;
        session.finish().await?;
        Ok(done.rows_affected() == 1)
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

impl PgStore {
    pub(crate) async fn receive_as(
        &self,
        conn: &mut PgConnection,
        events: &[&InboxEvent],
        stored: Stored,
    ) -> Result<Vec<Received>> {
        require_transaction(conn).await?;
        let mut claimed = self.lock_claimed(conn, events).await?;
        let others: Vec<&InboxEvent> =
            events.iter().copied().filter(|event| !claimed.contains_key(&event.id())).collect();
        let new = self.insert_messages(conn, &others, stored).await?;
        let known: Vec<&InboxEvent> = others.into_iter().filter(|event| !new.contains(&event.id())).collect();
        let mut rows = self.lock_rows(conn, &known).await?;
        let is_sent_again = |event: &&&InboxEvent| {
            rows.get(&key_of(event)).is_some_and(|(row, _)| row.is_sent_again_by(event))
        };
        let again: Vec<&InboxEvent> = known.iter().filter(is_sent_again).copied().collect();
        if !again.is_empty() {
            self.reopen(conn, &again).await?;
            rows.extend(self.lock_rows(conn, &again).await?);
        }
        events
            .iter()
            .map(|event| {
                if new.contains(&event.id()) {
                    return Ok(Received::New);
                }
                if let Some((life, wait)) = claimed.remove(&event.id()) {
                    let row = InboxEvent::restore(event.record().clone(), life);
                    return Ok(Received::of(row, event, wait));
                }
                match rows.remove(&key_of(event)) {
                    Some((row, wait)) => Ok(Received::of(row, event, wait)),
                    None => Err(deleted_meanwhile()),
                }
            })
            .collect()
    }

    /// Locks the rows of messages that were read with a claim. They are there, so that nothing of them is sent or read but what changes.
    async fn lock_claimed(
        &self,
        conn: &mut PgConnection,
        events: &[&InboxEvent],
    ) -> Result<HashMap<EventId, (Lifecycle, Duration)>> {
        let claimed = events.iter().filter(|event| event.lifecycle().lock().is_some());
        let ids: Vec<Uuid> = claimed.map(|event| event.id().as_uuid()).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = sqlx::query(self.queries.inbox_lock_claimed.sql())
            .persistent(self.inbox_plans.are_kept())
            .bind(ids)
            .fetch_all(conn)
            .await
            .map_err(self.failed("lock claimed messages"))?;
        rows.iter()
            .map(|row| {
                let (id, life, wait) = claimed_message(&mut Reader::new(row))?;
                Ok((id, (life, wait)))
            })
            .collect::<Result<_, sqlx::Error>>()
            .map_err(self.failed("read claimed messages"))
    }

    /// Returns the ids of those that were not there.
    async fn insert_messages(
        &self,
        conn: &mut PgConnection,
        events: &[&InboxEvent],
        stored: Stored,
    ) -> Result<HashSet<EventId>> {
        if events.is_empty() {
            return Ok(HashSet::new());
        }
        fn column<'a, T>(events: &[&'a InboxEvent], get: impl Fn(&'a InboxEvent) -> T) -> Vec<T> {
            events.iter().copied().map(get).collect()
        }
        let ids: Vec<Uuid> = sqlx::query_scalar(self.queries.inbox_receive.sql())
            .bind(column(events, |e| e.id().as_uuid()))
            .bind(column(events, InboxEvent::message_id))
            .bind(column(events, |e| e.consumer_group().as_str()))
            .bind(column(events, |e| e.event_type()))
            .bind(column(events, InboxEvent::source))
            .bind(column(events, |e| e.payload().as_str()))
            .bind(column(events, |e| e.headers().to_json()))
            .bind(column(events, |e| e.content().trace_id.as_deref()))
            .bind(column(events, |e| e.content().correlation_id.as_deref()))
            .bind(column(events, |e| e.content().causation_id.as_deref()))
            .bind(column(events, |e| e.content().idempotency_key.as_deref()))
            .bind(column(events, |e| e.content().schema_version.as_deref()))
            .bind(column(events, |e| i32::try_from(e.lifecycle().max_attempts()).unwrap_or(i32::MAX)))
            .bind(column(events, InboxEvent::partition_key))
            .bind(column(events, |e| e.position().map(|position| position.topic.as_str())))
            .bind(column(events, |e| e.position().map(|position| position.partition)))
            .bind(column(events, |e| e.position().map(|position| position.offset)))
            .bind(column(events, |e| e.produced_at().filter(is_storable)))
            .bind(column(events, InboxEvent::digest))
            .bind(column(events, InboxEvent::raw_key))
            .bind(column(events, |e| e.lifecycle().scheduled_at()))
            .bind(stored == Stored::Completed)
            .fetch_all(conn)
            .await
            .map_err(self.failed("store messages"))?;
        Ok(ids.into_iter().map(EventId::from).collect())
    }

    /// Makes messages pending again that were given up and were sent again.
    async fn reopen(&self, conn: &mut PgConnection, events: &[&InboxEvent]) -> Result<()> {
        let positions = || events.iter().map(|event| event.position());
        sqlx::query(self.queries.inbox_reopen.sql())
            .bind(events.iter().map(|event| event.message_id()).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.consumer_group().as_str()).collect::<Vec<_>>())
            .bind(positions().map(|at| at.map(|at| at.topic.as_str())).collect::<Vec<_>>())
            .bind(positions().map(|at| at.map(|at| at.partition)).collect::<Vec<_>>())
            .bind(positions().map(|at| at.map(|at| at.offset)).collect::<Vec<_>>())
            .execute(conn)
            .await
            .map_err(failed("reopen messages that were sent again"))?;
        Ok(())
    }

    async fn lock_rows(
        &self,
        conn: &mut PgConnection,
        events: &[&InboxEvent],
    ) -> Result<HashMap<(String, ConsumerGroup), (InboxEvent, Duration)>> {
        if events.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = sqlx::query(self.queries.inbox_lock.sql())
            .bind(events.iter().map(|event| event.message_id()).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.consumer_group().as_str()).collect::<Vec<_>>())
            .fetch_all(conn)
            .await
            .map_err(self.failed("lock messages"))?;
        rows.iter()
            .map(|row| {
                let (event, wait) = known_message(&mut Reader::new(row))?;
                Ok((key_of(&event), (event, wait)))
            })
            .collect::<Result<_, sqlx::Error>>()
            .map_err(self.failed("read messages"))
    }
}

/// Whether the server has such a point in time; it begins with the Julian calendar, in 4714 BC. What a producer's clock said is left out
/// otherwise, since a message must be kept whatever it says.
fn is_storable(at: &DateTime<Utc>) -> bool {
    const FIRST_YEAR: i32 = -4712;
    at.year() >= FIRST_YEAR
}

fn key_of(event: &InboxEvent) -> (String, ConsumerGroup) {
    (event.message_id().to_owned(), event.consumer_group().clone())
}

fn deleted_meanwhile() -> Error {
    Error::new(ErrorKind::Contention, "the row of a message was deleted meanwhile, run the transaction again")
}

fn inbox_event(row: &PgRow) -> Result<InboxEvent> {
    InboxEvent::read(&mut Reader::new(row)).map_err(failed("read a message"))
}

/// The names of the groups that a fetch is for.
pub(crate) fn group_names(filters: &FetchFilters) -> Vec<&str> {
    filters.consumer_groups.iter().map(ConsumerGroup::as_str).collect()
}

pub(crate) fn inbox_events(rows: &[PgRow]) -> Result<Vec<InboxEvent>> {
    rows.iter().map(inbox_event).collect()
}
