//! One route: which events, and what is called.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use omni_box_core::{
    BatchFn, EventFn, EventSchema, HandlerError, HandlerOutcome, InboxBatch, InboxContext, Store,
};
use serde::de::DeserializeOwned;

use super::ANY_SOURCE;
use super::version::Version;
use crate::layer::{Call, HandlerLayer, Next, NextBatch, take_batches};

pub(super) struct Route<S: Store, D> {
    pub(super) source: String,
    pub(super) event_type: String,
    pub(super) version: Version,
    pub(super) call: Box<dyn Call<S, D>>,
}

impl<S: Store, D> Route<S, D> {
    pub(super) fn takes(&self, source: &str) -> bool {
        self.source == source || self.source == ANY_SOURCE
    }

    /// Whether one of two routes would never be used.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.event_type == other.event_type
            && self.source == other.source
            && self.version.is_same(&other.version)
    }
}

impl<S: Store, D> fmt::Display for Route<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} from {:?}", self.event_type, self.version, self.source)
    }
}

/// A function, whose form is erased here.
pub(super) struct Function<F, M> {
    function: F,
    form: PhantomData<fn() -> M>,
}

impl<F, M> Function<F, M> {
    pub(super) fn new(function: F) -> Self {
        Self { function, form: PhantomData }
    }
}

impl<S: Store, D: Sync, M, F: EventFn<M, S, D>> Call<S, D> for Function<F, M> {
    fn call<'a>(
        &'a self,
        cx: InboxContext<'a, S>,
        state: &'a D,
    ) -> BoxFuture<'a, Result<HandlerOutcome, HandlerError>> {
        async move {
            let payload = self.function.decode(cx.event)?;
            self.function.call(cx, payload, state).await
        }
        .boxed()
    }
}

/// A function that takes several events at once.
pub(super) struct Batch<F>(pub(super) F);

impl<S: Store, D: Sync, F: BatchFn<S>> Call<S, D> for Batch<F> {
    fn call<'a>(
        &'a self,
        cx: InboxContext<'a, S>,
        _state: &'a D,
    ) -> BoxFuture<'a, Result<HandlerOutcome, HandlerError>> {
        self.0.call_one(cx).boxed()
    }

    fn takes_batches(&self) -> bool {
        true
    }

    fn call_batch<'a>(
        &'a self,
        batch: InboxBatch<'a, S>,
        _state: &'a D,
    ) -> BoxFuture<'a, Result<(), HandlerError>> {
        self.0.call(batch).boxed()
    }
}

/// A function whose payload is a type of event, and is read by the event's version.
pub(super) struct Schema<F, M>(pub(super) Function<F, M>);

impl<S, D, M, F> Call<S, D> for Schema<F, M>
where
    S: Store,
    D: Sync,
    F: EventFn<M, S, D>,
    F::Payload: EventSchema + DeserializeOwned,
{
    fn call<'a>(
        &'a self,
        cx: InboxContext<'a, S>,
        state: &'a D,
    ) -> BoxFuture<'a, Result<HandlerOutcome, HandlerError>> {
        async move {
            let payload = F::Payload::from_event(cx.event)?;
            self.0.function.call(cx, payload, state).await
        }
        .boxed()
    }
}

/// What has its state already, and so takes any.
pub(super) struct Bound<S: Store, D> {
    pub(super) call: Box<dyn Call<S, D>>,
    pub(super) state: Arc<D>,
}

impl<S: Store, D: Send + Sync, Any> Call<S, Any> for Bound<S, D> {
    fn call<'a>(
        &'a self,
        cx: InboxContext<'a, S>,
        _any: &'a Any,
    ) -> BoxFuture<'a, Result<HandlerOutcome, HandlerError>> {
        self.call.call(cx, &self.state)
    }

    fn takes_batches(&self) -> bool {
        self.call.takes_batches()
    }

    fn call_batch<'a>(
        &'a self,
        batch: InboxBatch<'a, S>,
        _any: &'a Any,
    ) -> BoxFuture<'a, Result<(), HandlerError>> {
        self.call.call_batch(batch, &self.state)
    }
}

/// What came from another router, with that router's layers around it.
pub(super) struct Layered<S: Store, D> {
    pub(super) layers: Vec<Arc<dyn HandlerLayer<S>>>,
    pub(super) call: Box<dyn Call<S, D>>,
}

impl<S: Store, D: Sync> Call<S, D> for Layered<S, D> {
    fn call<'a>(
        &'a self,
        cx: InboxContext<'a, S>,
        state: &'a D,
    ) -> BoxFuture<'a, Result<HandlerOutcome, HandlerError>> {
        async move {
            let inner = WithState { call: &*self.call, state };
            Next::new(&self.layers, &inner).run(cx).await
        }
        .boxed()
    }

    fn takes_batches(&self) -> bool {
        take_batches(&self.layers) && self.call.takes_batches()
    }

    fn call_batch<'a>(
        &'a self,
        batch: InboxBatch<'a, S>,
        state: &'a D,
    ) -> BoxFuture<'a, Result<(), HandlerError>> {
        async move {
            let inner = WithState { call: &*self.call, state };
            NextBatch::new(&self.layers, &inner).run(batch).await
        }
        .boxed()
    }
}

struct WithState<'a, S: Store, D> {
    call: &'a dyn Call<S, D>,
    state: &'a D,
}

impl<S: Store, D: Sync> Call<S> for WithState<'_, S, D> {
    fn call<'a>(
        &'a self,
        cx: InboxContext<'a, S>,
        (): &'a (),
    ) -> BoxFuture<'a, Result<HandlerOutcome, HandlerError>> {
        self.call.call(cx, self.state)
    }

    fn call_batch<'a>(
        &'a self,
        batch: InboxBatch<'a, S>,
        (): &'a (),
    ) -> BoxFuture<'a, Result<(), HandlerError>> {
        self.call.call_batch(batch, self.state)
    }
}
