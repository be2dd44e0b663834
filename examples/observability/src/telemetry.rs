//! Spans and logs: where they go, and how the program looks at its own.

use std::io;

use anyhow::Context as _;
use omni_box::broker::EventPublisher;
use omni_box::otel::TracedPublisher;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracer, SdkTracerProvider, SpanData};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

const SERVICE: &str = "shop";

/// What observes this process.
pub(crate) struct Telemetry {
    provider: SdkTracerProvider,
    /// Keeps all spans, for the program to show: a service of yours needs none.
    kept: InMemorySpanExporter,
}

impl Telemetry {
    /// Sends spans to a collector, if there is one, and logs as JSON to standard error.
    pub(crate) fn start(collector: Option<&str>) -> anyhow::Result<Self> {
        let kept = InMemorySpanExporter::default();
        let mut provider = SdkTracerProvider::builder()
            .with_resource(Resource::builder().with_service_name(SERVICE).build())
            .with_simple_exporter(kept.clone());
        if let Some(endpoint) = collector {
            let exporter = SpanExporter::builder().with_http().with_endpoint(endpoint).build();
            provider = provider.with_batch_exporter(exporter.context("--otlp")?);
        }
        let provider = provider.build();
        let level = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new("info"))?;
        let logs = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(io::stderr);
        let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer(SERVICE));
        tracing_subscriber::registry().with(level).with(logs).with(spans).init();
        // from now on each event keeps the trace of the code that enqueues it
        omni_box::otel::install();
        Ok(Self { provider, kept })
    }

    /// A relay's publisher, whose events leave spans.
    pub(crate) fn traced<P: EventPublisher>(&self, publisher: P) -> TracedPublisher<P, SdkTracer> {
        TracedPublisher::new(publisher, self.provider.tracer(SERVICE))
    }

    /// The spans that have ended so far.
    pub(crate) fn spans(&self) -> anyhow::Result<Vec<SpanData>> {
        Ok(self.kept.get_finished_spans()?)
    }

    /// Sends what is left to the collector.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        // waits for the collector's answer
        Ok(tokio::task::spawn_blocking(move || self.provider.shutdown()).await??)
    }
}

/// The trace that the current code belongs to, for a line of the log.
pub(crate) fn trace_id() -> String {
    tracing::Span::current().context().span().span_context().trace_id().to_string()
}
