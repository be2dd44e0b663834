//! The span of an event's time in the outbox.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use omni_box_core::{Event, EventPublisher, OutboxEvent, Reporter, Result, SendOrder, trace_of};
use opentelemetry::KeyValue;
use opentelemetry::trace::{Span, SpanBuilder, SpanKind, Tracer};

use crate::attribute;
use crate::context::{from, remote};

/// A publisher whose events leave a span `wait <topic>`: from an event's creation until it is handed to the broker.
///
/// - Only events of a sampled trace leave one; its parent is the span that enqueued the event.
/// - Each attempt leaves its own, with `omni_box.attempt`.
/// - It begins by the clock of the database and ends by this machine's. One that would end before it begins has no duration.
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
}

impl<P: EventPublisher, T: Tracer + Send + Sync + 'static> TracedPublisher<P, T> {
    /// Publishes by another publisher, and writes spans by a tracer.
    pub fn new(publisher: P, tracer: T) -> Self {
        Self { publisher, tracer }
    }

    fn trace(&self, event: &OutboxEvent, now: SystemTime) {
        let origin = trace_of(&event.content().headers).and_then(|context| remote(&context));
        let Some(origin) = origin.filter(|origin| origin.is_sampled()) else { return };
        let created = SystemTime::from(event.lifecycle().created_at());
        let attributes = vec![
            KeyValue::new(attribute::DESTINATION, event.topic().to_owned()),
            KeyValue::new(attribute::MESSAGE_ID, event.id().to_string()),
            KeyValue::new(attribute::EVENT_TYPE, event.event_type().to_owned()),
            KeyValue::new(attribute::ATTEMPT, i64::from(event.lifecycle().attempts_made()) + 1),
        ];
        let name: Cow<'static, str> = format!("wait {}", event.topic()).into();
        let wait = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Internal)
            .with_start_time(created)
            .with_attributes(attributes);
        self.tracer.build_with_context(wait, &from(origin)).end_with_timestamp(now.max(created));
    }
}

#[async_trait]
impl<P: EventPublisher, T: Tracer + Send + Sync + 'static> EventPublisher for TracedPublisher<P, T> {
    fn send_order(&self) -> SendOrder {
        self.publisher.send_order()
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        let now = SystemTime::now();
        for event in &events {
            self.trace(event, now);
        }
        self.publisher.submit(events, reporter).await;
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
