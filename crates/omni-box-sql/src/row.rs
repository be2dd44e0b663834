//! Rows read back. They are trusted: one bad row must never block a fetch, so what an event cannot keep is replaced.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use omni_box_core::LaneId;
use uuid::Uuid;

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

/// A lane from its column.
pub fn lane_id(number: impl Into<i64>) -> LaneId {
    LaneId::new(u16::try_from(number.into()).unwrap_or(u16::MAX))
}
