//! Between OpenTelemetry's contexts and those of events.

use std::sync::Once;

use omni_box_core::event::Creation;
use omni_box_core::{Propagation, TraceContext, set_propagation};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{attribute, baggage};

static UNPAIRED: Once = Once::new();

/// Lets each event of this process keep the trace of the code that enqueues it; returns whether it did, and not another propagation
/// before.
///
/// - The trace is that of the current `tracing` span, else OpenTelemetry's own current one; outside of a trace nothing is kept.
/// - Of a sampled trace, a span `create <topic>` is written for the event, a child of the current one: the event keeps its context. Its level
///   is INFO and its target `omni_box_otel`. Where no layer records it, the event keeps the current context.
/// - An event with a `traceparent` of its own is left alone, and has no span.
pub fn install() -> bool {
    install_with_baggage([] as [&str; 0])
}

/// The same, and events carry entries of OpenTelemetry's baggage, as the header [`baggage`](https://www.w3.org/TR/baggage/). Only entries
/// of these names do, since baggage may hold what must not leave a process.
///
/// - An event keeps the entries of the code that enqueues it, sampled or not, in the order of `names`. One with a `baggage` or `traceparent` of
///   its own is left alone.
/// - They are left out where they are longer than a header may be, and of an event without room for another header.
/// - Around a handler with a [`TraceLayer`](crate::TraceLayer), the allowed entries of its message are those of the current context.
///   The handler's code reads them, and what it enqueues carries them on.
///
/// ```
/// omni_box_otel::install_with_baggage(["tenant"]);
/// ```
pub fn install_with_baggage(names: impl IntoIterator<Item = impl Into<String>>) -> bool {
    let names = names.into_iter().map(Into::into).collect();
    let is_first = set_propagation(Current);
    if is_first {
        baggage::allow(names);
    }
    is_first
}

struct Current;

impl Propagation for Current {
    fn baggage(&self) -> Option<String> {
        baggage::current()
    }

    fn inject(&self, creation: &Creation<'_>) -> Option<TraceContext> {
        let span = Span::current();
        let of_span = span.context().span().span_context().clone();
        let (current, is_of_span) = match of_span.is_valid() {
            true => (of_span, true),
            false => (Context::current().span().span_context().clone(), false),
        };
        if !current.is_valid() {
            if !span.is_none() && !span.is_disabled() {
                UNPAIRED.call_once(|| {
                    tracing::warn!(
                        "no trace is kept with an event: its span has no OpenTelemetry context; is the layer of tracing-opentelemetry 0.34 \
                         in the subscriber?"
                    );
                });
            }
            return None;
        }
        if !current.is_sampled() {
            return None;
        }
        let created = create(creation, (!is_of_span).then(|| current.clone()));
        written(&created.filter(SpanContext::is_sampled).unwrap_or(current))
    }
}

/// Writes the span of an event's creation, a child of the current `tracing` span, or of another one; `None` where no layer records it.
fn create(creation: &Creation<'_>, parent: Option<SpanContext>) -> Option<SpanContext> {
    let name = format!("create {}", creation.topic);
    let span = tracing::info_span!("create", otel.name = name, otel.kind = "producer");
    if let Some(parent) = parent {
        // refused by a span that no layer records, which has no context either
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
    span.set_attribute(attribute::SYSTEM, "kafka");
    span.set_attribute(attribute::OPERATION_NAME, "create");
    span.set_attribute(attribute::OPERATION_TYPE, "create");
    span.set_attribute(attribute::DESTINATION, creation.topic.to_owned());
    span.set_attribute(attribute::MESSAGE_ID, creation.id.to_string());
    span.set_attribute(attribute::EVENT_TYPE, creation.event_type.to_owned());
    if let Some(id) = creation.correlation_id {
        span.set_attribute(attribute::CONVERSATION, id.to_owned());
    }
    let context = span.context().span().span_context().clone();
    context.is_valid().then_some(context)
}

fn written(context: &SpanContext) -> Option<TraceContext> {
    let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags().to_u8());
    let state = context.trace_state().header();
    TraceContext::new(format!("00-{trace}-{span}-{flags:02x}"), Some(state)).ok()
}

/// The span that an event came from.
pub(crate) fn remote(context: &TraceContext) -> Option<SpanContext> {
    let trace = TraceId::from_hex(context.trace_id()).ok()?;
    let span = SpanId::from_hex(context.span_id()).ok()?;
    // a state that cannot be read does not cost the trace
    let state = context.tracestate().and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    Some(SpanContext::new(trace, span, TraceFlags::new(context.flags()), true, state))
}

/// A context whose span is that which an event came from.
pub(crate) fn from(origin: SpanContext) -> Context {
    Context::new().with_remote_span_context(origin)
}
