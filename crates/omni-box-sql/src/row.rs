//! Rows read back. They are trusted: one bad row must never block a fetch, so what an event cannot keep is replaced.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use omni_box_core::{InboxEvent, LaneEvent, LaneId, OutboxEvent};
use uuid::Uuid;

use crate::StoredEvent;

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

/// Reads an event of a lane: an outbox event's [columns](StoredEvent::columns), then `lane`, `seq`, whether it is a held head, and whether it is behind one.
///
/// # Errors
/// When the row has other columns.
pub fn lane_event<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<LaneEvent> {
    Ok(LaneEvent {
        event: OutboxEvent::read(row)?,
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

/// Reads a message that is there already: an inbox event's [columns](StoredEvent::columns), then the microseconds until its next attempt.
///
/// # Errors
/// When the row has other columns.
pub fn known_message<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<(InboxEvent, Duration)> {
    let event = InboxEvent::read(row)?;
    Ok((event, Duration::from_micros(row.integer()?.max(0).cast_unsigned())))
}
