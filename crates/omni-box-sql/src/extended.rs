//! Events with what a statement tells beside them.

use std::time::Duration;

use omni_box_core::{EventId, InboxEvent, LaneEvent, Lifecycle, OutboxEvent};

use crate::event::lifecycle;
use crate::{Columns, StoredEvent, lane_id};

/// Reads an event of a lane. The row has an outbox event's [columns](StoredEvent::columns), then `lane`, `seq`, whether it is a held head,
/// whether it is behind one, and the database's time.
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
        read_at: row.time()?,
    })
}

/// Reads what a claimed message has become: its id, the columns of its life, then the microseconds until its next attempt. All else is as it
/// was read with the claim.
///
/// # Errors
/// When the row has other columns.
pub fn claimed_message<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<(EventId, Lifecycle, Duration)> {
    let (id, life) = (row.uuid()?.into(), lifecycle(row)?);
    Ok((id, life, Duration::from_micros(row.integer()?.max(0).cast_unsigned())))
}

/// Reads a message that is there already: an inbox event's [columns](StoredEvent::columns), then the microseconds until its next attempt.
///
/// # Errors
/// When the row has other columns.
pub fn known_message<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<(InboxEvent, Duration)> {
    let event = InboxEvent::read(row)?;
    Ok((event, Duration::from_micros(row.integer()?.max(0).cast_unsigned())))
}
