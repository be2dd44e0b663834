//! Between OpenTelemetry's contexts and those of events.

use std::sync::Once;

use omni_box_core::{Propagation, TraceContext, set_propagation};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

static UNPAIRED: Once = Once::new();

/// Lets each event of this process keep the trace of the code that enqueues it; returns whether it did, and not another propagation
/// before.
///
/// The context is that of the current `tracing` span, else OpenTelemetry's own current one. An event with a `traceparent` of its own is
/// left alone.
pub fn install() -> bool {
    set_propagation(Current)
}

struct Current;

impl Propagation for Current {
    fn inject(&self) -> Option<TraceContext> {
        let span = Span::current();
        let of_span = span.context().span().span_context().clone();
        let current = match of_span.is_valid() {
            true => of_span,
            false => Context::current().span().span_context().clone(),
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
        current.is_sampled().then(|| written(&current))?
    }
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
