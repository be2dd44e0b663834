//! The repository creates, looks up, fetches and marks events, one at a time.

use std::future::Future;

use super::{BulkOperations, DeadLetters, DistributedLocking, RetentionPolicies, Store};
use crate::error::Result;
use crate::event::{ClaimToken, Event, Failure, FetchFilters};
use crate::id::{BatchSize, EventId};

/// What became of a create.
///
/// ```
/// use omni_box_core::{Created, NewOutboxEvent, OutboxExt, OutboxRepository, Result};
///
/// /// Places an order once, however often the request is repeated.
/// async fn place<S: OutboxRepository>(store: S) -> Result<&'static str> {
///     let order = NewOutboxEvent::from_json("order.placed", "orders", r#"{"order": 7}"#).idempotency_key("order-7");
///     let mut tx = store.begin().await?;
///     let created = store.enqueue(&mut tx, order).await?;
///     store.commit(tx).await?;
///     Ok(match created {
///         Created::New(_) => "placed",
///         Created::Existing(_) => "placed before",
///     })
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Created<E> {
    /// It was stored.
    New(E),
    /// An event with the same idempotency key (or message id and group) is there already: this one.
    Existing(E),
}

impl<E> Created<E> {
    /// The stored event, whichever it is.
    pub fn into_event(self) -> E {
        match self {
            Self::New(event) | Self::Existing(event) => event,
        }
    }

    /// Whether it was stored now.
    pub fn is_new(&self) -> bool {
        matches!(self, Self::New(_))
    }
}

/// Stores events of one kind. The required methods are all that a custom store needs; the capabilities make it faster.
pub trait EventRepository<E: Event>: Store {
    /// Stores an event in the caller's transaction.
    ///
    /// - Exists after the transaction commits, and never if it rolls back.
    /// - Is stored as it was given, the payload's text to the byte; [`New`](Created::New) holds it as it is stored.
    /// - With an idempotency key (or message id) that is there already, stores nothing and returns the existing event, whatever
    ///   its status. When two transactions race, one waits for the other.
    /// - `scheduled_at` and `created_at` come from the database's clock unless a schedule was given.
    ///
    /// # Errors
    /// [`NoTransaction`](crate::ErrorKind::NoTransaction) when `conn` has no open transaction; nothing is stored then.
    /// [`Conflict`](crate::ErrorKind::Conflict) when the id is that of another event. [`Contention`](crate::ErrorKind::Contention)
    /// when the transaction must be run again.
    fn create(&self, conn: &mut Self::Conn, event: &E) -> impl Future<Output = Result<Created<E>>> + Send;

    /// Stores several events in order; one statement where the store can.
    ///
    /// - One answer for each event, in the order given.
    /// - An idempotency key (or message id) that the call itself repeats is stored once; the repeat is
    ///   [`Existing`](Created::Existing).
    ///
    /// # Errors
    /// As [`create`](Self::create); none is stored then (roll back).
    fn create_many(
        &self,
        conn: &mut Self::Conn,
        events: &[E],
    ) -> impl Future<Output = Result<Vec<Created<E>>>> + Send {
        async move {
            let mut created = Vec::with_capacity(events.len());
            for event in events {
                created.push(self.create(conn, event).await?);
            }
            Ok(created)
        }
    }

    /// Looks an event up.
    ///
    /// # Errors
    /// Only when the database fails; an unknown id is `None`.
    fn get_by_id(&self, conn: &mut Self::Conn, id: EventId)
    -> impl Future<Output = Result<Option<E>>> + Send;

    /// Returns due pending events that no token has claimed, oldest first, without claiming them.
    ///
    /// - At most one event per key: its oldest pending one, if that is due and no token has claimed an event of the key. One that
    ///   waits for its retry holds its key; one that was scheduled for later joins when it is due, and holds nothing before. Its place
    ///   among those that joined with it is the store's choice.
    /// - An outbox event's key is that of its topic; without one it is a key of its own. An inbox event's key is that of its group and
    ///   partition; without one it shares its partition's. Without a partition it is a key of its own.
    ///
    /// # Errors
    /// When the database fails; [`Invalid`](crate::ErrorKind::Invalid) for a filter by what events of this kind do not have.
    fn fetch_pending(
        &self,
        limit: BatchSize,
        filters: &FetchFilters,
    ) -> impl Future<Output = Result<Vec<E>>> + Send;

    /// Claims a pending event. `false`: another token has it, or it is not pending. What `token` has already, it may claim again.
    ///
    /// - The claim of a worker that died has to end: [`locking`](Self::locking) takes it over, or [`retention`](Self::retention) gives it
    ///   back, which a relay asks for. A store that offers neither ends a claim by itself when it is older than the relays' `lease_ttl`;
    ///   otherwise its event is never published.
    ///
    /// # Errors
    /// When the database fails.
    fn mark_processing(&self, id: EventId, token: &ClaimToken) -> impl Future<Output = Result<bool>> + Send;

    /// Completes a pending event that `token` has claimed. `false`: there is no such claim (any more), or the event is not pending;
    /// nothing was changed.
    ///
    /// # Errors
    /// When the database fails.
    fn mark_completed(&self, id: EventId, token: &ClaimToken) -> impl Future<Output = Result<bool>> + Send;

    /// Records the failure of a pending event that `token` has claimed, and gives the claim back. `false`: as in
    /// [`mark_completed`](Self::mark_completed).
    ///
    /// - `attempts_made` changes as [`Attempt`](crate::event::Attempt) says, and stays within 0 and the maximum.
    /// - The status becomes `failed` by [`Retry::Never`](crate::event::Retry::Never) only, however many attempts are left.
    ///
    /// # Errors
    /// When the database fails.
    fn mark_failed(
        &self,
        id: EventId,
        token: &ClaimToken,
        failure: &Failure,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Whole batches in one statement.
    fn bulk(&self) -> Option<&dyn BulkOperations<E>> {
        None
    }

    /// Claims of whole batches that skip what others have.
    fn locking(&self) -> Option<&dyn DistributedLocking<E>> {
        None
    }

    /// Events that were given up.
    fn dead_letters(&self) -> Option<&dyn DeadLetters<E>> {
        None
    }

    /// Upkeep.
    fn retention(&self) -> Option<&dyn RetentionPolicies<E>> {
        None
    }
}
