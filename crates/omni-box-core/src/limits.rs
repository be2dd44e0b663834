//! What an event may hold, and the checks that say so.

use std::time::Duration;

use crate::error::{Error, Result};

/// Limits of the events that are built here.
///
/// Of a received message only its id, type and source are held to them, since they say which message it is. One that does not fit is
/// kept in quarantine. Whatever else does not fit its column is left out, and payload and headers may be of any size.
///
/// Lengths of text are in characters, as the columns have them, unless the name says bytes.
///
/// ```
/// use omni_box_core::{EventLimits, NewOutboxEvent, OmniBoxDomainService};
///
/// let mut limits = EventLimits::default();
/// limits.payload_bytes = 10;
/// let domain = OmniBoxDomainService::new(limits);
/// let order = NewOutboxEvent::from_json("order.placed", "orders", r#"{"order": 7000000}"#);
/// assert!(domain.create_outbox_event(order).is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventLimits {
    /// `event_type`: 100 characters.
    pub event_type: usize,
    /// `aggregate_type`: 50 characters.
    pub aggregate_type: usize,
    /// `topic`, `source`, `partition_key`, `message_id`, `consumer_group`: 255 characters.
    pub name: usize,
    /// `trace_id`, `correlation_id`, `causation_id`: 64 characters. One that does not fit is left out, and never costs its event.
    pub trace_id: usize,
    /// `idempotency_key`: 128 characters.
    pub idempotency_key: usize,
    /// `schema_version`: 50 characters.
    pub schema_version: usize,
    /// Payload: 1,000,000 bytes of JSON text.
    pub payload_bytes: usize,
    /// Headers: 100.
    pub headers: usize,
    /// A header's key: 64 characters.
    pub header_key: usize,
    /// A header's value: 512 characters.
    pub header_value: usize,
    /// Attempts before an event is failed, unless it says otherwise: 6. At least 1 is used.
    pub max_attempts: u32,
    /// How far before its creation an event may be scheduled: 60 s.
    pub schedule_past: Duration,
    /// How far after its creation an event may be scheduled: 365 days.
    pub schedule_future: Duration,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self {
            event_type: 100,
            aggregate_type: 50,
            name: 255,
            trace_id: 64,
            idempotency_key: 128,
            schema_version: 50,
            payload_bytes: 1_000_000,
            headers: 100,
            header_key: 64,
            header_value: 512,
            max_attempts: 6,
            schedule_past: Duration::from_secs(60),
            schedule_future: Duration::from_secs(365 * 24 * 60 * 60),
        }
    }
}

/// Longest `last_error` kept, in bytes.
const LAST_ERROR_BYTES: usize = 2_000;
const CUT_SUFFIX: &str = "... (cut)";

/// The attempts an event asks for, or the default.
pub(crate) fn check_max_attempts(asked: Option<u32>, limits: &EventLimits) -> Result<u32> {
    // the column is a signed 32-bit integer
    const MOST: u32 = i32::MAX as u32;
    match asked {
        None => Ok(limits.max_attempts.clamp(1, MOST)),
        Some(attempts) if (1..=MOST).contains(&attempts) => Ok(attempts),
        Some(attempts) => Err(Error::invalid(format!("max_attempts is {attempts}, needs 1 to {MOST}"))),
    }
}

/// Whether text fits a column: not empty, not too long, without NUL.
pub(crate) fn fits(text: &str, limit: usize) -> bool {
    !text.is_empty() && !text.contains('\0') && text.chars().count() <= limit
}

/// Checks that text is not empty, not too long, and has no NUL (which PostgreSQL's text refuses).
pub(crate) fn check_text(field: &str, text: &str, limit: usize) -> Result<()> {
    if text.is_empty() {
        return Err(Error::invalid(format!("{field} is empty, needs 1 to {limit} characters")));
    }
    let length = text.chars().count();
    if length > limit {
        return Err(Error::invalid(format!("{field} has {length} characters, at most {limit} are allowed")));
    }
    if text.contains('\0') {
        return Err(Error::invalid(format!(
            "{field} contains a NUL character, which a database cannot store as text"
        )));
    }
    Ok(())
}

/// The same for text that may be absent.
pub(crate) fn check_optional(field: &str, text: Option<&str>, limit: usize) -> Result<()> {
    text.map_or(Ok(()), |text| check_text(field, text, limit))
}

/// Cuts an error text to what `last_error` holds, at a character, and takes out what a database cannot store.
pub(crate) fn cut_error(text: &str) -> String {
    let mut text = text.replace('\0', "\u{fffd}");
    if text.len() > LAST_ERROR_BYTES {
        let mut end = LAST_ERROR_BYTES - CUT_SUFFIX.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(CUT_SUFFIX);
    }
    text
}
