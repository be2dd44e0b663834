//! What an application writes: the handler of a message, inside the message's transaction.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;

use crate::{Error, ErrorKind, Event, InboxEvent, Store, WorkerId};

/// What a handler is given: the event, and the connection on which the message's transaction is open.
///
/// Everything written through `conn` commits together with the inbox row, or not at all. The transaction is the engine's: do
/// not commit it or roll it back.
#[non_exhaustive]
pub struct InboxContext<'a, S: Store> {
    /// The message.
    pub event: &'a InboxEvent,
    /// The connection, inside the transaction.
    pub conn: &'a mut S::Conn,
    /// The store, to enqueue outbox events on `conn`.
    pub store: &'a S,
    /// Who handles it.
    pub worker_id: &'a WorkerId,
}

impl<'a, S: Store> InboxContext<'a, S> {
    /// What the engine gives a handler, for tests that call one themselves.
    pub fn new(event: &'a InboxEvent, conn: &'a mut S::Conn, store: &'a S, worker_id: &'a WorkerId) -> Self {
        Self { event, conn, store, worker_id }
    }
}

impl<S: Store> fmt::Debug for InboxContext<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxContext").field("event", &self.event.id()).finish_non_exhaustive()
    }
}

/// Whether a failure is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It costs one of the attempts.
    Counted,
    /// It costs nothing: the fault lies elsewhere.
    Free,
    /// It gives back the attempt that was counted before the handler started.
    Refunded,
}

impl Attempt {
    /// What it adds to the attempts made: 1, 0 or -1. A store keeps the sum within 0 and the maximum.
    ///
    /// ```
    /// use omni_box_core::Attempt;
    ///
    /// let charges = [Attempt::Counted, Attempt::Free, Attempt::Refunded].map(Attempt::charge);
    /// assert_eq!(charges, [1, 0, -1]);
    /// ```
    pub fn charge(self) -> i32 {
        match self {
            Self::Counted => 1,
            Self::Free => 0,
            Self::Refunded => -1,
        }
    }
}

/// What became of a message that was handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerOutcome {
    /// Done; its writes commit.
    Completed,
    /// Nothing to do; the row is completed, its writes commit.
    Skipped,
    /// Overtaken by a newer one; the row is completed, its writes commit.
    Stale,
    /// Not now: its writes are rolled back and it is tried again. Made by [`retry`](Self::retry).
    #[non_exhaustive]
    Retry {
        /// Why; kept as the row's last error.
        reason: String,
        /// Whether it costs an attempt.
        attempt: Attempt,
        /// When; `None` leaves it to the backoff.
        after: Option<Duration>,
    },
}

impl HandlerOutcome {
    /// Not now: says why, whether it costs an attempt, and when it is tried again (`None` leaves it to the backoff).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use omni_box_core::{Attempt, HandlerOutcome};
    ///
    /// let outcome = HandlerOutcome::retry("stock is being counted", Attempt::Free, Duration::from_secs(60));
    /// assert!(matches!(outcome, HandlerOutcome::Retry { attempt: Attempt::Free, after: Some(_), .. }));
    /// ```
    pub fn retry(reason: impl Into<String>, attempt: Attempt, after: impl Into<Option<Duration>>) -> Self {
        Self::Retry { reason: reason.into(), attempt, after: after.into() }
    }
}

/// Why a handler failed. Made from any error by `?`, which is a counted attempt; see the constructors for the others.
#[derive(Debug)]
pub struct HandlerError {
    source: Box<dyn StdError + Send + Sync>,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Judged,
    Transient,
    Permanent,
}

