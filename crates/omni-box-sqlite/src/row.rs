//! Rows read back. They are trusted: one bad row must never block a fetch, so whatever cannot be kept is replaced.

use chrono::{DateTime, Utc};
use omni_box_core::{
    ConsumerGroup, EventContent, EventStatus, Headers, InboxEvent, InboxRecord, Lifecycle, LifecycleRecord,
    Lock, OutboxEvent, OutboxRecord, Payload, SourcePosition, WorkerId,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type};
use uuid::Uuid;

/// Columns that both tables have, in the order in which they are read.
macro_rules! shared_columns {
    () => {
        "e.id, e.event_type, e.payload, e.headers, e.trace_id, e.correlation_id, e.causation_id, \
         e.idempotency_key, e.schema_version, e.status, e.attempts_made, e.max_attempts, e.last_error, e.scheduled_at, \
         e.completed_at, e.locked_at, e.locked_by, e.created_at, e.updated_at"
    };
}

/// What a statement selects to read outbox events.
pub(crate) const OUTBOX_COLUMNS: &str =
    concat!(shared_columns!(), ", e.aggregate_type, e.aggregate_id, e.topic, e.partition_key");

/// What a statement selects to read inbox events.
pub(crate) const INBOX_COLUMNS: &str = concat!(
    shared_columns!(),
    ", e.message_id, e.consumer_group, e.source, e.partition_key, e.source_topic, e.source_partition, e.source_offset, \
     e.produced_at, e.digest, e.raw_key"
);

/// A point in time from its microseconds; those that chrono cannot hold become the nearest it can.
pub(crate) fn moment(micros: i64) -> DateTime<Utc> {
    let bound = if micros < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC };
    DateTime::from_timestamp_micros(micros).unwrap_or(bound)
}

/// Reads the columns of a row one after the other.
pub(crate) struct Reader<'r> {
    row: &'r SqliteRow,
    at: usize,
}

impl<'r> Reader<'r> {
    pub(crate) fn new(row: &'r SqliteRow) -> Self {
        Self { row, at: 0 }
    }

    pub(crate) fn next<T: Decode<'r, Sqlite> + Type<Sqlite>>(&mut self) -> Result<T, sqlx::Error> {
        self.at += 1;
        self.row.try_get(self.at - 1)
    }

    fn uuid(&mut self) -> Result<Uuid, sqlx::Error> {
        // the table's constraint lets nothing else in
        self.next::<&str>()?.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
    }

    fn time(&mut self) -> Result<DateTime<Utc>, sqlx::Error> {
        Ok(moment(self.next()?))
    }

    fn optional_time(&mut self) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
        Ok(self.next::<Option<i64>>()?.map(moment))
    }

    fn shared(&mut self) -> Result<(Uuid, EventContent, Lifecycle), sqlx::Error> {
        let id = self.uuid()?;
        let content = EventContent {
            event_type: self.next()?,
            payload: Payload::from_stored(self.next()?),
            headers: self.next::<Option<&str>>()?.map(Headers::from_stored).unwrap_or_default(),
            trace_id: self.next()?,
            correlation_id: self.next()?,
            causation_id: self.next()?,
            idempotency_key: self.next()?,
            schema_version: self.next()?,
        };
        let status: &str = self.next()?;
        let [attempts_made, max_attempts] = [self.next::<i64>()?, self.next::<i64>()?];
        let last_error = self.next()?;
        let scheduled_at = self.time()?;
        let completed_at = self.optional_time()?;
        let locked_at = self.optional_time()?;
        let locked_by = self.next::<Option<&str>>()?.and_then(|name| WorkerId::new(name).ok());
        let lifecycle = LifecycleRecord {
            // the constraint allows no other; a table without it may hold anything, and that is not to be worked on
            status: status.parse().unwrap_or(EventStatus::Failed),
            attempts_made: attempts_made.try_into().unwrap_or(0),
            max_attempts: max_attempts.try_into().unwrap_or(0),
            last_error,
            scheduled_at: Some(scheduled_at),
            completed_at,
            lock: locked_at.zip(locked_by).map(|(at, by)| Lock { by, at }),
            created_at: self.time()?,
            updated_at: self.time()?,
        };
        Ok((id, content, lifecycle.into()))
    }

    /// An outbox event from [`OUTBOX_COLUMNS`].
    pub(crate) fn outbox_event(&mut self) -> Result<OutboxEvent, sqlx::Error> {
        let (id, content, lifecycle) = self.shared()?;
        let record = OutboxRecord {
            id: id.into(),
            content,
            aggregate_type: self.next()?,
            aggregate_id: self.next::<Option<&str>>()?.and_then(|id| id.parse().ok()),
            topic: self.next()?,
            partition_key: self.next()?,
        };
        Ok(OutboxEvent::restore(record, lifecycle))
    }

    /// An inbox event from [`INBOX_COLUMNS`].
    pub(crate) fn inbox_event(&mut self) -> Result<InboxEvent, sqlx::Error> {
        let (id, content, lifecycle) = self.shared()?;
        let message_id = self.next()?;
        let consumer_group = ConsumerGroup::from_stored(self.next()?);
        let source = self.next()?;
        let partition_key = self.next()?;
        let position = match (self.next()?, self.next()?, self.next()?) {
            (Some(topic), Some(partition), Some(offset)) => Some(SourcePosition { topic, partition, offset }),
            _ => None,
        };
        let produced_at = self.optional_time()?;
        let digest = self.next()?;
        let raw_key = self.next()?;
        let record = InboxRecord {
            id: id.into(),
            content,
            message_id,
            consumer_group,
            source,
            partition_key,
            raw_key,
            position,
            produced_at,
            digest,
        };
        Ok(InboxEvent::restore(record, lifecycle))
    }
}
