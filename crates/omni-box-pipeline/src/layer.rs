//! What runs around handlers.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use omni_box_core::{
    Error, ErrorKind, HandlerError, HandlerOutcome, InboxBatch, InboxContext, InboxHandler,
    IntoHandlerResult, Store,
};

/// What can be called with a message, behind a pointer.
pub(crate) trait Call<S: Store, D = ()>: Send + Sync {
    fn call<'a>(
        &'a self,
        cx: InboxContext<'a, S>,
        state: &'a D,
    ) -> BoxFuture<'a, Result<HandlerOutcome, HandlerError>>;

    /// Whether it takes several events in one call.
    fn takes_batches(&self) -> bool {
        false
    }

    /// Calls it with several events.
    fn call_batch<'a>(
        &'a self,
        batch: InboxBatch<'a, S>,
        state: &'a D,
    ) -> BoxFuture<'a, Result<(), HandlerError>> {
        let _ = (batch, state);
        let error = Error::new(ErrorKind::Internal, "a batch for a handler of single events");
        let refused: Result<(), HandlerError> = Err(error.into());
        Box::pin(std::future::ready(refused))
    }
}

/// Runs around a handler, inside its message's transaction and with its connection.
///
/// - What it writes commits with the handler's writes, or not at all.
/// - It may answer in the handler's place, by not running [`Next`].
///
/// An `async fn(InboxContext<'_, S>, Next<'_, S>)` is a layer; a type with settings of its own implements the trait.
///
/// ```
/// use async_trait::async_trait;
/// use omni_box_core::{Event, HandlerError, HandlerOutcome, InboxContext, Store};
/// use omni_box_pipeline::{HandlerLayer, Next};
///
/// /// Skips what other tenants sent.
/// struct OnlyTenant(String);
///
/// #[async_trait]
/// impl<S: Store> HandlerLayer<S> for OnlyTenant {
///     async fn handle(&self, cx: InboxContext<'_, S>, next: Next<'_, S>) -> Result<HandlerOutcome, HandlerError> {
///         match cx.event.content().headers.get("tenant") == Some(&self.0) {
///             true => next.run(cx).await,
///             false => Ok(HandlerOutcome::Skipped),
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer around handlers of `{S}`",
    note = "write `async fn(cx: InboxContext<'_, {S}>, next: Next<'_, {S}>) -> Result<HandlerOutcome, HandlerError>`, or implement `HandlerLayer<{S}>`"
)]
#[async_trait]
pub trait HandlerLayer<S: Store>: Send + Sync + 'static {
    /// Handles a message, by [`Next::run`] or by itself.
    ///
    /// # Errors
    /// As a handler's.
    async fn handle(
        &self,
        cx: InboxContext<'_, S>,
        next: Next<'_, S>,
    ) -> Result<HandlerOutcome, HandlerError>;
}

/// What a layer is around: the layers inside it, and the handler.
pub struct Next<'a, S: Store> {
    layers: &'a [Arc<dyn HandlerLayer<S>>],
    handler: &'a dyn Call<S>,
}

impl<'a, S: Store> Next<'a, S> {
    pub(crate) fn new(layers: &'a [Arc<dyn HandlerLayer<S>>], handler: &'a dyn Call<S>) -> Self {
        Self { layers, handler }
    }

    /// Runs it.
    ///
    /// # Errors
    /// The handler's, or that of a layer inside.
    pub async fn run(self, cx: InboxContext<'_, S>) -> Result<HandlerOutcome, HandlerError> {
        match self.layers.split_first() {
            None => self.handler.call(cx, &()).await,
            Some((layer, inner)) => layer.handle(cx, Self::new(inner, self.handler)).await,
        }
    }
}

/// A handler with layers around it.
pub(crate) struct Layered<S: Store> {
    /// The outermost one first.
    pub(crate) layers: Vec<Arc<dyn HandlerLayer<S>>>,
    pub(crate) handler: Arc<dyn InboxHandler<S>>,
}

#[async_trait]
impl<S: Store> InboxHandler<S> for Layered<S> {
    async fn handle(&self, cx: InboxContext<'_, S>) -> Result<HandlerOutcome, HandlerError> {
        Next::new(&self.layers, &Innermost(&*self.handler)).run(cx).await
    }

    fn validate(&self) -> omni_box_core::Result<()> {
        self.handler.validate()
    }
}

struct Innermost<'a, S: Store>(&'a dyn InboxHandler<S>);

impl<S: Store> Call<S> for Innermost<'_, S> {
    fn call<'a>(
        &'a self,
        cx: InboxContext<'a, S>,
        (): &'a (),
    ) -> BoxFuture<'a, Result<HandlerOutcome, HandlerError>> {
        self.0.handle(cx)
    }
}

impl<S: Store> fmt::Debug for Next<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("layers", &self.layers.len()).finish_non_exhaustive()
    }
}

/// What the compiler needs to know of a function of one lifetime; no user writes it.
mod form {
    use super::{Future, InboxContext, IntoHandlerResult, Next, Store};

    pub trait Layer<'a, S: Store>: Send + Sync {
        type Output: IntoHandlerResult;
        type Future: Future<Output = Self::Output> + Send + 'a;
        fn call(&self, cx: InboxContext<'a, S>, next: Next<'a, S>) -> Self::Future;
    }

    impl<'a, S, F, Fut> Layer<'a, S> for F
    where
        S: Store,
        F: Fn(InboxContext<'a, S>, Next<'a, S>) -> Fut + Send + Sync,
        Fut: Future<Output: IntoHandlerResult> + Send + 'a,
    {
        type Output = Fut::Output;
        type Future = Fut;

        fn call(&self, cx: InboxContext<'a, S>, next: Next<'a, S>) -> Fut {
            self(cx, next)
        }
    }
}

/// That `F` is a function stands here although `form::Layer` says it: a type of another crate is known not to be one, and may implement
/// the trait itself.
#[async_trait]
impl<S: Store, F, R> HandlerLayer<S> for F
where
    F: for<'a> form::Layer<'a, S> + 'static,
    F: Fn(InboxContext<'static, S>, Next<'static, S>) -> R,
{
    async fn handle(
        &self,
        cx: InboxContext<'_, S>,
        next: Next<'_, S>,
    ) -> Result<HandlerOutcome, HandlerError> {
        // both are shortened to the lifetime that they share
        fn call<'a, S: Store, F: form::Layer<'a, S>>(
            layer: &F,
            cx: InboxContext<'a, S>,
            next: Next<'a, S>,
        ) -> F::Future {
            layer.call(cx, next)
        }
        call(self, cx, next).await.into_handler_result()
    }
}
