//! Gives each event to the function that is for its source, type and version.

mod check;
mod methods;
mod route;
mod unhandled;
mod version;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use omni_box_core::{
    BatchFn, Error, ErrorKind, Event, EventFn, EventSchema, HandlerError, HandlerOutcome, InboxBatch,
    InboxContext, InboxEvent, InboxHandler, Result, Store,
};

use serde::de::DeserializeOwned;

pub use methods::{EventHandlers, MethodFuture, Routes};
use unhandled::Missing;
pub use unhandled::Unhandled;

use crate::layer::{Call, HandlerLayer, Next, NextBatch, take_batches};
use route::{Batch, Bound, Function, Layered, Route, Schema};
use version::Version;

/// The source of a route that takes events of every source.
pub const ANY_SOURCE: &str = "*";

type Normalize = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Gives each event to the function that is for its source, type and version. A router is an [`InboxHandler`].
///
/// | where an event is looked for | |
/// |---|---|
/// | source | routes of its own source, then those of [`ANY_SOURCE`] |
/// | version (1.0.0 if a message names none) | the exact one, the longest prefix (`2` is one of `2.1.0`), what a type of event reads, a route for any version |
///
/// An event without a route is [`Unhandled`]: by default it waits, free of attempts, for as long as a rolling deploy takes.
///
/// ```
/// use omni_box_core::{InboxContext, State, Store};
/// use omni_box_pipeline::EventRouter;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct OrderPlaced {
///     order: u32,
/// }
///
/// #[derive(Clone)]
/// struct Carrier;
///
/// async fn ship<S: Store>(cx: InboxContext<'_, S>, order: OrderPlaced, State(carrier): State<Carrier>) {}
/// async fn cancel<S: Store>(cx: InboxContext<'_, S>) -> anyhow::Result<()> {
///     Ok(())
/// }
///
/// fn router<S: Store>() -> EventRouter<S> {
///     EventRouter::new()
///         .on("orders", "order.placed", ship::<S>)
///         .on("orders", "order.cancelled", cancel::<S>)
///         .with_state(Carrier)
/// }
/// # let router = router::<omni_box_testkit::MemoryStore>();
/// assert_eq!(router.event_types("orders"), ["order.cancelled", "order.placed"]);
/// ```
pub struct EventRouter<S: Store, D = ()> {
    /// By event type.
    routes: BTreeMap<String, Vec<Route<S, D>>>,
    layers: Vec<Arc<dyn HandlerLayer<S>>>,
    normalize: Option<Normalize>,
    unhandled: Unhandled,
    fallback: Option<Box<dyn Call<S, D>>>,
}

/// A router with one route: events of this type, from every source and of every version, are given to the function.
///
/// What else arrives is [`Unhandled`], as in every router.
///
/// ```
/// use omni_box_core::{InboxContext, Store};
/// use omni_box_pipeline::on;
///
/// async fn ship<S: Store>(cx: InboxContext<'_, S>, order: serde_json::Value) {}
///
/// # fn handler<S: Store>() -> impl omni_box_core::InboxHandler<S> {
/// let handler = on("order.placed", ship::<S>);
/// # handler
/// # }
/// ```
pub fn on<M, S, F>(event_type: impl Into<String>, function: F) -> EventRouter<S>
where
    S: Store,
    M: 'static,
    F: EventFn<M, S>,
{
    EventRouter::new().on(ANY_SOURCE, event_type, function)
}

/// As [`on`], for a function that takes several messages at once: see [`EventRouter::on_batch`].
///
/// ```
/// use omni_box_core::{InboxBatch, Store};
/// use omni_box_pipeline::on_batch;
///
/// async fn store_all<S: Store>(batch: InboxBatch<'_, S>) {}
///
/// # fn handler<S: Store>() -> impl omni_box_core::InboxHandler<S> {
/// let handler = on_batch("reading.taken", store_all::<S>);
/// # handler
/// # }
/// ```
pub fn on_batch<S: Store>(event_type: impl Into<String>, function: impl BatchFn<S>) -> EventRouter<S> {
    EventRouter::new().on_batch(ANY_SOURCE, event_type, function)
}