impl HandlerError {
    /// A failure for any reason, as `?` makes it: for text, `anyhow` and boxed errors, which `?` cannot take.
    pub fn new(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: source.into(), fate: Fate::Judged }
    }

    /// A failure that will never go away: the message is failed at once.
    pub fn permanent(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: source.into(), fate: Fate::Permanent }
    }

    /// A failure whose fault lies elsewhere (a service that is down): tried again, no attempt counted.
    pub fn transient(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: source.into(), fate: Fate::Transient }
    }

    /// The failure as an omni-box error. Its kind says what it costs:
    ///
    /// - [`Rejected`](ErrorKind::Rejected) if permanent, [`Unavailable`](ErrorKind::Unavailable) if transient;
    /// - else what the first of the error and its causes says that is a [`TransientError`], an [`Error`] or known to `classify`
    ///   (see [`Store::classify`]), so that an application's own error around a database's is judged as the database's;
    /// - else [`Handler`](ErrorKind::Handler), and also where that first one speaks of the deployment and not of the message
    ///   (a missing table, a transaction that is not open): such a failure is counted, but never fails the message at once.
    pub fn into_error(self, classify: impl Fn(&(dyn StdError + 'static)) -> Option<ErrorKind>) -> Error {
        let kind = match self.fate {
            Fate::Permanent => ErrorKind::Rejected,
            Fate::Transient => ErrorKind::Unavailable,
            Fate::Judged => judge(self.source.as_ref(), classify),
        };
        Error::new(kind, "handler failed").with_source(self.source)
    }
}

fn judge(
    error: &(dyn StdError + 'static),
    classify: impl Fn(&(dyn StdError + 'static)) -> Option<ErrorKind>,
) -> ErrorKind {
    let kind = std::iter::successors(Some(error), |&error| error.source()).find_map(|error| {
        if error.is::<TransientError>() {
            return Some(ErrorKind::Unavailable);
        }
        error.downcast_ref::<Error>().map(Error::kind).or_else(|| classify(error))
    });
    match kind {
        None | Some(ErrorKind::Misconfigured | ErrorKind::NoTransaction | ErrorKind::Unsupported) => {
            ErrorKind::Handler
        }
        Some(kind) => kind,
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

/// An error whose fault lies elsewhere: `?` on it costs no attempt.
#[derive(Debug)]
pub struct TransientError(Box<dyn StdError + Send + Sync>);

impl TransientError {
    /// Wraps the cause.
    pub fn new(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

impl fmt::Display for TransientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("transient failure")
    }
}

impl StdError for TransientError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.0.as_ref())
    }
}

/// Handles messages of an inbox.
///
/// - Runs inside the message's transaction; when it fails, panics or exceeds its time, everything it wrote is rolled back.
/// - May run more than once for a message (after a failed commit, a crash, a retry); its database effect happens once.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an inbox handler for `{S}`",
    note = "wrap an `async fn(InboxContext<'_, S>)` in `handler_fn`, or an `async fn(InboxContext<'_, S>, Payload)` in `typed_handler_fn`"
)]
#[async_trait]
pub trait InboxHandler<S: Store>: Send + Sync + 'static {
    /// Handles one message.
    ///
    /// # Errors
    /// See [`HandlerError`] for what each costs.
    ///
    /// # Cancel safety
    /// The engine drops the future when the handler's time is over, and with it the transaction.
    async fn handle(&self, cx: InboxContext<'_, S>) -> Result<HandlerOutcome, HandlerError>;
}

/// What a handler function may return: `()`, an outcome, or a result of either.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    note = "return `()`, `HandlerOutcome`, or a `Result` of either whose error is a `HandlerError` or any `std::error::Error`"
)]
pub trait IntoHandlerResult {
    /// As the engine wants it.
    #[expect(clippy::missing_errors_doc, reason = "hands the handler's own error on")]
    fn into_handler_result(self) -> Result<HandlerOutcome, HandlerError>;
}

impl IntoHandlerResult for () {
    fn into_handler_result(self) -> Result<HandlerOutcome, HandlerError> {
        Ok(HandlerOutcome::Completed)
    }
}

impl IntoHandlerResult for HandlerOutcome {
    fn into_handler_result(self) -> Result<HandlerOutcome, HandlerError> {
        Ok(self)
    }
}

