//! What a store may offer beyond the minimum.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::event::{ClaimToken, FetchFilters};
use crate::id::{BatchSize, EventId};

/// Marks of whole batches in one statement.
#[async_trait]
pub trait BulkOperations<E>: Send + Sync {
    /// Completes the pending events that `token` has claimed; returns those that were, in any order. All others are left as they are.
    async fn complete_many(&self, ids: &[EventId], token: &ClaimToken) -> Result<Vec<EventId>>;
}

/// Claims of batches.
#[async_trait]
pub trait DistributedLocking<E>: Send + Sync {
    /// Claims due pending events, oldest first, at most one per key: its oldest pending event.
    ///
    /// - What was claimed within `ttl`, by any token, is skipped, and so is the rest of its key. That is what comes behind it and
    ///   what comes before, as an event whose transaction committed late.
    /// - An older claim is taken over: from then on its token changes nothing.
    /// - Keys, due times and filters are those of [`fetch_pending`](super::EventRepository::fetch_pending).
    async fn claim(
        &self,
        token: &ClaimToken,
        limit: BatchSize,
        ttl: Duration,
        filters: &FetchFilters,
    ) -> Result<Vec<E>>;

    /// Renews claims; returns those that `token` still has, in any order. They are as young as their renewal.
    async fn refresh(&self, token: &ClaimToken, ids: &[EventId]) -> Result<Vec<EventId>>;

    /// Gives claims back at once, without counting an attempt. What `token` does not have is left alone.
    async fn release(&self, token: &ClaimToken, ids: &[EventId]) -> Result<()>;
}

/// Savepoints inside a transaction, so that one message of a group can fail alone. One is set at a time.
///
/// - [`advance`](Self::advance) and [`rollback`](Self::rollback) fail with [`NoTransaction`](crate::ErrorKind::NoTransaction) when the
///   savepoint is gone: a handler has ended the transaction by a statement of its own. The engine charges that handler's message for good.
#[async_trait]
pub trait Savepoints<C>: Send + Sync {
    /// Sets the savepoint.
    async fn start(&self, conn: &mut C) -> Result<()>;

    /// Keeps what was written since, and sets the savepoint anew.
    async fn advance(&self, conn: &mut C) -> Result<()>;

    /// Undoes what was written since; the savepoint stays set. Works after a failed statement.
    async fn rollback(&self, conn: &mut C) -> Result<()>;
}

/// Upkeep of a table, in bounded statements. A relay in mode `rows` gives stale claims back where no relay can take them over. Nothing
/// deletes old events by itself, so a service calls [`cleanup_old_events`](Self::cleanup_old_events) now and then.
#[async_trait]
pub trait RetentionPolicies<E>: Send + Sync {
    /// Gives back claims older than `older_than`, without counting an attempt, in bounded statements; returns how many.
    async fn release_stale_locks(&self, older_than: Duration) -> Result<u64>;

    /// Deletes events that were completed longer than `retention` ago, `batch` at a time, at most `max_iterations` times; returns how many.
    /// Pending and failed events are never deleted.
    ///
    /// What a row was known by goes with it. An inbox row that is gone tells no repeat from a new message, and an outbox row takes its
    /// idempotency key along. So let `retention` be longer than the broker keeps messages, or a producer or client may repeat one.
    async fn cleanup_old_events(
        &self,
        retention: Duration,
        batch: BatchSize,
        max_iterations: u32,
    ) -> Result<u64>;
}
