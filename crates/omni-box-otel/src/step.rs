//! Traces as a step of a pipeline.

use async_trait::async_trait;
use omni_box_core::{HandlerError, HandlerOutcome, InboxContext, OutboxRepository, Store};
use omni_box_pipeline::{Around, HandlerLayer, Next, OutboxProcessorBuilder, OutboxStep};

use crate::layer::{ContextMode, TraceLayer};
use crate::publisher::TracedPublisher;

/// Traces of a pipeline that [`EventProcessorBuilder`](omni_box_pipeline::EventProcessorBuilder) builds, under the name of a service;
/// compatible with the Python library omni-box.
///
/// - In a pipeline of an inbox it is a [`TraceLayer`]: each handler runs in a span `process <topic>`.
/// - In a pipeline of an outbox it is a [`TracedPublisher`], by OpenTelemetry's global tracer of the service's name: `wait <topic>` and
///   `send <topic>`.
/// - Each of these spans has the service as `service.name`, beside that of the tracer provider's resource.
///
/// ```
/// use omni_box_core::InboxContext;
/// use omni_box_otel::OpenTelemetryStep;
/// use omni_box_pipeline::{EventProcessorBuilder, HandlerExecutionStep, on};
/// use omni_box_testkit::MemoryStore;
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
///
/// let processor = EventProcessorBuilder::inbox(MemoryStore::new(), "shipping")
///     .add_step(OpenTelemetryStep::new("shop"))
///     .add_step(HandlerExecutionStep::new(on("order.placed", ship)))
///     .build()?;
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "add it to a pipeline"]
pub struct OpenTelemetryStep {
    service: String,
    layer: TraceLayer,
}

impl OpenTelemetryStep {
    /// Continues traces, under the name of a service.
    pub fn new(service_name: impl Into<String>) -> Self {
        let service = service_name.into();
        Self { layer: TraceLayer::new().service(service.clone()), service }
    }

    /// How spans of handlers belong to the traces of their messages.
    pub fn mode(self, mode: ContextMode) -> Self {
        Self { layer: self.layer.mode(mode), ..self }
    }
}

#[async_trait]
impl<S: Store> HandlerLayer<S> for OpenTelemetryStep {
    async fn handle(
        &self,
        cx: InboxContext<'_, S>,
        next: Next<'_, S>,
    ) -> Result<HandlerOutcome, HandlerError> {
        self.layer.handle(cx, next).await
    }
}

impl<S: OutboxRepository> OutboxStep<S, Around> for OpenTelemetryStep {
    fn add_to(self, builder: OutboxProcessorBuilder<S>) -> OutboxProcessorBuilder<S> {
        builder.around_publisher(move |publisher| {
            let tracer = opentelemetry::global::tracer(self.service.clone());
            Box::new(TracedPublisher::new(publisher, tracer).service(self.service))
        })
    }
}