impl<T: IntoHandlerResult, E: Into<HandlerError>> IntoHandlerResult for Result<T, E> {
    fn into_handler_result(self) -> Result<HandlerOutcome, HandlerError> {
        self.map_err(Into::into)?.into_handler_result()
    }
}

/// An `async fn(InboxContext<'_, S>)` returning anything that is [`IntoHandlerResult`].
pub trait AsyncHandlerFn<'a, S: Store>: Send + Sync {
    /// What it returns.
    type Output: IntoHandlerResult;
    /// Its future.
    type Future: Future<Output = Self::Output> + Send + 'a;
    /// Calls it.
    fn call(&self, cx: InboxContext<'a, S>) -> Self::Future;
}

impl<'a, S, F, Fut> AsyncHandlerFn<'a, S> for F
where
    S: Store,
    F: Fn(InboxContext<'a, S>) -> Fut + Send + Sync,
    Fut: Future<Output: IntoHandlerResult> + Send + 'a,
{
    type Output = Fut::Output;
    type Future = Fut;

    fn call(&self, cx: InboxContext<'a, S>) -> Fut {
        self(cx)
    }
}

/// An `async fn(InboxContext<'_, S>, P)` returning anything that is [`IntoHandlerResult`].
pub trait TypedHandlerFn<'a, S: Store, P>: Send + Sync {
    /// What it returns.
    type Output: IntoHandlerResult;
    /// Its future.
    type Future: Future<Output = Self::Output> + Send + 'a;
    /// Calls it.
    fn call(&self, cx: InboxContext<'a, S>, payload: P) -> Self::Future;
}

impl<'a, S, P, F, Fut> TypedHandlerFn<'a, S, P> for F
where
    S: Store,
    F: Fn(InboxContext<'a, S>, P) -> Fut + Send + Sync,
    Fut: Future<Output: IntoHandlerResult> + Send + 'a,
{
    type Output = Fut::Output;
    type Future = Fut;

    fn call(&self, cx: InboxContext<'a, S>, payload: P) -> Fut {
        self(cx, payload)
    }
}

/// Makes a handler of an `async fn(InboxContext<'_, S>)`.
pub fn handler_fn<S: Store, F>(function: F) -> impl InboxHandler<S>
where
    F: for<'a> AsyncHandlerFn<'a, S> + 'static,
{
    HandlerFn(function)
}

/// Makes a handler of an `async fn(InboxContext<'_, S>, P)`, where `P` is read from the payload. A payload that does not fit
/// fails the message at once.
pub fn typed_handler_fn<S: Store, P, F>(function: F) -> impl InboxHandler<S>
where
    P: DeserializeOwned + Send + 'static,
    F: for<'a> TypedHandlerFn<'a, S, P> + 'static,
{
    TypedFn { function, payload: PhantomData::<fn() -> P> }
}

struct HandlerFn<F>(F);

#[async_trait]
impl<S: Store, F> InboxHandler<S> for HandlerFn<F>
where
    F: for<'a> AsyncHandlerFn<'a, S> + 'static,
{
    async fn handle(&self, cx: InboxContext<'_, S>) -> Result<HandlerOutcome, HandlerError> {
        let future = self.0.call(cx);
        future.await.into_handler_result()
    }
}

struct TypedFn<F, P> {
    function: F,
    payload: PhantomData<fn() -> P>,
}

#[async_trait]
impl<S: Store, P, F> InboxHandler<S> for TypedFn<F, P>
where
    P: DeserializeOwned + Send + 'static,
    F: for<'a> TypedHandlerFn<'a, S, P> + 'static,
{
    async fn handle(&self, cx: InboxContext<'_, S>) -> Result<HandlerOutcome, HandlerError> {
        let payload = cx.event.payload().deserialize::<P>()?;
        let future = self.function.call(cx, payload);
        future.await.into_handler_result()
    }
}
