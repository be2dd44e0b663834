//! Methods of one type as handlers, as `#[event_handlers]` makes them.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use omni_box_core::{HandlerError, HandlerOutcome, InboxContext, Store};

use super::route::Route;
use super::version::Version;
use crate::layer::Call;

/// What a method returns, as a router calls it.
pub type MethodFuture<'a> = BoxFuture<'a, Result<HandlerOutcome, HandlerError>>;

/// A type whose methods handle events. `#[event_handlers]` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no event handlers for `{S}`",
    note = "put `#[event_handlers(source = \"..\")]` on an impl block of it whose methods take `InboxContext<'_, {S}>`"
)]
pub trait EventHandlers<S: Store>: Send + Sync + 'static {
    /// Adds a route for each method.
    fn register(self: Arc<Self>, routes: &mut Routes<S>);
}

/// Where [`EventHandlers::register`] puts its routes.
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
