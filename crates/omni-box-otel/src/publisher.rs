//! The spans of an event's time in the outbox, and of its way to the broker.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use omni_box_core::{
    DeliveryReport, Event, EventId, EventPublisher, OutboxEvent, Reporter, Result, SendOrder, trace_of,
};
use opentelemetry::KeyValue;
use opentelemetry::trace::{Link, Span, SpanBuilder, SpanContext, SpanKind, Status, Tracer};

use crate::attribute;
use crate::context::{from, remote};

/// A publisher whose events leave two spans. `wait <topic>` lasts from an event's creation until it is handed to the broker, and `send
/// <topic>` from then until the broker's answer.
///
/// - Only events of a sampled trace leave them; their parent is the span that enqueued the event, and `send` is linked to it.
/// - Each attempt leaves its own, with `omni_box.attempt`.
/// - `wait` has the event's lane as `omni_box.lane`, and `omni_box.held`: whether it held back its key before, after a failure or for its topic. In
///   the mode `rows` there is neither.
/// - `send` has partition and offset of the message, and the publisher's `messaging.client.id`, where the broker's client knows them.
/// - `wait` begins by the clock of the database and ends by this machine's. One that would end before it begins has no duration.
/// - A `send` that failed is an error with its kind as `error.type`, without its text.
///
/// The spans go straight to the tracer, so that none of `tracing` is made for each event.
///
/// ```
/// use omni_box_core::EnvelopeEventConverter;
/// use omni_box_otel::TracedPublisher;
/// use omni_box_pipeline::OutboxRelay;
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// let publisher = MemoryBroker::new().publisher(EnvelopeEventConverter);
/// let traced = TracedPublisher::new(publisher, opentelemetry::global::tracer("omni-box"));
/// let relay = OutboxRelay::builder(MemoryStore::new(), traced).build()?;
/// # Ok::<(), omni_box_core::Error>(())
/// ```
pub struct TracedPublisher<P, T> {
    publisher: P,
    tracer: T,
    system: String,
    service: Option<String>,
}

impl<P: EventPublisher, T: Tracer<Span: Send> + Send + Sync + 'static> TracedPublisher<P, T> {
    /// Publishes by another publisher, to Kafka, and writes spans by a tracer.
    pub fn new(publisher: P, tracer: T) -> Self {
        Self { publisher, tracer, system: "kafka".to_owned(), service: None }
    }

    /// Another broker than Kafka, as `messaging.system` names it.
    #[must_use]
    pub fn system(mut self, name: impl Into<String>) -> Self {
        self.system = name.into();
        self
    }

    pub(crate) fn service(mut self, name: impl Into<String>) -> Self {
        self.service = Some(name.into());
        self
    }

    /// Writes how long an event waited, and begins the span of its way to the broker, if its trace is sampled.
    fn trace(&self, event: &OutboxEvent, now: SystemTime) -> Option<T::Span> {
        let origin = trace_of(&event.content().headers).and_then(|context| remote(&context));
        let origin = origin.filter(SpanContext::is_sampled)?;
        let created = SystemTime::from(event.lifecycle().created_at());
        let wait = self.span("wait", event).with_kind(SpanKind::Internal).with_start_time(created);
        let mut wait = self.tracer.build_with_context(wait, &from(origin.clone()));
        if let Some(lane) = event.lane() {
            wait.set_attribute(KeyValue::new(attribute::LANE, i64::from(lane.number())));
        }
        if let Some(is_held) = event.is_held_head() {
            wait.set_attribute(KeyValue::new(attribute::HELD, is_held));
        }
        wait.end_with_timestamp(now.max(created));

        let send = self.span("send", event).with_kind(SpanKind::Client).with_start_time(now);
        let send = send.with_links(vec![Link::new(origin.clone(), Vec::new(), 0)]);
        let mut send = self.tracer.build_with_context(send, &from(origin));
        send.set_attribute(KeyValue::new(attribute::OPERATION_NAME, "send"));
        send.set_attribute(KeyValue::new(attribute::OPERATION_TYPE, "send"));
        if let Some(client) = self.publisher.client_id() {
            send.set_attribute(KeyValue::new(attribute::CLIENT, client.to_owned()));
        }
        Some(send)
    }

    fn span(&self, operation: &str, event: &OutboxEvent) -> SpanBuilder {
        let name: Cow<'static, str> = format!("{operation} {}", event.topic()).into();
        let mut attributes = vec![
            KeyValue::new(attribute::SYSTEM, self.system.clone()),
            KeyValue::new(attribute::DESTINATION, event.topic().to_owned()),
            KeyValue::new(attribute::MESSAGE_ID, event.id().to_string()),
            KeyValue::new(attribute::EVENT_TYPE, event.event_type().to_owned()),
            KeyValue::new(attribute::ATTEMPT, i64::from(event.lifecycle().attempts_made()) + 1),
        ];
        attributes.extend(self.service.iter().map(|name| KeyValue::new(attribute::SERVICE, name.clone())));
        SpanBuilder::from_name(name).with_attributes(attributes)
    }
}

/// Ends the span of an event whose answer is there.
fn end<S: Span>(span: &mut S, report: &DeliveryReport) {
    if let Some(placed) = report.placed {
        span.set_attribute(KeyValue::new(attribute::PARTITION, placed.partition.to_string()));
        span.set_attribute(KeyValue::new(attribute::OFFSET, placed.offset));
    }
    if let Err(error) = &report.result {
        span.set_attribute(KeyValue::new(attribute::ERROR_TYPE, format!("{:?}", error.kind())));
        span.set_status(Status::error(""));
    }
    span.end();
}

#[async_trait]
impl<P: EventPublisher, T: Tracer<Span: Send> + Send + Sync + 'static> EventPublisher
    for TracedPublisher<P, T>
{
    fn send_order(&self) -> SendOrder {
        self.publisher.send_order()
    }

    fn client_id(&self) -> Option<&str> {
        self.publisher.client_id()
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        let now = SystemTime::now();
        let spans = events.iter().filter_map(|event| Some((event.id(), self.trace(event, now)?)));
        let spans: HashMap<EventId, T::Span> = spans.collect();
        if spans.is_empty() {
            return self.publisher.submit(events, reporter).await;
        }
        let open = Mutex::new(spans);
        let reporter = reporter.inspect(move |report| {
            let ended = open.lock().unwrap_or_else(PoisonError::into_inner).remove(&report.id);
            if let Some(mut span) = ended {
                end(&mut span, report);
            }
        });
        self.publisher.submit(events, &reporter).await;
    }

    async fn purge(&self) {
        self.publisher.purge().await;
    }

    async fn check(&self) -> Result<()> {
        self.publisher.check().await
    }
}

impl<P, T> fmt::Debug for TracedPublisher<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TracedPublisher")
    }
}
