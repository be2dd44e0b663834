//! Rows read back. They are trusted: one bad row must never block a fetch, so whatever cannot be kept is replaced.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use omni_box_core::{
    ConsumerGroup, EventContent, EventStatus, Headers, InboxEvent, InboxRecord, LaneEvent, LaneId, Lifecycle,
    LifecycleRecord, Lock, OutboxEvent, OutboxRecord, Payload, SourcePosition, WorkerId,
};
use uuid::Uuid;

use crate::Dialect;

/// The columns of a row, taken one after the other: each call reads the next one. A store implements it for its database's rows.
///
/// - A method fails when the column is null, unless it is one of the optional ones, and when it has another type.
/// - What the type of the column can hold, but the Rust type cannot (`infinity`), becomes the nearest that it can.
pub trait Columns<'r> {
    /// Text. Where a foreign writer has left bytes that are none, they are replaced.
    fn text(&mut self) -> sqlx::Result<Cow<'r, str>>;

    /// Text, or null.
    fn optional_text(&mut self) -> sqlx::Result<Option<Cow<'r, str>>>;

    /// An integer of whatever width the column has.
    fn integer(&mut self) -> sqlx::Result<i64>;

    /// An integer, or null.
    fn optional_integer(&mut self) -> sqlx::Result<Option<i64>>;

    /// A truth value.
    fn boolean(&mut self) -> sqlx::Result<bool>;

    /// A UUID.
    fn uuid(&mut self) -> sqlx::Result<Uuid>;

    /// A UUID, or null, or something else that a foreign writer has left there, which counts as null.
    fn optional_uuid(&mut self) -> sqlx::Result<Option<Uuid>>;

    /// A point in time.
    fn time(&mut self) -> sqlx::Result<DateTime<Utc>>;

    /// A point in time, or null.
    fn optional_time(&mut self) -> sqlx::Result<Option<DateTime<Utc>>>;

    /// Bytes, or null.
    fn optional_bytes(&mut self) -> sqlx::Result<Option<Vec<u8>>>;
}

/// What a statement selects from the outbox events `e`, for [`outbox_event`] to read.
pub fn outbox_columns(dialect: &(impl Dialect + ?Sized)) -> String {
    shared_columns(dialect) + ", e.aggregate_type, e.aggregate_id, e.topic, e.partition_key"
}

/// What a statement selects from the inbox events `e`, for [`inbox_event`] to read.
pub fn inbox_columns(dialect: &(impl Dialect + ?Sized)) -> String {
    shared_columns(dialect)
        + ", e.message_id, e.consumer_group, e.source, e.partition_key, e.source_topic, e.source_partition, \
           e.source_offset, e.produced_at, e.digest, e.raw_key"
}

/// Columns that both tables have, in the order in which they are read.
fn shared_columns(dialect: &(impl Dialect + ?Sized)) -> String {
    let [payload, headers] = ["e.payload", "e.headers"].map(|column| dialect.json_text(column));
    format!(
        "e.id, e.event_type, {payload}, {headers}, e.trace_id, e.correlation_id, e.causation_id, e.idempotency_key, \
         e.schema_version, e.status, e.attempts_made, e.max_attempts, e.last_error, e.scheduled_at, e.completed_at, \
         e.locked_at, e.locked_by, e.created_at, e.updated_at"
    )
}

/// Reads an outbox event from [`outbox_columns`].
///
/// # Errors
/// When the row has other columns.
pub fn outbox_event<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<OutboxEvent> {
    let (id, content, lifecycle) = shared(row)?;
    let record = OutboxRecord {
        id: id.into(),
        content,
        aggregate_type: owned(row)?,
        aggregate_id: row.optional_uuid()?,
        topic: row.text()?.into_owned(),
        partition_key: owned(row)?,
    };
    Ok(OutboxEvent::restore(record, lifecycle))
}

/// Reads an event of a lane: [`outbox_columns`], then `lane`, `seq`, whether it is a held head, and whether it is behind one.
///
/// # Errors
/// When the row has other columns.
pub fn lane_event<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<LaneEvent> {
    Ok(LaneEvent {
        event: outbox_event(row)?,
        lane: lane_id(row.integer()?),
        seq: row.integer()?,
        is_held_head: row.boolean()?,
        is_behind_head: row.boolean()?,
    })
}

/// A lane from its column.
pub fn lane_id(number: impl Into<i64>) -> LaneId {
    LaneId::new(u16::try_from(number.into()).unwrap_or(u16::MAX))
}

/// Reads an inbox event from [`inbox_columns`].
///
/// # Errors
/// When the row has other columns.
pub fn inbox_event<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<InboxEvent> {
    let (id, content, lifecycle) = shared(row)?;
    let message_id = row.text()?.into_owned();
    let consumer_group = ConsumerGroup::from_stored(&row.text()?);
    let source = row.text()?.into_owned();
    let partition_key = owned(row)?;
    let (topic, partition, offset) = (row.optional_text()?, row.optional_integer()?, row.optional_integer()?);
    let partition = partition.and_then(|number| i32::try_from(number).ok());
    let position = match (topic, partition, offset) {
        (Some(topic), Some(partition), Some(offset)) => {
            Some(SourcePosition { topic: topic.into_owned(), partition, offset })
        }
        _ => None,
    };
    let produced_at = row.optional_time()?;
    let digest = row.optional_bytes()?;
    let raw_key = row.optional_bytes()?;
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

/// Reads a message that is there already: [`inbox_columns`], then the microseconds until its next attempt.
///
/// # Errors
/// When the row has other columns.
pub fn known_message<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<(InboxEvent, Duration)> {
    let event = inbox_event(row)?;
    Ok((event, Duration::from_micros(row.integer()?.max(0).cast_unsigned())))
}

fn shared<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<(Uuid, EventContent, Lifecycle)> {
    let id = row.uuid()?;
    let content = EventContent {
        event_type: row.text()?.into_owned(),
        payload: Payload::from_stored(row.text()?.as_ref()),
        headers: row.optional_text()?.map(|json| Headers::from_stored(&json)).unwrap_or_default(),
        trace_id: owned(row)?,
        correlation_id: owned(row)?,
        causation_id: owned(row)?,
        idempotency_key: owned(row)?,
        schema_version: owned(row)?,
    };
    // the constraint allows no other; a table without it may hold anything, and that is not to be worked on
    let status = row.text()?.parse().unwrap_or(EventStatus::Failed);
    let attempts_made = row.integer()?.try_into().unwrap_or(0);
    let max_attempts = row.integer()?.try_into().unwrap_or(0);
    let last_error = owned(row)?;
    let scheduled_at = Some(row.time()?);
    let completed_at = row.optional_time()?;
    let locked_at = row.optional_time()?;
    let locked_by = row.optional_text()?.and_then(|name| WorkerId::new(name).ok());
    let lifecycle = LifecycleRecord {
        status,
        attempts_made,
        max_attempts,
        last_error,
        scheduled_at,
        completed_at,
        lock: locked_at.zip(locked_by).map(|(at, by)| Lock { by, at }),
        created_at: row.time()?,
        updated_at: row.time()?,
    };
    Ok((id, content, lifecycle.into()))
}

fn owned<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<Option<String>> {
    Ok(row.optional_text()?.map(Cow::into_owned))
}
