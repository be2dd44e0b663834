//! What runs around handlers.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use omni_box_core::{
    Error, ErrorKind, HandlerError, HandlerOutcome, InboxBatch, InboxContext, InboxEvent, InboxHandler,
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

    /// How it runs around a handler of batches. `None`, the default: it does not, so that every message comes to [`handle`](Self::handle) by
    /// itself, and the handler gets batches of one.
    fn batches(&self) -> Option<&dyn BatchLayer<S>> {
        None
    }
}

/// Runs around a handler of batches, for a [`HandlerLayer`] that [says so](HandlerLayer::batches). If all layers around a handler do, a
/// batch goes through them as a whole; else its messages go one by one.
///
/// - What is said of [`InboxBatch`] holds for it. If it fails, the batch is undone, and each message comes to [`HandlerLayer::handle`].
/// - A message that is alone, or that has failed before, comes to [`HandlerLayer::handle`] as well: write both.
///
/// ```
/// use std::time::Instant;
///
/// use async_trait::async_trait;
/// use omni_box_core::{HandlerError, HandlerOutcome, InboxBatch, InboxContext, Store};
/// use omni_box_pipeline::{BatchLayer, HandlerLayer, Next, NextBatch};
///
/// /// Tells how long handlers take for a message.
/// struct Timed;
///
/// #[async_trait]
/// impl<S: Store> HandlerLayer<S> for Timed {
///     async fn handle(&self, cx: InboxContext<'_, S>, next: Next<'_, S>) -> Result<HandlerOutcome, HandlerError> {
///         let begun = Instant::now();
///         let result = next.run(cx).await;
///         println!("{:?} for a message", begun.elapsed());
///         result
///     }
///
///     fn batches(&self) -> Option<&dyn BatchLayer<S>> {
///         Some(self)
///     }
/// }
///
/// #[async_trait]
/// impl<S: Store> BatchLayer<S> for Timed {
///     async fn handle_batch(&self, batch: InboxBatch<'_, S>, next: NextBatch<'_, S>) -> Result<(), HandlerError> {
///         let (begun, messages) = (Instant::now(), batch.events.len() as u32);
///         let result = next.run(batch).await;
///         println!("{:?} for each of {messages} messages", begun.elapsed() / messages);
///         result
///     }
/// }
/// ```
#[async_trait]
pub trait BatchLayer<S: Store>: Send + Sync {
    /// Handles a batch, by [`NextBatch::run`] or by itself.
    ///
    /// # Errors
    /// As a handler's of batches.
    async fn handle_batch(
        &self,
        batch: InboxBatch<'_, S>,
        next: NextBatch<'_, S>,
    ) -> Result<(), HandlerError>;
}

/// What a layer around batches is around: the layers inside it, and the handler. See [`BatchLayer`].
///
/// ```
/// use async_trait::async_trait;
/// use omni_box_core::{HandlerError, InboxBatch, Store};
/// use omni_box_pipeline::{BatchLayer, NextBatch};
///
/// struct Counted;
///
/// #[async_trait]
/// impl<S: Store> BatchLayer<S> for Counted {
///     async fn handle_batch(&self, batch: InboxBatch<'_, S>, next: NextBatch<'_, S>) -> Result<(), HandlerError> {
///         println!("{} messages", batch.events.len());
///         next.run(batch).await
///     }
/// }
/// ```
pub struct NextBatch<'a, S: Store> {
    layers: &'a [Arc<dyn HandlerLayer<S>>],
    handler: &'a dyn Call<S>,
}

impl<'a, S: Store> NextBatch<'a, S> {
    pub(crate) fn new(layers: &'a [Arc<dyn HandlerLayer<S>>], handler: &'a dyn Call<S>) -> Self {
        Self { layers, handler }
    }

    /// Runs it.
    ///
    /// # Errors
    /// The handler's, or that of a layer inside.
    pub async fn run(self, batch: InboxBatch<'_, S>) -> Result<(), HandlerError> {
        let Some((layer, inner)) = self.layers.split_first() else {
            return self.handler.call_batch(batch, &()).await;
        };
        let Some(layer) = layer.batches() else {
            return Err(Error::new(ErrorKind::Internal, "a batch for a layer around single events").into());
        };
        layer.handle_batch(batch, Self::new(inner, self.handler)).await
    }
}

/// Whether a batch may go through these layers as a whole.
pub(crate) fn take_batches<S: Store>(layers: &[Arc<dyn HandlerLayer<S>>]) -> bool {
    layers.iter().all(|layer| layer.batches().is_some())
}

/// What a layer is around: the layers inside it, and the handler.
///
/// ```
/// use omni_box_core::{Event, HandlerError, HandlerOutcome, InboxContext, Store};
/// use omni_box_pipeline::{EventRouter, Next, on};
///
/// /// Logs what became of each message.
/// async fn logged<S: Store>(cx: InboxContext<'_, S>, next: Next<'_, S>) -> Result<HandlerOutcome, HandlerError> {
///     let id = cx.event.id();
///     let result = next.run(cx).await;
///     println!("{id}: {result:?}");
///     result
/// }
///
/// async fn ship<S: Store>(_cx: InboxContext<'_, S>) {}
///
/// fn router<S: Store>() -> EventRouter<S> {
///     on("order.placed", ship::<S>).layer(logged::<S>)
/// }
/// ```
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

    fn batch_of(&self, event: &InboxEvent) -> Option<usize> {
        take_batches(&self.layers).then(|| self.handler.batch_of(event)).flatten()
    }

    async fn handle_batch(&self, batch: InboxBatch<'_, S>) -> Result<(), HandlerError> {
        NextBatch::new(&self.layers, &Innermost(&*self.handler)).run(batch).await
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

    fn call_batch<'a>(
        &'a self,
        batch: InboxBatch<'a, S>,
        (): &'a (),
    ) -> BoxFuture<'a, Result<(), HandlerError>> {
        self.0.handle_batch(batch)
    }
}

impl<S: Store> fmt::Debug for NextBatch<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextBatch").field("layers", &self.layers.len()).finish_non_exhaustive()
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

/// That `F` is a function stands here although `form::Layer` says it. A type of another crate is known not to be one, and may implement
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
