//! Traces and metrics of omni-box by OpenTelemetry: one trace from the code that enqueues an event to the code that handles it.
//!
//! - [`install`], once in a process. Each event keeps the trace of the code that enqueues it, as the headers `traceparent` and `tracestate`
//!   of [W3C](https://www.w3.org/TR/trace-context/), and leaves a span `create <topic>`. The relay sends the context unchanged.
//!   [`install_with_baggage`] lets events carry entries of the baggage too, by name.
//! - [`TraceLayer`] around the handlers of a router: a span `process <topic>` continues the trace of the message, or links to it. What a
//!   handler enqueues belongs to that span.
//! - [`TracedPublisher`] around a relay's publisher: a span `wait <topic>` for the time that an event spent in the outbox, and `send <topic>`
//!   until the broker's answer.
//! - [`OpenTelemetryStep`] is both of these, as a step of a pipeline.
//! - Only sampled traces are kept and continued: whether one is recorded is decided where it begins, and holds days later. A context that
//!   is malformed counts as none.
//!
//! Spans come from [`tracing`], by the layer of `tracing-opentelemetry` 0.34, which goes with `opentelemetry` 0.33 alone. With another
//! version in the subscriber, no span has a context; [`install`]ed, that is one line of level WARN.
//!
//! ```
//! use omni_box_core::InboxContext;
//! use omni_box_otel::TraceLayer;
//! use omni_box_pipeline::EventRouter;
//! use omni_box_testkit::MemoryStore;
//! use opentelemetry::trace::TracerProvider;
//! use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
//! use tracing_subscriber::layer::SubscriberExt;
//!
//! // an exporter to your collector in a program
//! let provider = SdkTracerProvider::builder().with_simple_exporter(InMemorySpanExporter::default()).build();
//! let traces = tracing_opentelemetry::layer().with_tracer(provider.tracer("shop"));
//! let subscriber = tracing_subscriber::registry().with(traces); // `.init()` makes it that of the process
//!
//! omni_box_otel::install();
//!
//! async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
//!
//! let router = EventRouter::new().on("orders", "order.placed", ship).layer(TraceLayer::new());
//! # let _: EventRouter<MemoryStore> = router;
//! ```
//!
//! # Metrics
//! [`OtelMetrics`] tells a meter what `omni-box-prometheus` shows on a registry. Names of the semantic conventions have their attributes:
//! `messaging.system`, `messaging.operation.name`, `messaging.destination.name`, of consumers `messaging.consumer.group.name`, of what failed
//! `error.type`. Durations are in seconds.
//!
//! | name | kind, unit | attributes of its own | meaning |
//! |---|---|---|---|
//! | `messaging.client.sent.messages` | counter {message} | | answers of the broker; `error.type` is `retried` or `failed` |
//! | `messaging.client.operation.duration` | histogram s | | from the hand-over to the broker to its answer |
//! | `messaging.client.consumed.messages` | counter {message} | | messages received |
//! | `messaging.process.duration` | histogram s | `omni_box.event_type` | the handler alone, however it ended; `error.type` is `handler` |
//! | `omni_box.build.info` | gauge | `omni_box.version`, `omni_box.mode` | 1, once a relay knows its delivery mode |
//! | `omni_box.outbox.batch.size` | gauge {event} | | events of the last fetch |
//! | `omni_box.outbox.published` | counter {event} | `omni_box.event_type`, `omni_box.status` | outcomes of events |
//! | `omni_box.outbox.publish.delay` | histogram s | `messaging.destination.name` | from the row's creation (or due time) to the broker's acknowledgement |
//! | `omni_box.outbox.in_flight` | sum {event} | | events between their fetch and the record of their outcome |
//! | `omni_box.outbox.owned_lanes` | sum {lane} | | lanes that relays of this process own |
//! | `omni_box.outbox.gates.closed` | sum {relay} | `omni_box.gate` | relays of this process that wait out an outage |
//! | `omni_box.outbox.leases.lost` | counter {lease} | | leases lost to another owner; hand-overs are not |
//! | `omni_box.outbox.keys.held` | counter {key} | `omni_box.reason` | each time a key begins to wait |
//! | `omni_box.outbox.last_progress` | gauge s | | Unix time of the last acknowledgement, or of the last fetch that found nothing due |
//! | `omni_box.inbox.duplicates` | counter {message} | | messages that were handled before |
//! | `omni_box.inbox.processed` | counter {message} | `omni_box.event_type`, `omni_box.status` | outcomes of handlers |
//! | `omni_box.inbox.quarantined` | counter {message} | `omni_box.reason` | messages kept as raw bytes |
//! | `omni_box.inbox.committed` | counter {message} | | messages whose offsets the broker has taken note of |
//! | `omni_box.inbox.commit.failures` | counter {commit} | | commits of offsets that failed |
//! | `omni_box.inbox.delivery.delay` | histogram s | `messaging.destination.name` | from the record's timestamp to the commit of its effect |
//! | `omni_box.inbox.group.size` | histogram {message} | | messages of one transaction |
//! | `omni_box.inbox.assigned_partitions` | sum {partition} | | partitions assigned to runners of this process |
//! | `omni_box.inbox.in_flight` | sum {message} | | messages in memory |
//! | `omni_box.inbox.watermark.age` | gauge s | `messaging.consumer.group.name`, `messaging.destination.name` | longest time for which a partition's offset has stood still although a message is behind it; 0 when idle |
//!
//! An [`OtelSampler`] adds what only the tables know, the same in each process: take the greatest, never the sum. When a look fails, these are
//! absent until the next one that succeeds.
//!
//! | name | kind, unit | attributes of its own | meaning |
//! |---|---|---|---|
//! | `omni_box.outbox.oldest_due.age` | gauge s | | age of the oldest event that a relay should send now; 0 if none |
//! | `omni_box.outbox.backlog` | gauge {event} | | due events; exact to 10,000, then an estimate |
//! | `omni_box.outbox.held_keys` | gauge {key} | `omni_box.kind` | keys that wait: `retry`, or `parked` for an operator |
//! | `omni_box.outbox.oldest_held.age` | gauge s | | time since the creation of the oldest event that holds back its key |
//! | `omni_box.outbox.failed` | gauge {event} | | events given up and not resolved |
//! | `omni_box.outbox.unowned_lanes` | gauge {lane} | | lanes without a valid lease; absent in mode `rows` |
//! | `omni_box.oldest_transaction.age` | gauge s | | of the database, as far as the role may see |
//! | `omni_box.inbox.failed` | gauge {message} | `messaging.consumer.group.name` | messages given up and not resolved |
//! | `omni_box.inbox.in_quarantine` | gauge {message} | `messaging.consumer.group.name` | messages kept as raw bytes |
//! | `omni_box.inbox.pending` | gauge {message} | `messaging.consumer.group.name` | messages that are stored and due |
//! | `omni_box.inbox.oldest_pending.age` | gauge s | `messaging.consumer.group.name` | how long the oldest of them has been due |
//! | `omni_box.sample.time` | gauge s | | Unix time of the last sample that succeeded |
//! | `omni_box.sample.duration` | gauge s | | how long the last sample took |
//! | `omni_box.sample.failures` | counter {sample} | | samples that failed |

mod attribute;
mod baggage;
mod context;
mod layer;
mod metrics;
mod publisher;
mod step;

#[doc(no_inline)]
pub use opentelemetry;

pub use context::{install, install_with_baggage};
pub use layer::{ContextMode, TraceLayer};
pub use metrics::{OtelMetrics, OtelSampler};
pub use publisher::TracedPublisher;
pub use step::OpenTelemetryStep;