impl<S: Store, D: Send + Sync + 'static> EventRouter<S, D> {
    /// A router without routes.
    #[expect(clippy::new_without_default, reason = "a router of nothing is a beginning, not a value")]
    pub fn new() -> Self {
        Self {
            routes: BTreeMap::new(),
            layers: Vec::new(),
            normalize: None,
            unhandled: Unhandled::default(),
            fallback: None,
        }
    }

    /// Gives events of a source and type to a function, whatever their version.
    ///
    /// The function is an `async fn(cx)`, `async fn(cx, payload)` or `async fn(cx, payload, State(part))`, see [`EventFn`]. A payload that
    /// does not fit fails the message at once, before the function runs.
    #[must_use]
    pub fn on<M: 'static>(
        self,
        source: impl Into<String>,
        event_type: impl Into<String>,
        function: impl EventFn<M, S, D>,
    ) -> Self {
        self.add(source.into(), event_type.into(), Version::Any, Box::new(Function::new(function)))
    }

    /// Gives events of a source and type, whatever their version, to a function that takes several at once: an `async fn(batch)` with an
    /// [`InboxBatch`](omni_box_core::InboxBatch).
    ///
    /// A batch is the events of a group that stand one behind the other and have this route. In a group whose messages have savepoints each
    /// batch has one event. So it is under a [`layer`](Self::layer) that does not take [batches](HandlerLayer::batches): it sees each event.
    #[must_use]
    pub fn on_batch(
        self,
        source: impl Into<String>,
        event_type: impl Into<String>,
        function: impl BatchFn<S>,
    ) -> Self {
        self.add(source.into(), event_type.into(), Version::Any, Box::new(Batch(function)))
    }

    /// Gives events of a source, type and version to a function; `2` takes `2.1.0` as well, unless a longer prefix has a route.
    #[must_use]
    pub fn on_version<M: 'static>(
        self,
        source: impl Into<String>,
        event_type: impl Into<String>,
        version: impl Into<String>,
        function: impl EventFn<M, S, D>,
    ) -> Self {
        let version = Version::Of(version.into());
        self.add(source.into(), event_type.into(), version, Box::new(Function::new(function)))
    }

    /// Gives events of a source to a function whose payload is a type of event. They are those of the payload's own type and of every
    /// version that it reads, older ones upcast. A route for one of these versions alone comes first.
    #[must_use]
    pub fn on_event<M, F>(self, source: impl Into<String>, function: F) -> Self
    where
        M: 'static,
        F: EventFn<M, S, D, Payload: EventSchema + DeserializeOwned>,
    {
        let event_type = <F::Payload as EventSchema>::EVENT_TYPE.to_owned();
        let call = Box::new(Schema(Function::new(function)));
        self.add(source.into(), event_type, Version::known::<F::Payload>(), call)
    }

    /// Adds the methods of a type that `#[event_handlers]` has made.
    #[must_use]
    pub fn handlers(mut self, handlers: impl EventHandlers<S>) -> Self {
        let mut routes = Routes::default();
        Arc::new(handlers).register(&mut routes);
        for Route { source, event_type, version, call } in routes.into_routes() {
            self = self.add(source, event_type, version, Box::new(Bound { call, state: Arc::new(()) }));
        }
        self
    }

    /// Adds the routes of another router, with its own layers around them. Its answer to unhandled events and its
    /// [`normalize_source`](Self::normalize_source) are not taken over.
    #[must_use]
    pub fn merge(mut self, other: EventRouter<S, D>) -> Self {
        for route in other.routes.into_values().flatten() {
            let Route { source, event_type, version, call } = route;
            let call: Box<dyn Call<S, D>> = match other.layers.is_empty() {
                true => call,
                false => Box::new(Layered { layers: other.layers.clone(), call }),
            };
            self = self.add(source, event_type, version, call);
        }
        self
    }

    /// Runs a layer around every handler of this router, the unhandled events' included. The layer that is added last is outermost.
    #[must_use]
    pub fn layer(mut self, layer: impl HandlerLayer<S>) -> Self {
        self.layers.insert(0, Arc::new(layer));
        self
    }

    /// What becomes of an event without a route.
    #[must_use]
    pub fn unhandled(mut self, unhandled: Unhandled) -> Self {
        self.unhandled = unhandled;
        self.fallback = None;
        self
    }

    /// Gives events without a route to a function.
    #[must_use]
    pub fn fallback<M: 'static>(mut self, function: impl EventFn<M, S, D>) -> Self {
        self.fallback = Some(Box::new(Function::new(function)));
        self
    }

    /// Changes an event's source before its route is looked for, such as a topic's prefix of the environment. The event itself stays.
    #[must_use]
    pub fn normalize_source(mut self, normalize: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        self.normalize = Some(Arc::new(normalize));
        self
    }

    /// The sources that have routes, sorted; [`ANY_SOURCE`] among them if a route takes every source.
    pub fn sources(&self) -> Vec<&str> {
        let sources: BTreeSet<&str> = self.all().map(|route| route.source.as_str()).collect();
        sources.into_iter().collect()
    }

    /// The event types that have routes for a source, sorted.
    pub fn event_types(&self, source: &str) -> Vec<&str> {
        let takes = |routes: &[Route<S, D>]| routes.iter().any(|route| route.takes(source));
        self.routes.iter().filter(|(_, routes)| takes(routes)).map(|(name, _)| name.as_str()).collect()
    }

    /// Gives every function its part of a state; the router is a handler then.
    pub fn with_state(self, state: D) -> EventRouter<S> {
        let state = Arc::new(state);
        let bind = |call: Box<dyn Call<S, D>>| Box::new(Bound { call, state: Arc::clone(&state) }) as Box<_>;
        let mut bound = EventRouter {
            routes: BTreeMap::new(),
            layers: self.layers,
            normalize: self.normalize,
            unhandled: self.unhandled,
            fallback: self.fallback.map(bind),
        };
        for Route { source, event_type, version, call } in self.routes.into_values().flatten() {
            bound = bound.add(source, event_type, version, bind(call));
        }
        bound
    }

    fn add(
        mut self,
        source: String,
        event_type: String,
        version: Version,
        call: Box<dyn Call<S, D>>,
    ) -> Self {
        let route = Route { source, event_type: event_type.clone(), version, call };
        self.routes.entry(event_type).or_default().push(route);
        self
    }

    fn all(&self) -> impl Iterator<Item = &Route<S, D>> {
        self.routes.values().flatten()
    }
}

