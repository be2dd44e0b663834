//! Methods of one type as handlers, as `#[event_handlers]` makes them.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use omni_box_core::{HandlerError, HandlerOutcome, InboxContext, Store};

use super::route::Route;
use super::version::Version;
use crate::layer::Call;

/// What a method returns, as a router calls it.
///
/// See [`EventHandlers`].
///
/// ```
/// use omni_box_core::HandlerOutcome;
/// use omni_box_pipeline::MethodFuture;
///
/// fn done<'a>() -> MethodFuture<'a> {
///     Box::pin(async { Ok(HandlerOutcome::Completed) })
/// }
/// # let _ = done;
/// ```
pub type MethodFuture<'a> = BoxFuture<'a, Result<HandlerOutcome, HandlerError>>;

/// A type whose methods handle events. `#[event_handlers]` implements it.
///
/// By hand it is:
///
/// ```
/// use std::sync::Arc;
///
/// use omni_box_core::{HandlerOutcome, InboxContext};
/// use omni_box_pipeline::{ANY_SOURCE, EventHandlers, EventRouter, MethodFuture, Routes};
/// use omni_box_testkit::MemoryStore;
///
/// struct Shipping;
///
/// impl Shipping {
///     fn ship<'a>(&'a self, _cx: InboxContext<'a, MemoryStore>) -> MethodFuture<'a> {
///         Box::pin(async { Ok(HandlerOutcome::Completed) })
///     }
/// }
///
/// impl EventHandlers<MemoryStore> for Shipping {
///     fn register(self: Arc<Self>, routes: &mut Routes<MemoryStore>) {
///         routes.method(ANY_SOURCE, "order.placed", None, &self, Shipping::ship);
///     }
/// }
///
/// let router: EventRouter<MemoryStore> = EventRouter::new().handlers(Shipping);
/// assert_eq!(router.event_types("orders"), ["order.placed"]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no event handlers for `{S}`",
    note = "put `#[event_handlers(source = \"..\")]` on an impl block of it whose methods take `InboxContext<'_, {S}>`"
)]
pub trait EventHandlers<S: Store>: Send + Sync + 'static {
    /// Adds a route for each method.
    fn register(self: Arc<Self>, routes: &mut Routes<S>);
}

/// Where [`EventHandlers::register`] puts its routes.
///
/// ```
/// use std::sync::Arc;
///
/// use omni_box_core::{HandlerOutcome, InboxContext, Store};
/// use omni_box_pipeline::{MethodFuture, Routes};
///
/// struct Shipping;
///
/// impl Shipping {
///     fn ship<'a, S: Store>(&'a self, _cx: InboxContext<'a, S>) -> MethodFuture<'a> {
///         Box::pin(async { Ok(HandlerOutcome::Completed) })
///     }
/// }
///
/// /// The second version of an event, from one source.
/// fn add<S: Store>(shipping: &Arc<Shipping>, routes: &mut Routes<S>) {
///     routes.method("orders", "order.placed", Some("2"), shipping, Shipping::ship);
/// }
/// ```
pub struct Routes<S: Store>(Vec<Route<S, ()>>);

impl<S: Store> Routes<S> {
    /// Adds a method; without a version, it takes every version.
    pub fn method<T: Send + Sync + 'static>(
        &mut self,
        source: impl Into<String>,
        event_type: impl Into<String>,
        version: Option<&str>,
        handlers: &Arc<T>,
        method: for<'a> fn(&'a T, InboxContext<'a, S>) -> MethodFuture<'a>,
    ) {
        self.0.push(Route {
            source: source.into(),
            event_type: event_type.into(),
            version: version.map_or(Version::Any, |version| Version::Of(version.to_owned())),
            call: Box::new(Method { handlers: Arc::clone(handlers), method }),
        });
    }

    pub(super) fn into_routes(self) -> Vec<Route<S, ()>> {
        self.0
    }
}

impl<S: Store> Default for Routes<S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<S: Store> fmt::Debug for Routes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(ToString::to_string)).finish()
    }
}

struct Method<S: Store, T> {
    handlers: Arc<T>,
    method: for<'a> fn(&'a T, InboxContext<'a, S>) -> MethodFuture<'a>,
}

impl<S: Store, T: Send + Sync> Call<S> for Method<S, T> {
    fn call<'a>(&'a self, cx: InboxContext<'a, S>, (): &'a ()) -> MethodFuture<'a> {
        (self.method)(&self.handlers, cx)
    }
}
