//! Events that were given up.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::event::FetchFilters;
use crate::id::{BatchSize, EventId};

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

    /// Deletes failed events that were given up longer than `older_than` ago, at most `limit` of them; returns how many.
    ///
    /// What a row was known by goes with it: see [`cleanup_old_events`](super::RetentionPolicies::cleanup_old_events).
    ///
    /// # Errors
    /// When the database fails.
    async fn purge(&self, older_than: Duration, limit: BatchSize) -> Result<u64>;
}
