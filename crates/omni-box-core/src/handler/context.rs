//! What a handler is given.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::event::{Event, InboxEvent, OutboxEvent};
use crate::id::WorkerId;
use crate::store::{Created, IntoOutboxEvent, OutboxRepository, Store};

/// What a handler is given: the event, and the connection on which the message's transaction is open.
///
/// Everything written through [`conn`](Self::conn) commits together with the inbox row, or not at all.
///
/// - The transaction is the engine's. A handler whose statements end it (`COMMIT`, `ROLLBACK`, `BEGIN`) fails its message for good. The
///   messages that share the transaction are neither lost nor do they take effect twice. For a part that may fail alone, open a
///   savepoint (with sqlx: `cx.conn().begin()`).
/// - Up to `group_size` messages share one transaction, so that what ends with the transaction reaches the handlers behind this one. That
///   is `set local`, `on commit drop`, deferred constraints, advisory locks of the transaction, and `now()`.
/// - While messages succeed, handlers run without a savepoint for each. When one fails, the whole group is rolled back and runs again,
///   with a savepoint for each message; what fails then counts. So a handler may run twice although its message never failed, and so may
///   what it does outside the transaction: mail, calls of other services. Such effects need a key that makes the second one harmless, or
///   savepoints for every message (`SavepointPolicy::EveryMessage`). With these an error of one handler makes no other one run again.
/// - A handler that fails behind others is not charged for it. Its message is handled again in a transaction of its own, and what fails
///   there counts. A timeout, a [`PermanentError`](crate::PermanentError), a payload that does not fit and
///   [`HandlerOutcome::Retry`](crate::HandlerOutcome::Retry) count at once where each message has a savepoint.
/// - A runner with a `group_size` of 1 gives each message a transaction of its own.
///
/// ```
/// use omni_box_core::{InboxContext, NewOutboxEvent, OutboxRepository, Result};
///
/// #[derive(serde::Deserialize, serde::Serialize)]
/// struct Order {
///     id: u64,
/// }
///
/// async fn ship<S: OutboxRepository>(mut cx: InboxContext<'_, S>) -> Result<()> {
///     let order: Order = cx.payload()?;
///     // writes of your own go over cx.conn()
///     cx.enqueue(NewOutboxEvent::new("order.shipped", "shipments", &order)).await?;
///     Ok(())
/// }
/// ```
#[non_exhaustive]
pub struct InboxContext<'a, S: Store> {
    /// The message.
    pub event: &'a InboxEvent,
    /// The store.
    pub store: &'a S,
    /// The worker that handles it.
    pub worker_id: &'a WorkerId,
    pub(super) conn: &'a mut S::Conn,
}

impl<'a, S: Store> InboxContext<'a, S> {
    /// What the engine gives a handler, for tests that call one themselves.
    pub fn new(event: &'a InboxEvent, conn: &'a mut S::Conn, store: &'a S, worker_id: &'a WorkerId) -> Self {
        Self { event, store, worker_id, conn }
    }

    /// The connection, inside the message's transaction.
    pub fn conn(&mut self) -> &mut S::Conn {
        self.conn
    }

    /// The same context for a part of a handler; this one can be used again afterwards.
    pub fn reborrow(&mut self) -> InboxContext<'_, S> {
        InboxContext { event: self.event, store: self.store, worker_id: self.worker_id, conn: self.conn }
    }

    /// Enqueues an event in the message's transaction, as caused by the message. The event takes over the message's id as its cause, and
    /// the message's correlation and trace, unless it names its own.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when the event breaks a limit or has no topic. Otherwise as
    /// [`create`](crate::EventRepository::create).
    pub async fn enqueue(&mut self, event: impl IntoOutboxEvent) -> Result<Created<OutboxEvent>>
    where
        S: OutboxRepository,
    {
        let event = event.into_outbox_event(Some(self.event))?;
        self.store.create(self.conn, &event).await
    }

    /// Reads the payload as a type.
    ///
    /// # Errors
    /// [`Decode`](crate::ErrorKind::Decode) when it does not fit; a handler that returns this error fails the message at once.
    pub fn payload<P: DeserializeOwned>(&self) -> Result<P> {
        self.event.payload().deserialize()
    }
}

impl<S: Store> fmt::Debug for InboxContext<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxContext").field("event", &self.event.id()).finish_non_exhaustive()
    }
}
