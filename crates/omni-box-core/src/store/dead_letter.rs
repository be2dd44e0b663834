//! Events that were given up.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::event::FetchFilters;
use crate::id::{BatchSize, EventId};

/// A failed event, and the one that was stored in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// The failed one, which is completed now.
    pub failed: EventId,
    /// The one in its place, which is pending.
    pub by: EventId,
}

/// Events that were given up: their failed rows are the dead letters.
///
/// The row is marked in the transaction in which the last attempt is recorded, so none is lost between the two. Every call here may be made
/// while relays and workers run, and may be repeated.
#[async_trait]
pub trait DeadLetters<E>: Send + Sync {
    /// Returns failed events in the order in which they failed, behind `after`: the last one of the page before.
    ///
    /// - Only what passes the filters.
    /// - Found by an index of failed events: what is pending or completed costs nothing.
    ///
    /// # Errors
    /// When the database fails; [`Invalid`](crate::ErrorKind::Invalid) for a filter by what events of this kind do not have.
    async fn list(&self, filters: &FetchFilters, after: Option<&E>, limit: BatchSize) -> Result<Vec<E>>;

    /// Makes failed events pending again, due at once and with all their attempts; returns those that were failed, in any order.
    ///
    /// - Id, content, message id and idempotency key are those they had.
    /// - What is not failed is left as it is, so that a call that is repeated requeues nothing twice.
    /// - An outbox event comes at the end of its key: what was published meanwhile cannot be taken back.
    /// - A message is handled by a worker of its group, or by the next owner of its partition.
    ///
    /// # Errors
    /// When the database fails.
    async fn requeue(&self, ids: &[EventId]) -> Result<Vec<EventId>>;

    /// Stores failed events anew, as other events that are due at once and have all their attempts; returns those that were failed, in any
    /// order.
    ///
    /// - The new event has a fresh id, which is its message id too, and the failed one's id as its causation id. The content is the same, but
    ///   an outbox event's idempotency key stays with the failed one.
    /// - The failed one is completed in the same transaction, and keeps its error. So a message that the broker delivers again is a repeat,
    ///   and an idempotency key that is used again names an event that is there.
    /// - Safe to repeat, also by a process that starts after a kill: what was replayed is failed no more. Of two calls at once, one replays
    ///   an event.
    /// - An outbox event comes at the end of its key. A message keeps its place in its partition.
    ///
    /// # Errors
    /// When the database fails; nothing is replayed then.
    async fn replay_as_new(&self, ids: &[EventId]) -> Result<Vec<Replayed>>;

    /// Returns failed events whose failure has no copy in a storage outside, in the order in which they failed.
    /// `after` is the last event of the page before.
    ///
    /// - Only what passes the filters.
    /// - Found by an index of what has no copy: what has one costs nothing.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    async fn list_uncopied(
        &self,
        filters: &FetchFilters,
        after: Option<&E>,
        limit: BatchSize,
    ) -> Result<Vec<E>>;

    /// Notes that failed events have a copy in a storage outside.
    ///
    /// - It is their failure that has one: an event that is requeued and given up again has none.
    /// - `events` are as [`list_uncopied`](Self::list_uncopied) returned them. What has changed since is left as it is.
    ///
    /// # Errors
    /// When the database fails; nothing is noted then.
    async fn mark_copied(&self, events: &[E]) -> Result<()>;

    /// Deletes failed events that were given up longer than `older_than` ago, at most `limit` of them; returns how many.
    ///
    /// What a row was known by goes with it: see [`cleanup_old_events`](super::RetentionPolicies::cleanup_old_events).
    ///
    /// # Errors
    /// When the database fails.
    async fn purge(&self, older_than: Duration, limit: BatchSize) -> Result<u64>;
}
