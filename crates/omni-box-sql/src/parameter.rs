//! What statements take and give back, as numbers of a database.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use omni_box_core::store::Replayed;
use omni_box_core::{Event, EventId, Failure, LifecycleRecord, OutboxEvent, Retry};

/// A failure as statements take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// What is added to the attempts.
    pub charge: i32,
    /// 0: tried again after `delay`; 1: when an operator says so; 2: never.
    pub kind: i32,
    /// Zero unless it is tried again.
    pub delay: Duration,
}

impl From<&Failure> for Outcome {
    fn from(failure: &Failure) -> Self {
        let (kind, delay) = match failure.retry {
            Retry::After(delay) => (0, delay),
            Retry::OnRequest => (1, Duration::ZERO),
            Retry::Never => (2, Duration::ZERO),
        };
        Self { charge: failure.attempt.charge(), kind, delay }
    }
}

/// A length of time in microseconds. What is longer than a century is cut to it, so that it can be added to a point in time.
pub fn micros(duration: Duration) -> i64 {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    i64::try_from(duration.min(CENTURY).as_micros()).unwrap_or(i64::MAX)
}

/// A point in time from its microseconds since 1970; those that chrono cannot hold become the nearest it can.
pub fn moment(micros: i64) -> DateTime<Utc> {
    let bound = if micros < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC };
    DateTime::from_timestamp_micros(micros).unwrap_or(bound)
}

/// How many lanes are a relay's, from the lanes there are and the relays alive; the last may get fewer.
pub fn fair_share(lanes: i64, alive: i64) -> usize {
    lanes.max(0).cast_unsigned().div_ceil(alive.max(1).cast_unsigned()) as usize
}

/// An event that was created now, with what the database's clock said when it was stored.
pub fn stored(event: &OutboxEvent, scheduled_at: DateTime<Utc>, created_at: DateTime<Utc>) -> OutboxEvent {
    let mut life = LifecycleRecord::stored(event.lifecycle(), created_at);
    life.scheduled_at = Some(scheduled_at);
    OutboxEvent::restore(event.record().clone(), life.into())
}

/// A fresh id for each of these failed events, for [`replay_as_new`](omni_box_core::store::DeadLetters::replay_as_new). An id that is
/// given twice gets one.
pub fn renewed(failed: &[EventId]) -> Vec<Replayed> {
    let failed: BTreeSet<EventId> = failed.iter().copied().collect();
    failed.into_iter().map(|failed| Replayed { failed, by: EventId::generate() }).collect()
}
