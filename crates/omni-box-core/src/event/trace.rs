//! The trace that an event belongs to, as W3C's [Trace Context](https://www.w3.org/TR/trace-context/) writes it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::{EventContent, Headers};
use crate::error::{Error, Result};
use crate::id::EventId;
use crate::limits::{EventLimits, fits};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const BAGGAGE: &str = "baggage";
/// Version, trace, parent and flags, with the dashes between.
const LENGTH: usize = 55;

/// A trace and the span in it that something came from: the headers `traceparent` and `tracestate`. `Debug` shows the trace's id.
///
/// ```
/// use omni_box_core::{Headers, TraceContext};
///
/// let mut headers = Headers::new();
/// headers.push("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
/// let context = TraceContext::of(&headers).unwrap();
/// assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
/// assert_eq!(context.span_id(), "b7ad6b7169203331");
/// assert!(context.is_sampled());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    traceparent: String,
    tracestate: Option<String>,
}

impl TraceContext {
    /// Takes the values of both headers.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when `traceparent` is malformed. The text is not repeated in the error.
    pub fn new(traceparent: impl Into<String>, tracestate: Option<String>) -> Result<Self> {
        let traceparent = traceparent.into();
        if !is_traceparent(&traceparent) {
            return Err(Error::invalid(
                "traceparent is malformed, needs 00-<32 hex digits>-<16 hex digits>-<2 hex digits>",
            ));
        }
        Ok(Self { traceparent, tracestate: tracestate.filter(|state| !state.is_empty()) })
    }

    /// The context among headers. One that is malformed counts as none: it must not cost the event.
    pub fn of(headers: &Headers) -> Option<Self> {
        let state = headers.get(TRACESTATE).map(str::to_owned);
        Self::new(headers.get(TRACEPARENT)?, state).ok()
    }

    /// The value of the header `traceparent`.
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// The value of the header `tracestate`.
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    /// The trace: 32 hex digits.
    pub fn trace_id(&self) -> &str {
        &self.traceparent[3..35]
    }

    /// The span: 16 hex digits.
    pub fn span_id(&self) -> &str {
        &self.traceparent[36..52]
    }

    /// The flags, of which the lowest bit says whether the trace is recorded.
    pub fn flags(&self) -> u8 {
        u8::from_str_radix(&self.traceparent[53..55], 16).unwrap_or_default()
    }

    /// Whether the trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags() & 1 == 1
    }

    /// Keeps it with an event that has room for it.
    fn keep(self, content: &mut EventContent, limits: &EventLimits) {
        if content.trace_id.is_none() && fits(self.trace_id(), limits.trace_id) {
            content.trace_id = Some(self.trace_id().to_owned());
        }
        content.headers.push(TRACEPARENT, self.traceparent);
        let state = self.tracestate.filter(|state| {
            let has_room =
                content.headers.len() < limits.headers && content.headers.get(TRACESTATE).is_none();
            has_room && fits(state, limits.header_value) && !state.chars().any(char::is_control)
        });
        if let Some(state) = state {
            content.headers.push(TRACESTATE, state);
        }
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TraceContext").field(&self.trace_id()).finish()
    }
}

/// A later version than 00 may say more behind the flags.
fn is_traceparent(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let id = |part: &str| digits(part) && part.bytes().any(|byte| byte != b'0');
    if !text.is_ascii() || text.len() < LENGTH {
        return false;
    }
    let (head, rest) = text.split_at(LENGTH);
    let (version, dashes) = (&head[..2], [2, 35, 52].map(|at| head.as_bytes()[at]));
    let ends = rest.is_empty() || (version != "00" && rest.starts_with('-'));
    let parts =
        digits(version) && version != "ff" && id(&head[3..35]) && id(&head[36..52]) && digits(&head[53..]);
    parts && dashes == [b'-'; 3] && ends && !text.chars().any(char::is_control)
}

/// What is known of an event when its context is asked for.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Creation<'a> {
    /// The event's id.
    pub id: EventId,
    /// Its type.
    pub event_type: &'a str,
    /// Where it is to be published.
    pub topic: &'a str,
    /// The business conversation that it belongs to.
    pub correlation_id: Option<&'a str>,
}

