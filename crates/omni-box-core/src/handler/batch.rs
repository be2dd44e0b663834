//! What a handler of several messages at once is given.

use std::fmt;

use serde::de::DeserializeOwned;

use super::{HandlerError, HandlerOutcome, InboxContext, IntoHandlerResult};
use crate::error::Result;
use crate::event::{Event, InboxEvent, OutboxEvent};
use crate::id::WorkerId;
use crate::store::{Created, IntoOutboxEvent, OutboxRepository, Store};

/// What a handler of several messages is given: the messages in order, and the connection on which their transaction is open. Each message is
/// done unless the handler says otherwise.
///
/// - What is said of [`InboxContext`] holds for it: the transaction is the engine's, and what is done outside it may be done twice.
/// - If one message is not done, or the handler fails, nothing of the batch is kept. Its messages come again one at a time, each as a batch
///   of one with a savepoint, and what is said then counts. So a failure costs the batch's work, and no message its attempts.
/// - Messages of one key stand in the batch in their order. A batch has the messages of one transaction at most.
/// - The batch has the time of one message, `process_timeout`.
///
/// ```
/// use omni_box_core::{HandlerError, HandlerOutcome, InboxBatch, Store};
///
/// #[derive(serde::Deserialize)]
/// struct Reading {
///     celsius: f64,
/// }
///
/// async fn store_readings<S: Store>(mut batch: InboxBatch<'_, S>) -> Result<(), HandlerError> {
///     let readings: Vec<Reading> = batch.payloads()?;
///     for (place, reading) in readings.iter().enumerate() {
///         if reading.celsius < -273.15 {
///             batch.set(place, HandlerOutcome::Skipped);
///         }
///     }
///     // one statement for all of them, over batch.conn()
///     Ok(())
/// }
/// ```
#[non_exhaustive]
pub struct InboxBatch<'a, S: Store> {
    /// The messages, in order; at least one.
    pub events: &'a [&'a InboxEvent],
    /// The store.
    pub store: &'a S,
    /// The worker that handles them.
    pub worker_id: &'a WorkerId,
    outcomes: &'a mut [HandlerOutcome],
    conn: &'a mut S::Conn,
}

impl<'a, S: Store> InboxBatch<'a, S> {
    /// What the engine gives a handler, for tests that call one themselves. There is an outcome for each event.
    ///
    /// # Panics
    /// When the numbers differ.
    pub fn new(
        events: &'a [&'a InboxEvent],
        outcomes: &'a mut [HandlerOutcome],
        conn: &'a mut S::Conn,
        store: &'a S,
        worker_id: &'a WorkerId,
    ) -> Self {
        assert_eq!(events.len(), outcomes.len(), "an outcome for each event");
        Self { events, store, worker_id, outcomes, conn }
    }

    /// The connection, inside the messages' transaction.
    pub fn conn(&mut self) -> &mut S::Conn {
        self.conn
    }

    /// Says what became of the message at a place; [`Completed`](HandlerOutcome::Completed) unless it is said. A place that is not there is
    /// left out.
    pub fn set(&mut self, place: usize, outcome: HandlerOutcome) {
        if let Some(at) = self.outcomes.get_mut(place) {
            *at = outcome;
        }
    }

    /// Reads the payloads as a type.
    ///
    /// # Errors
    /// [`Decode`](crate::ErrorKind::Decode) when one does not fit; a handler that returns this error fails that message at once, when it
    /// comes alone.
    pub fn payloads<P: DeserializeOwned>(&self) -> Result<Vec<P>> {
        self.events.iter().map(|event| event.payload().deserialize()).collect()
    }

    /// Enqueues an event in the messages' transaction, as caused by the message at a place; see [`InboxContext::enqueue`].
    ///
    /// # Errors
    /// As [`InboxContext::enqueue`].
    pub async fn enqueue(&mut self, place: usize, event: impl IntoOutboxEvent) -> Result<Created<OutboxEvent>>
    where
        S: OutboxRepository,
    {
        let event = event.into_outbox_event(self.events.get(place).copied())?;
        self.store.create(self.conn, &event).await
    }

    /// The same batch for a part of a handler; this one can be used again afterwards.
    pub fn reborrow(&mut self) -> InboxBatch<'_, S> {
        InboxBatch {
            events: self.events,
            store: self.store,
            worker_id: self.worker_id,
            outcomes: self.outcomes,
            conn: self.conn,
        }
    }

    /// The message at a place alone.
    pub(super) fn one(&mut self, place: usize) -> Option<InboxContext<'_, S>> {
        let event = self.events.get(place)?;
        Some(InboxContext::new(event, self.conn, self.store, self.worker_id))
    }
}

impl<S: Store> fmt::Debug for InboxBatch<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxBatch").field("events", &self.events.len()).finish_non_exhaustive()
    }
}

/// A function that handles batches: `async fn(batch)` with an [`InboxBatch<'_, S>`](InboxBatch), or an async closure that captures nothing. It
/// returns what is [`IntoHandlerResult`]; an outcome other than [`Completed`](HandlerOutcome::Completed) is that of every message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle batches of a `{S}`",
    label = "not a handler of batches",
    note = "write `async fn(batch: InboxBatch<'_, {S}>)`, whose future is `Send`"
)]
pub trait BatchFn<S: Store>: Send + Sync + 'static {
    /// Calls the function.
    fn call(&self, batch: InboxBatch<'_, S>) -> impl Future<Output = Result<(), HandlerError>> + Send;

    /// Calls it for one message.
    fn call_one(
        &self,
        cx: InboxContext<'_, S>,
    ) -> impl Future<Output = Result<HandlerOutcome, HandlerError>> + Send {
        async move {
            let InboxContext { event, store, worker_id, conn } = cx;
            let mut outcome = HandlerOutcome::Completed;
            let outcomes = std::slice::from_mut(&mut outcome);
            self.call(InboxBatch::new(&[event], outcomes, conn, store, worker_id)).await?;
            Ok(outcome)
        }
    }
}

/// What the compiler needs to know of a function of one lifetime; no user writes it.
mod form {
    use super::{InboxBatch, IntoHandlerResult, Store};

    pub trait OfBatch<'a, S: Store>: Send + Sync {
        type Output: IntoHandlerResult;
        type Future: Future<Output = Self::Output> + Send + 'a;
        fn call(&self, batch: InboxBatch<'a, S>) -> Self::Future;
    }

    impl<'a, S, F, Fut> OfBatch<'a, S> for F
    where
        S: Store,
        F: Fn(InboxBatch<'a, S>) -> Fut + Send + Sync,
        Fut: Future<Output: IntoHandlerResult> + Send + 'a,
    {
        type Output = Fut::Output;
        type Future = Fut;

        fn call(&self, batch: InboxBatch<'a, S>) -> Fut {
            self(batch)
        }
    }
}

impl<S, F> BatchFn<S> for F
where
    S: Store,
    F: for<'a> form::OfBatch<'a, S> + 'static,
{
    async fn call(&self, mut batch: InboxBatch<'_, S>) -> Result<(), HandlerError> {
        let outcome = form::OfBatch::call(self, batch.reborrow()).await.into_handler_result()?;
        if outcome != HandlerOutcome::Completed {
            batch.outcomes.fill(outcome);
        }
        Ok(())
    }
}
