//! Events as their tables hold them: the columns that are selected, and how each is read.

use std::borrow::Cow;

use omni_box_core::{
    ConsumerGroup, Event, EventContent, EventStatus, Headers, InboxEvent, InboxRecord, Lifecycle,
    LifecycleRecord, Lock, OutboxEvent, OutboxRecord, Payload, SourcePosition, WorkerId,
};
use uuid::Uuid;

use crate::{Columns, Dialect, Table};

/// Events of one kind, as their table holds them: [`OutboxEvent`] or [`InboxEvent`].
///
/// A store writes once, for any `E: StoredEvent`, what it does alike for both. Its statements are
/// [rendered for a kind](crate::render_for).
///
/// ```
/// use omni_box_core::{InboxEvent, OutboxEvent};
/// use omni_box_sql::{Columns, StoredEvent};
///
/// /// Reads the rows of either table.
/// fn read_all<'r, E: StoredEvent>(rows: impl Iterator<Item = impl Columns<'r>>) -> sqlx::Result<Vec<E>> {
///     rows.map(|mut row| E::read(&mut row)).collect()
/// }
///
/// assert_eq!(OutboxEvent::TABLE.default_name(), "outbox_events");
/// assert_eq!(InboxEvent::TABLE.default_name(), "inbox_events");
/// ```
pub trait StoredEvent: Event {
    /// The table of events of this kind.
    const TABLE: Table;

    /// What a statement selects from the events `e`, for [`read`](Self::read) to read.
    fn columns(dialect: &(impl Dialect + ?Sized)) -> String;

    /// Reads an event from its [columns](Self::columns). The row is trusted: what an event cannot keep is replaced.
    ///
    /// # Errors
    /// When the row has other columns.
    fn read<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<Self>;
}

impl StoredEvent for OutboxEvent {
    const TABLE: Table = Table::OutboxEvents;

    fn columns(dialect: &(impl Dialect + ?Sized)) -> String {
        shared_columns(dialect) + ", e.aggregate_type, e.aggregate_id, e.topic, e.partition_key"
    }

    fn read<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<Self> {
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
}

impl StoredEvent for InboxEvent {
    const TABLE: Table = Table::InboxEvents;

    fn columns(dialect: &(impl Dialect + ?Sized)) -> String {
        shared_columns(dialect)
            + ", e.message_id, e.consumer_group, e.source, e.partition_key, e.source_topic, e.source_partition, \
               e.source_offset, e.produced_at, e.digest, e.raw_key"
    }

    fn read<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<Self> {
        let (id, content, lifecycle) = shared(row)?;
        let message_id = row.text()?.into_owned();
        let consumer_group = ConsumerGroup::from_stored(&row.text()?);
        let source = row.text()?.into_owned();
        let partition_key = owned(row)?;
        let (topic, partition, offset) =
            (row.optional_text()?, row.optional_integer()?, row.optional_integer()?);
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
}

/// Columns that both tables have, in the order in which they are read.
fn shared_columns(dialect: &(impl Dialect + ?Sized)) -> String {
    let [payload, headers] = ["e.payload", "e.headers"].map(|column| dialect.json_text(column));
    format!(
        "e.id, e.event_type, {payload}, {headers}, e.trace_id, e.correlation_id, e.causation_id, e.idempotency_key, \
         e.schema_version, {LIFECYCLE_COLUMNS}"
    )
}

/// Columns of an event's life, in the order in which they are read.
pub(crate) const LIFECYCLE_COLUMNS: &str = "e.status, e.attempts_made, e.max_attempts, e.last_error, e.scheduled_at, \
     e.completed_at, e.locked_at, e.locked_by, e.created_at, e.updated_at";

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
    Ok((id, content, lifecycle(row)?))
}

/// Reads [`LIFECYCLE_COLUMNS`].
pub(crate) fn lifecycle<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<Lifecycle> {
    // the constraint allows no other; a table without it may hold anything, and such a row must not be worked on
    let status = row.text()?.parse().unwrap_or(EventStatus::Failed);
    let attempts_made = row.integer()?.try_into().unwrap_or(0);
    let max_attempts = row.integer()?.try_into().unwrap_or(0);
    let last_error = owned(row)?;
    let scheduled_at = Some(row.time()?);
    let completed_at = row.optional_time()?;
    let locked_at = row.optional_time()?;
    let locked_by = row.optional_text()?.and_then(|name| WorkerId::new(name).ok());
    let record = LifecycleRecord {
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
    Ok(record.into())
}

fn owned<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<Option<String>> {
    Ok(row.optional_text()?.map(Cow::into_owned))
}