/// Finds the trace of the code that runs now, and that of a message.
///
/// [`set_propagation`] installs one in a process. An event that is then built without a `traceparent` of its own keeps that of the code
/// that builds it. The trace's id is its `trace_id`, if it has none. `omni-box-otel` has one for OpenTelemetry.
///
/// ```
/// use omni_box_core::event::Creation;
/// use omni_box_core::{Event, Headers, NewOutboxEvent, OmniBoxDomainService, Propagation, TraceContext, set_propagation, trace_of};
///
/// /// Reads what producers with Zipkin's single header send.
/// struct Zipkin;
///
/// impl Propagation for Zipkin {
///     fn inject(&self, _creation: &Creation<'_>) -> Option<TraceContext> {
///         // the tracer's current span
///         TraceContext::new("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).ok()
///     }
///
///     fn extract(&self, headers: &Headers) -> Option<TraceContext> {
///         let b3 = headers.get("b3").and_then(|b3| TraceContext::new(format!("00-{}", b3.replace("-1", "-01")), None).ok());
///         b3.or_else(|| TraceContext::of(headers))
///     }
/// }
///
/// assert!(set_propagation(Zipkin));
/// let event = NewOutboxEvent::new("order.placed", "orders", &serde_json::json!({"id": 42}));
/// let event = OmniBoxDomainService::default().create_outbox_event(event)?;
/// assert_eq!(event.content().trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
///
/// let headers: Headers = [("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1")].into_iter().collect();
/// assert_eq!(trace_of(&headers).unwrap().span_id(), "e457b5a2e4d86bd1");
/// # Ok::<(), omni_box_core::Error>(())
/// ```
pub trait Propagation: Send + Sync + 'static {
    /// The context that an event keeps which the calling code creates: that of the code, or of a span for the creation. `None` outside of
    /// a trace. One that is not sampled is not kept.
    ///
    /// - Is called for an event that is valid and has room for a context, and no context of its own.
    /// - Never panics, and does not wait.
    fn inject(&self, creation: &Creation<'_>) -> Option<TraceContext>;

    /// The value of the header [`baggage`](https://www.w3.org/TR/baggage/) that an event keeps which the calling code creates. `None`, unless
    /// an application says what of its baggage may leave it.
    ///
    /// - It does not depend on a trace. An event that names a `traceparent` or `baggage` of its own has none from here.
    /// - A value that is longer than a header may be is left out.
    /// - Never panics, and does not wait.
    fn baggage(&self) -> Option<String> {
        None
    }

    /// The context that a message came with; that of [`TraceContext::of`] unless another form is read too.
    ///
    /// - Never panics, for any headers, and does not wait.
    fn extract(&self, headers: &Headers) -> Option<TraceContext> {
        TraceContext::of(headers)
    }
}

static PROPAGATION: OnceLock<Arc<dyn Propagation>> = OnceLock::new();

/// Installs the propagation of this process; returns whether it did. The first one stays.
pub fn set_propagation(propagation: impl Propagation) -> bool {
    PROPAGATION.set(Arc::new(propagation)).is_ok()
}

/// The context that a message came with, as the installed propagation reads it, else as [`TraceContext::of`] does.
pub fn trace_of(headers: &Headers) -> Option<TraceContext> {
    match PROPAGATION.get() {
        Some(propagation) => propagation.extract(headers),
        None => TraceContext::of(headers),
    }
}

/// Keeps the trace of the code that runs now with an event, else that of the event's cause. One that is not recorded is left out. An event
/// that names its own is left alone, as is one that has no room.
pub(super) fn keep_trace(
    content: &mut EventContent,
    (id, topic): (EventId, &str),
    cause: Option<TraceContext>,
    limits: &EventLimits,
) {
    if content.headers.get(TRACEPARENT).is_some() {
        return;
    }
    keep_baggage(content, limits);
    let has_room = content.headers.len() < limits.headers
        && TRACEPARENT.len() <= limits.header_key
        && LENGTH <= limits.header_value;
    if !has_room {
        return;
    }
    let (event_type, correlation_id) = (content.event_type.as_str(), content.correlation_id.as_deref());
    let creation = Creation { id, event_type, topic, correlation_id };
    let current = PROPAGATION.get().and_then(|propagation| propagation.inject(&creation));
    let context = current.or(cause).filter(TraceContext::is_sampled);
    // a later version of the form may be longer
    if let Some(context) = context.filter(|context| fits(&context.traceparent, limits.header_value)) {
        context.keep(content, limits);
    }
}

/// Leaves room for a trace: it is worth more.
fn keep_baggage(content: &mut EventContent, limits: &EventLimits) {
    let has_room = content.headers.len() + 2 < limits.headers && BAGGAGE.len() <= limits.header_key;
    if !has_room || content.headers.get(BAGGAGE).is_some() {
        return;
    }
    let baggage = PROPAGATION.get().and_then(|propagation| propagation.baggage());
    let baggage =
        baggage.filter(|value| fits(value, limits.header_value) && !value.chars().any(char::is_control));
    if let Some(value) = baggage {
        content.headers.push(BAGGAGE, value);
    }
}
