//! The span around a handler.

use async_trait::async_trait;
use omni_box_core::{Event, HandlerError, HandlerOutcome, InboxContext, InboxEvent, Store, trace_of};
use omni_box_pipeline::{HandlerLayer, Next};
use opentelemetry::Context;
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanContext, Status};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::attribute;
use crate::baggage::carried;
use crate::context::{from, remote};

/// How the span of a handler belongs to the trace of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ContextMode {
    /// It continues the trace: the span that enqueued the event is its parent.
    #[default]
    Continue,
    /// It begins a trace of its own. For events that very many messages follow from.
    Link,
}

/// A span `process <topic>` around each handler whose message belongs to a sampled trace; linked to the span that enqueued the event, in
/// either mode.
///
/// - Spans of a handler whose message belongs to a trace that is not sampled belong to that trace, which their sampler sees.
/// - Each attempt has a span of its own; its outcome is `omni_box.outcome`. The text of an error is not in it.
/// - Baggage that [`install_with_baggage`](crate::install_with_baggage) allows is that of the handler's context, also without a trace.
/// - Message id, topic, partition, offset, group and event type are attributes. Key, payload and headers are not.
/// - The span is of level INFO and target `omni_box_otel`: a filter that leaves it out leaves the trace out.
///
/// Add it to a router last, so that it is outermost: [`EventRouter::layer`](omni_box_pipeline::EventRouter::layer).
#[derive(Debug, Clone)]
#[must_use = "add it to a router"]
pub struct TraceLayer {
    mode: ContextMode,
    system: String,
    service: Option<String>,
}

impl Default for TraceLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl TraceLayer {
    /// Continues traces, of messages from Kafka.
    pub fn new() -> Self {
        Self { mode: ContextMode::default(), system: "kafka".to_owned(), service: None }
    }

    /// How spans belong to the traces of their messages.
    pub fn mode(mut self, mode: ContextMode) -> Self {
        self.mode = mode;
        self
    }

    /// Another broker than Kafka, as `messaging.system` names it.
    pub fn system(mut self, name: impl Into<String>) -> Self {
        self.system = name.into();
        self
    }

    pub(crate) fn service(mut self, name: impl Into<String>) -> Self {
        self.service = Some(name.into());
        self
    }

    fn span(&self, event: &InboxEvent, origin: SpanContext) -> Span {
        let topic = event.position().map_or(event.source(), |position| &position.topic);
        let name = format!("process {topic}");
        let span = tracing::info_span!(parent: None, "process", otel.name = name, otel.kind = "consumer");
        let headers = &event.content().headers;
        // refused by a span that no layer records, which has no parent either
        let _ = match self.mode {
            ContextMode::Continue => span.set_parent(carried(from(origin.clone()), headers)),
            ContextMode::Link => span.set_parent(carried(Context::new(), headers)),
        };
        span.add_link(origin);
        span.set_attribute(attribute::SYSTEM, self.system.clone());
        span.set_attribute(attribute::OPERATION_NAME, "process");
        span.set_attribute(attribute::OPERATION_TYPE, "process");
        span.set_attribute(attribute::DESTINATION, topic.to_owned());
        span.set_attribute(attribute::GROUP, event.consumer_group().to_string());
        span.set_attribute(attribute::MESSAGE_ID, event.message_id().to_owned());
        span.set_attribute(attribute::EVENT_TYPE, event.event_type().to_owned());
        span.set_attribute(attribute::ATTEMPT, i64::from(event.lifecycle().attempts_made()) + 1);
        if let Some(service) = &self.service {
            span.set_attribute(attribute::SERVICE, service.clone());
        }
        if let Some(position) = event.position() {
            span.set_attribute(attribute::PARTITION, position.partition.to_string());
            span.set_attribute(attribute::OFFSET, position.offset);
        }
        if let Some(id) = &event.content().correlation_id {
            span.set_attribute(attribute::CONVERSATION, id.clone());
        }
        span
    }
}

#[async_trait]
impl<S: Store> HandlerLayer<S> for TraceLayer {
    async fn handle(
        &self,
        cx: InboxContext<'_, S>,
        next: Next<'_, S>,
    ) -> Result<HandlerOutcome, HandlerError> {
        let headers = &cx.event.content().headers;
        let origin = trace_of(headers).and_then(|context| remote(&context));
        let origin = match origin {
            Some(origin) if origin.is_sampled() => origin,
            other => {
                let context = match other {
                    // the handler's own spans must not begin a trace in place of the one that is not recorded
                    Some(origin) if self.mode == ContextMode::Continue => from(origin),
                    _ => Context::current(),
                };
                return next.run(cx).with_context(carried(context, headers)).await;
            }
        };
        let span = self.span(cx.event, origin);
        let result = next.run(cx).instrument(span.clone()).await;
        span.set_attribute(attribute::OUTCOME, outcome(&result));
        if result.is_err() {
            span.set_attribute(attribute::ERROR_TYPE, "handler");
            span.set_status(Status::error(""));
        }
        result
    }
}

fn outcome(result: &Result<HandlerOutcome, HandlerError>) -> &'static str {
    match result {
        Ok(HandlerOutcome::Completed) => "completed",
        Ok(HandlerOutcome::Skipped) => "skipped",
        Ok(HandlerOutcome::Stale) => "stale",
        Ok(HandlerOutcome::Retry { .. }) => "retry",
        Err(_) => "failed",
    }
}
