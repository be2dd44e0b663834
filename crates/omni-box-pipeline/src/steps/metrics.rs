//! Metrics of a pipeline of one's own.

use async_trait::async_trait;
use omni_box_core::{Event, InboxEvent, InboxMetrics, OutboxEvent, OutboxMetrics};
use tokio::time::Instant;

use crate::outcome::Outcome;
use crate::step::{ProcessingContext, ProcessingStep};

/// Tells metrics what became of the events that pass it, and how long that took.
///
/// The workers' own `metrics(..)` setters tell more, and in the same words: use one of the two, or everything counts twice.
///
/// ```
/// use omni_box_core::{InboxContext, InboxMetrics};
/// use omni_box_pipeline::{EventProcessorBuilder, HandlerExecutionStep, MetricsStep, on};
/// use omni_box_testkit::MemoryStore;
///
/// /// Prints what became of each message.
/// struct Printed;
///
/// impl InboxMetrics for Printed {
///     fn event_processed(&self, event_type: &str, outcome: &'static str) {
///         println!("{event_type}: {outcome}");
///     }
/// }
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
///
/// let worker = EventProcessorBuilder::inbox(MemoryStore::new(), "shipping")
///     .add_step(MetricsStep::new(Printed))
///     .add_step(HandlerExecutionStep::new(on("order.placed", ship)))
///     .build()?;
/// # drop(worker);
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Debug)]
pub struct MetricsStep<M>(M);

impl<M> MetricsStep<M> {
    /// Tells `metrics`.
    pub fn new(metrics: M) -> Self {
        Self(metrics)
    }
}

struct Begun(Instant);

#[async_trait]
impl<M: InboxMetrics> ProcessingStep<InboxEvent> for MetricsStep<M> {
    fn on_event_start(&self, _event: &InboxEvent, cx: &mut ProcessingContext<'_>) {
        cx.insert(Begun(Instant::now()));
    }

    fn on_event_end(&self, event: &InboxEvent, outcome: Outcome, cx: &mut ProcessingContext<'_>) {
        self.0.event_processed(event.event_type(), outcome.as_str());
        if let Some(Begun(at)) = cx.remove() {
            self.0.handler_duration(event.event_type(), at.elapsed());
        }
    }
}

#[async_trait]
impl<M: OutboxMetrics> ProcessingStep<OutboxEvent> for MetricsStep<M> {
    fn on_event_start(&self, _event: &OutboxEvent, cx: &mut ProcessingContext<'_>) {
        cx.insert(Begun(Instant::now()));
    }

    fn on_event_end(&self, event: &OutboxEvent, outcome: Outcome, cx: &mut ProcessingContext<'_>) {
        self.0.event_published(event.event_type(), outcome.as_str());
        if let Some(Begun(at)) = cx.remove()
            && outcome == Outcome::Published
        {
            self.0.publish_duration(event.event_type(), at.elapsed());
        }
    }
}
