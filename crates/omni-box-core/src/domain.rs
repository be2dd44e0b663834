//! The domain service builds events, checks limits, and moves events through their life.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::error::Result;
use crate::event::{Event, InboxEvent, NewInboxEvent, NewOutboxEvent, OutboxEvent};
use crate::id::WorkerId;
use crate::limits::EventLimits;

/// Builds events within limits, and is the one place that changes where an event is in its life.
///
/// ```
/// use omni_box_core::{NewOutboxEvent, OmniBoxDomainService};
///
/// let domain = OmniBoxDomainService::default();
/// let event = domain.create_outbox_event(
///     NewOutboxEvent::new("user.created", "users", &serde_json::json!({"user_id": "42"})).partition_key("42"),
/// )?;
/// assert_eq!(event.topic(), "users");
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct OmniBoxDomainService {
    limits: EventLimits,
    clock: Arc<dyn Clock>,
}

impl Default for OmniBoxDomainService {
    fn default() -> Self {
        Self::new(EventLimits::default())
    }
}

impl OmniBoxDomainService {
    /// A service with limits of your own.
    pub fn new(limits: EventLimits) -> Self {
        Self { limits, clock: Arc::new(SystemClock) }
    }

    /// Reads another clock than the machine's; tests move theirs.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The limits in force.
    pub fn limits(&self) -> &EventLimits {
        &self.limits
    }

    /// Builds an outbox event.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) naming the field, what it has and what is allowed.
    pub fn create_outbox_event(&self, event: NewOutboxEvent) -> Result<OutboxEvent> {
        event.build(&self.limits, self.clock.now())
    }

    /// Builds an inbox event. A received message is not refused for its headers, its key or the size of its payload. A key, a
    /// tracing identifier or a schema version that does not fit its column is left out. So is a header with a NUL.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when the message id, source or event type does not fit its column, or `max_attempts` is 0.
    pub fn create_inbox_event(&self, event: NewInboxEvent) -> Result<InboxEvent> {
        event.build(&self.limits, self.clock.now())
    }

    /// Locks a pending event for a worker; a lock of another worker older than `ttl` is taken over.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when it is not pending or another worker's lock is fresh.
    pub fn lock_event<E: Event>(&self, event: &mut E, worker: &WorkerId, ttl: Duration) -> Result<()> {
        event.lifecycle_mut().take_lock(worker, ttl, self.clock.now())
    }

    /// Renews a worker's own lock.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when the worker does not hold it.
    pub fn refresh_lock<E: Event>(&self, event: &mut E, worker: &WorkerId) -> Result<()> {
        event.lifecycle_mut().refresh_lock(worker, self.clock.now())
    }

    /// Gives a worker's own lock back; no attempt is counted.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when the worker does not hold it.
    pub fn unlock_event<E: Event>(&self, event: &mut E, worker: &WorkerId) -> Result<()> {
        event.lifecycle_mut().unlock(worker, self.clock.now())
    }

    /// Takes the lock away from its holder, and keeps the reason as the last error.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when it is not pending.
    pub fn force_unlock<E: Event>(&self, event: &mut E, reason: &str) -> Result<()> {
        event.lifecycle_mut().force_unlock(reason, self.clock.now())
    }

    /// Completes a pending event.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when it is not pending.
    pub fn mark_completed<E: Event>(&self, event: &mut E) -> Result<()> {
        event.lifecycle_mut().complete(self.clock.now())
    }

    /// Counts a failed attempt and unlocks; the last attempt fails the event for good.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when it is not pending.
    pub fn mark_failed<E: Event>(&self, event: &mut E, error: &str) -> Result<()> {
        event.lifecycle_mut().fail_attempt(error, self.clock.now())
    }

    /// Fails a pending event for good, even if attempts are left.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when it is not pending.
    pub fn mark_failed_permanently<E: Event>(&self, event: &mut E, error: &str) -> Result<()> {
        event.lifecycle_mut().fail_permanently(error, self.clock.now())
    }

    /// Whether a worker holds a lock older than `ttl`.
    pub fn is_lock_stale<E: Event>(&self, event: &E, ttl: Duration) -> bool {
        event.lifecycle().is_lock_stale(ttl, self.clock.now())
    }

    /// Counted attempts that are left.
    pub fn attempts_left<E: Event>(&self, event: &E) -> u32 {
        event.lifecycle().attempts_left()
    }

    /// Whether it is pending with attempts left.
    pub fn can_retry<E: Event>(&self, event: &E) -> bool {
        event.status() == crate::EventStatus::Pending && self.attempts_left(event) > 0
    }
}
