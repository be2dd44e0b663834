//! Plain async functions as handlers.

use std::future::Future;

use serde::de::DeserializeOwned;

use super::{HandlerError, HandlerOutcome, InboxContext, InboxHandler, IntoHandlerResult};
use crate::event::{Event, InboxEvent};
use crate::store::Store;

/// The state of a router as an argument of a function: an application's own value, or a part of it.
///
/// ```
/// use omni_box_core::State;
///
/// async fn answer(State(number): State<u32>) -> u32 {
///     number
/// }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State<T>(pub T);

/// A part of an application's state. Each state that is `Clone` is a part of itself.
///
/// ```
/// use omni_box_core::FromRef;
///
/// #[derive(Clone)]
/// struct Mailer;
///
/// #[derive(Clone)]
/// struct App {
///     mailer: Mailer,
/// }
///
/// impl FromRef<App> for Mailer {
///     fn from_ref(app: &App) -> Self {
///         app.mailer.clone()
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a router with the state `{D}` cannot give a handler `State<{Self}>`",
    label = "this handler takes `State<{Self}>`",
    note = "call `.with_state(..)` with a `{Self}`, or with a state for which `{Self}: FromRef<..>` is implemented"
)]
pub trait FromRef<D> {
    /// Takes the part out of the state.
    fn from_ref(state: &D) -> Self;
}

impl<D: Clone> FromRef<D> for D {
    fn from_ref(state: &D) -> Self {
        state.clone()
    }
}

/// A function that handles events of one type: `async fn(cx)`, `async fn(cx, payload)` or `async fn(cx, payload, State(part))`.
///
/// `cx` is an [`InboxContext<'_, S>`](InboxContext); the payload is any type that serde reads. An async function or an async closure that
/// captures nothing will do (what it would capture is the [`State`]). It returns what is [`IntoHandlerResult`]. Every [`InboxHandler`]
/// counts as one, too. `M` tells the forms apart and is inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle events of a `{S}`",
    label = "not a handler",
    note = "write `async fn(cx: InboxContext<'_, {S}>)`, `async fn(cx: .., payload: P)` or `async fn(cx: .., payload: P, State(part): State<T>)`",
    note = "`P` implements `serde::Deserialize`, the returned type `IntoHandlerResult`, and the future is `Send`",
    note = "a closure is `async |cx: InboxContext<'_, {S}>, payload: P| ..` and captures nothing: what it needs is its `State`"
)]
pub trait EventFn<M, S: Store, D = ()>: Send + Sync + 'static {
    /// What it wants to know of the payload.
    type Payload: Send + 'static;

    /// Reads the payload.
    ///
    /// # Errors
    /// [`Decode`](crate::ErrorKind::Decode) when it does not fit, so that the message fails at once.
    fn decode(&self, event: &InboxEvent) -> Result<Self::Payload, HandlerError>;

    /// Calls the function.
    fn call(
        &self,
        cx: InboxContext<'_, S>,
        payload: Self::Payload,
        state: &D,
    ) -> impl Future<Output = Result<HandlerOutcome, HandlerError>> + Send;
}

/// What the compiler needs to know of a function of one lifetime; no user writes these.
mod form {
    use super::{Future, InboxContext, IntoHandlerResult, State, Store};

    macro_rules! form {
        ($name:ident<$($type:ident),*>($($argument:ident: $as:ty),*)) => {
            pub trait $name<'a, S: Store, $($type),*>: Send + Sync {
                type Output: IntoHandlerResult;
                type Future: Future<Output = Self::Output> + Send + 'a;
                fn call(&self, cx: InboxContext<'a, S>, $($argument: $as),*) -> Self::Future;
            }

            impl<'a, S, F, Fut, $($type),*> $name<'a, S, $($type),*> for F
            where
                S: Store,
                F: Fn(InboxContext<'a, S>, $($as),*) -> Fut + Send + Sync,
                Fut: Future<Output: IntoHandlerResult> + Send + 'a,
            {
                type Output = Fut::Output;
                type Future = Fut;

                fn call(&self, cx: InboxContext<'a, S>, $($argument: $as),*) -> Fut {
                    self(cx, $($argument),*)
                }
            }
        };
    }

    form!(OfContext<>());
    form!(OfPayload<P>(payload: P));
    form!(OfState<P, T>(payload: P, state: State<T>));
}

impl<S, D, F> EventFn<(), S, D> for F
where
    S: Store,
    D: Sync,
    F: for<'a> form::OfContext<'a, S> + 'static,
{
    type Payload = ();

    fn decode(&self, _event: &InboxEvent) -> Result<(), HandlerError> {
        Ok(())
    }

    async fn call(
        &self,
        cx: InboxContext<'_, S>,
        (): (),
        _state: &D,
    ) -> Result<HandlerOutcome, HandlerError> {
        form::OfContext::call(self, cx).await.into_handler_result()
    }
}

impl<S, D, P, F> EventFn<(P,), S, D> for F
where
    S: Store,
    D: Sync,
    P: DeserializeOwned + Send + 'static,
    F: for<'a> form::OfPayload<'a, S, P> + 'static,
{
    type Payload = P;

    fn decode(&self, event: &InboxEvent) -> Result<P, HandlerError> {
        Ok(event.payload().deserialize()?)
    }

    async fn call(
        &self,
        cx: InboxContext<'_, S>,
        payload: P,
        _state: &D,
    ) -> Result<HandlerOutcome, HandlerError> {
        form::OfPayload::call(self, cx, payload).await.into_handler_result()
    }
}

impl<S, D, P, T, F> EventFn<(P, T), S, D> for F
where
    S: Store,
    D: Sync,
    P: DeserializeOwned + Send + 'static,
    T: FromRef<D> + Send,
    F: for<'a> form::OfState<'a, S, P, T> + 'static,
{
    type Payload = P;

    fn decode(&self, event: &InboxEvent) -> Result<P, HandlerError> {
        Ok(event.payload().deserialize()?)
    }

    async fn call(
        &self,
        cx: InboxContext<'_, S>,
        payload: P,
        state: &D,
    ) -> Result<HandlerOutcome, HandlerError> {
        form::OfState::call(self, cx, payload, State(T::from_ref(state))).await.into_handler_result()
    }
}

/// Marks an [`InboxHandler`] that is used as an [`EventFn`].
#[derive(Debug)]
pub struct Handler(());

impl<S: Store, D: Sync, H: InboxHandler<S>> EventFn<Handler, S, D> for H {
    type Payload = ();

    fn decode(&self, _event: &InboxEvent) -> Result<(), HandlerError> {
        Ok(())
    }

    async fn call(
        &self,
        cx: InboxContext<'_, S>,
        (): (),
        _state: &D,
    ) -> Result<HandlerOutcome, HandlerError> {
        self.handle(cx).await
    }
}
