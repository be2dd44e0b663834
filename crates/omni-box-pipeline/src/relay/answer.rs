//! What the broker answered about an event.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use omni_box_core::{Attempt, Event, Failure, OutboxEvent, Retry};
use tokio::time::Instant;

use crate::outcome::Outcome;

/// How an event ended with the broker.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) event: Arc<OutboxEvent>,
    pub(crate) outcome: Outcome,
    pub(crate) sent_at: Instant,
    pub(crate) answered_at: Instant,
    /// `None`: the store does not tell when it read or claimed the event.
    pub(crate) due: Option<DueSince>,
    /// Why the event's key waits now, if it does.
    pub(crate) held: Option<&'static str>,
}

/// Since when an event is due: its age by the database's clock when it was read, and when that was by this process's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DueSince {
    age: Duration,
    read: Instant,
}

impl DueSince {
    /// Of an event that was read at `read_at` by the database's clock, which is about `read`.
    pub(crate) fn read(event: &OutboxEvent, read_at: DateTime<Utc>, read: Instant) -> Self {
        let life = event.lifecycle();
        let due = life.scheduled_at().map_or(life.created_at(), |due| due.max(life.created_at()));
        Self { age: (read_at - due).to_std().unwrap_or_default(), read }
    }

    /// Of an event that was claimed at `claimed`.
    pub(crate) fn claimed(event: &OutboxEvent, claimed: Instant) -> Option<Self> {
        event.lifecycle().lock().map(|lock| Self::read(event, lock.at, claimed))
    }

    /// How long it had been due at a time since.
    pub(crate) fn until(self, time: Instant) -> Duration {
        self.age + time.saturating_duration_since(self.read)
    }
}

/// Why a failure makes its event's key wait; `None` if it does not. `is_put_off`: by a step, and not by the broker.
pub(crate) fn held_reason(event: &OutboxEvent, failure: &Failure, is_put_off: bool) -> Option<&'static str> {
    event.partition_key()?;
    match failure.retry {
        Retry::Never => None,
        Retry::OnRequest => Some("rejected"),
        Retry::After(_) if is_put_off => Some("paused"),
        // an attempt is free only where the topic is at fault
        Retry::After(_) if failure.attempt == Attempt::Free => Some("topic"),
        Retry::After(_) => Some("retry"),
    }
}