impl<S: Store> EventRouter<S> {
    fn route(&self, event: &InboxEvent) -> Option<&Route<S, ()>> {
        let routes = self.routes.get(event.event_type())?;
        let normalized = self.normalize.as_ref().map(|normalize| normalize(event.source()));
        let source = normalized.as_deref().unwrap_or(event.source());
        let version = event.content().version();
        let best = |source: &str| {
            let fitting = routes.iter().filter(|route| route.source == source);
            fitting.filter_map(|route| Some((route.version.fit(version)?, route))).max_by_key(|(fit, _)| *fit)
        };
        best(source).or_else(|| best(ANY_SOURCE)).map(|(_, route)| route)
    }

    /// What an operator needs to know of an event without a route.
    fn missing(&self, event: &InboxEvent) -> String {
        let (event_type, version, source) = (event.event_type(), event.content().version(), event.source());
        let routes: Vec<String> = self.all().map(ToString::to_string).collect();
        format!(
            "no handler for {event_type:?} of version {version:?} from {source:?}; there are: {}",
            routes.join(", ")
        )
    }
}

#[async_trait]
impl<S: Store> InboxHandler<S> for EventRouter<S> {
    async fn handle(&self, cx: InboxContext<'_, S>) -> Result<HandlerOutcome, HandlerError> {
        let missing;
        let call: &dyn Call<S> = match (self.route(cx.event), &self.fallback) {
            (Some(route), _) => &*route.call,
            (None, Some(fallback)) => &**fallback,
            (None, None) => {
                missing = Missing { unhandled: self.unhandled, reason: self.missing(cx.event) };
                &missing
            }
        };
        Next::new(&self.layers, call).run(cx).await
    }

    /// The place of the route in memory, where it stays while the router is a handler.
    fn batch_of(&self, event: &InboxEvent) -> Option<usize> {
        let route = self.route(event).filter(|_| take_batches(&self.layers))?;
        route.call.takes_batches().then(|| std::ptr::from_ref(route).addr())
    }

    async fn handle_batch(&self, batch: InboxBatch<'_, S>) -> Result<(), HandlerError> {
        match batch.events.first().and_then(|event| self.route(event)) {
            Some(route) => NextBatch::new(&self.layers, &*route.call).run(batch).await,
            None => Err(Error::new(ErrorKind::Internal, "a batch without a route").into()),
        }
    }

    fn validate(&self) -> Result<()> {
        check::check(&self.routes)
    }
}

impl<S: Store, D> fmt::Debug for EventRouter<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes: Vec<String> = self.routes.values().flatten().map(ToString::to_string).collect();
        f.debug_struct("EventRouter").field("routes", &routes).finish_non_exhaustive()
    }
}
