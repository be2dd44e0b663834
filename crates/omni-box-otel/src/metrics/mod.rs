//! Metrics by a meter of OpenTelemetry.

mod inbox;
mod names;
mod outbox;
mod sampled;
mod sampler;
mod words;

use std::fmt;
use std::sync::Arc;

use opentelemetry::metrics::Meter;
use opentelemetry::{KeyValue, StringValue};

use self::inbox::Inbox;
use self::outbox::Outbox;
use self::sampled::Sampled;
pub use self::sampler::OtelSampler;
use self::words::Words;
use crate::attribute;

/// Event types that have series of their own.
const EVENT_TYPES: usize = 200;
/// Topics, and consumer groups, that have series of their own.
const TOPICS: usize = 100;

/// The metrics of relays and inboxes by a meter, as the alternative to those of Prometheus. A clone shares them.
///
/// It is the [`OutboxMetrics`](omni_box_core::OutboxMetrics) of relays and publishers, and the
/// [`InboxMetrics`](omni_box_core::InboxMetrics) of runners and workers. Names and meanings are on the page of this crate.
///
/// - Values of attributes are bounded: 200 event types and 100 topics and groups have series of their own, in the order in which they come. The
///   others share the value `other`. No key, id or error text is an attribute.
/// - One meter has one set of metrics: what a second one tells is added to the first, except for what is observed (watermarks, samples).
///
/// ```
/// use omni_box_core::EnvelopeEventConverter;
/// use omni_box_otel::OtelMetrics;
/// use omni_box_pipeline::OutboxRelay;
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// let metrics = OtelMetrics::new(&opentelemetry::global::meter("omni-box"));
/// let (store, publisher) = (MemoryStore::new(), MemoryBroker::new().publisher(EnvelopeEventConverter));
/// let relay = OutboxRelay::builder(store.clone(), publisher).metrics(metrics.clone()).build()?;
/// // beside it, for what only the tables know: Workers::new().task("samples", |stop| sampler.run(stop))
/// let sampler = metrics.sampler(store)?;
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Clone)]
pub struct OtelMetrics {
    outbox: Arc<Outbox>,
    inbox: Arc<Inbox>,
    sampled: Arc<Sampled>,
    labels: Arc<Labels>,
}

impl OtelMetrics {
    /// Makes the instruments, for messages of Kafka.
    pub fn new(meter: &Meter) -> Self {
        Self::of_system(meter, "kafka")
    }

    /// The same for another broker than Kafka, as `messaging.system` names it.
    pub fn of_system(meter: &Meter, system: impl Into<String>) -> Self {
        Self {
            outbox: Arc::new(Outbox::new(meter)),
            inbox: Arc::new(Inbox::new(meter)),
            sampled: Arc::new(Sampled::new(meter)),
            labels: Arc::new(Labels {
                system: system.into().into(),
                event_types: Words::new(EVENT_TYPES),
                topics: Words::new(TOPICS),
                groups: Words::new(TOPICS),
            }),
        }
    }
}

impl fmt::Debug for OtelMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMetrics").finish_non_exhaustive()
    }
}

/// Values of attributes.
struct Labels {
    system: StringValue,
    event_types: Words,
    topics: Words,
    groups: Words,
}

impl Labels {
    fn event_type(&self, event_type: &str) -> KeyValue {
        KeyValue::new(attribute::EVENT_TYPE, self.event_types.bounded(event_type))
    }

    fn topic(&self, topic: &str) -> KeyValue {
        KeyValue::new(attribute::DESTINATION, self.topics.bounded(topic))
    }

    fn group(&self, group: &str) -> KeyValue {
        KeyValue::new(attribute::GROUP, self.groups.bounded(group))
    }

    fn system(&self) -> KeyValue {
        KeyValue::new(attribute::SYSTEM, self.system.clone())
    }
}
