//! Traces of omni-box by OpenTelemetry: one trace from the code that enqueues an event to the code that handles it.
//!
//! - [`install`], once in a process: each event keeps the trace of the code that enqueues it, as the headers `traceparent` and `tracestate`
//!   of [W3C](https://www.w3.org/TR/trace-context/), and leaves a span `create <topic>`. The relay sends the context unchanged.
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

mod attribute;
mod context;
mod layer;
mod publisher;
mod step;

pub use context::install;
pub use layer::{ContextMode, TraceLayer};
pub use publisher::TracedPublisher;
pub use step::OpenTelemetryStep;
