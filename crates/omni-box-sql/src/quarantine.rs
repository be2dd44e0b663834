//! Rows of the quarantine.

use omni_box_core::store::QuarantineEntry;
use omni_box_core::{ConsumerGroup, InboundMessage, QuarantinedMessage, SourcePosition};

use crate::Columns;

/// Reads an entry from id, group, topic, partition, offset, the broker's time, error, the value's length, and when it was kept.
///
/// # Errors
/// When the row has other columns.
pub fn quarantine_entry<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<QuarantineEntry> {
    Ok(QuarantineEntry {
        id: row.uuid()?,
        consumer_group: ConsumerGroup::from_stored(&row.text()?),
        position: position(row)?,
        produced_at: row.optional_time()?,
        error: row.text()?.into_owned(),
        value_bytes: row.optional_integer()?.and_then(|bytes| u64::try_from(bytes).ok()),
        kept_at: row.time()?,
    })
}

/// Reads a message from group, topic, partition, offset, the broker's time, error, key, headers as text, and value.
///
/// # Errors
/// When the row has other columns.
pub fn quarantined_message<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<QuarantinedMessage> {
    let consumer_group = ConsumerGroup::from_stored(&row.text()?);
    let SourcePosition { topic, partition, offset } = position(row)?;
    let timestamp = row.optional_time()?;
    let error = row.text()?.into_owned();
    let key = row.optional_bytes()?.map(Into::into);
    let headers = InboundMessage::headers_of_raw(&row.text()?);
    let value = row.optional_bytes()?.map(Into::into);
    let message = InboundMessage { topic, partition, offset, key, value, headers, timestamp };
    Ok(QuarantinedMessage { consumer_group, message, error })
}

fn position<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<SourcePosition> {
    Ok(SourcePosition {
        topic: row.text()?.into_owned(),
        partition: row.integer()?.try_into().unwrap_or(i32::MAX),
        offset: row.integer()?,
    })
}
