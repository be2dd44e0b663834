//! `steps`: what all steps that are ready to use cost an event, in memory.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use omni_box::broker::{EventPublisher, Reporter, SendOrder};
use omni_box::event::{EventContent, NewInboxEvent, Payload};
use omni_box::otel::{OpenTelemetryStep, TracedPublisher};
use omni_box::pipeline::{
    CircuitBreakerStep, DlqStep, DlqStorage, DryRun, MetricsStep, Outcome, SharedBreaker,
    SiblingDeduplicationStep,
};
use omni_box::prelude::*;
use omni_box::prometheus::PrometheusMetrics;
use omni_box::prometheus::prometheus::Registry;
use omni_box::testkit::MemoryStore;

use crate::report::Report;
use crate::run::Run;

const EVENT_TYPE: &str = "bench.order";
const TOPIC: &str = "orders";
/// Events of a batch.
const BATCH: usize = 60;
/// The fastest one tells the cost: what else runs on the machine makes others slower.
const ROUNDS: usize = 7;
/// A trace that is not sampled, as almost all are.
const TRACE: (&str, &str) = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");

/// Takes events through the stack of each side, and through handler and broker alone.
pub(crate) async fn run(run: &Run, events: usize) -> Result<Report> {
    let registry = Registry::new();
    let metrics = PrometheusMetrics::new(&registry)?;
    run.progress.begin(events * 2);
    let inbox = inbox(&metrics, events).await?;
    run.progress.at(events);
    let outbox = outbox(&metrics, events).await?;
    run.progress.at(events * 2);
    // each round was told to the registry
    let series: usize = registry.gather().iter().map(|family| family.get_metric().len()).sum();
    ensure!(series > 0, "the registry was told nothing");
    let micros = |sides: &Sides| sides.full.saturating_sub(sides.bare).as_secs_f64() * 1e6 / events as f64;
    let remark = format!(
        "{:.2} us an event more than the handler alone, of an outbox {:.2} us more than the broker; at most 2",
        micros(&inbox),
        micros(&outbox)
    );
    let alone = events as f64 / inbox.bare.as_secs_f64();
    Ok(Report::new(run.name, events, inbox.full).floor(alone, remark))
}

/// How long all events took: with all steps, and without any.
struct Sides {
    full: Duration,
    bare: Duration,
}

/// The fastest of several rounds.
async fn fastest(mut round: impl AsyncFnMut() -> Result<()>) -> Result<Duration> {
    let mut fastest = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        round().await?;
        fastest = fastest.min(start.elapsed());
    }
    Ok(fastest)
}

/// Steps that both sides have.
fn common<E: Event>() -> Result<DryRun<E>>
where
    Nowhere: DlqStorage<E>,
{
    Ok(DryRun::new()
        .step(CircuitBreakerStep::new())
        .step(SharedBreaker::new(MemoryStore::new(), "bench")?)
        .step(DlqStep::new(Nowhere))
        .step(SiblingDeduplicationStep::new()))
}

/// A storage of dead letters, of which there are none.
struct Nowhere;

#[async_trait]
impl<E: Event> DlqStorage<E> for Nowhere {
    async fn move_to_dlq(&self, _: &E, _: &str) -> Result<(), Box<dyn StdError + Send + Sync>> {
        Ok(())
    }
}

async fn inbox(metrics: &PrometheusMetrics, events: usize) -> Result<Sides> {
    async fn handle(_cx: InboxContext<'_, MemoryStore>) {}

    let domain = OmniBoxDomainService::default();
    let group = ConsumerGroup::new("bench")?;
    let message = |number: usize| {
        let mut content = EventContent::new(EVENT_TYPE, Payload::from_text(r#"{"order": 7}"#)?);
        content.headers.push(TRACE.0, TRACE.1);
        content.idempotency_key = Some(format!("key-{number}"));
        let id = format!("message-{number}");
        domain.create_inbox_event(NewInboxEvent::new(id, group.clone(), TOPIC, content))
    };
    let messages: Vec<InboxEvent> = (0..events).map(message).collect::<omni_box::Result<_>>()?;
    let (store, worker) = (MemoryStore::new(), WorkerId::new("bench")?);
    let mut tx = store.begin().await?;
    let alone = on(EVENT_TYPE, handle);
    let bare = fastest(async || {
        for message in &messages {
            let cx = InboxContext::new(message, &mut *tx, &store, &worker);
            ensure!(alone.handle(cx).await.is_ok(), "not all were handled");
        }
        Ok(())
    });
    let bare = bare.await?;
    let traced = on(EVENT_TYPE, handle).layer(OpenTelemetryStep::new("bench"));
    let steps = common::<InboxEvent>()?.step(MetricsStep::new(metrics.clone()));
    let full = fastest(async || {
        for batch in messages.chunks(BATCH) {
            let handled = steps.batch(batch, async |message| {
                let cx = InboxContext::new(message, &mut *tx, &store, &worker);
                traced.handle(cx).await.map_or(Outcome::Retried, |_| Outcome::Completed)
            });
            let handled = handled.await;
            ensure!(
                handled.iter().all(|end| end.outcome == Some(Outcome::Completed)),
                "not all were handled"
            );
        }
        Ok(())
    });
    Ok(Sides { full: full.await?, bare })
}

/// A broker that acknowledges at once.
struct Acknowledging;

#[async_trait]
impl EventPublisher for Acknowledging {
    fn send_order(&self) -> SendOrder {
        SendOrder::OnePerKey
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        for event in events {
            reporter.report(event.id(), Ok(()));
        }
    }

    async fn purge(&self) {}

    async fn check(&self) -> omni_box::Result<()> {
        Ok(())
    }
}

async fn outbox(metrics: &PrometheusMetrics, events: usize) -> Result<Sides> {
    let domain = OmniBoxDomainService::default();
    let payload = serde_json::json!({"order": 7});
    let event = |number: usize| {
        let event = NewOutboxEvent::new(EVENT_TYPE, TOPIC, &payload).header(TRACE.0, TRACE.1);
        domain.create_outbox_event(event.idempotency_key(format!("key-{number}")))
    };
    let events: Vec<OutboxEvent> = (0..events).map(event).collect::<omni_box::Result<_>>()?;
    let shared: Vec<Arc<OutboxEvent>> = events.iter().cloned().map(Arc::new).collect();
    let (reporter, mut reports) = Reporter::channel();
    let mut acknowledged = move |batch: usize| (0..batch).all(|_| reports.try_recv().is_ok());
    let bare = fastest(async || {
        for batch in shared.chunks(BATCH) {
            Acknowledging.submit(batch.to_vec(), &reporter).await;
            ensure!(acknowledged(batch.len()), "not all were acknowledged");
        }
        Ok(())
    });
    let bare = bare.await?;
    let traced = TracedPublisher::new(Acknowledging, opentelemetry::global::tracer("bench"));
    let steps = common::<OutboxEvent>()?.step(MetricsStep::new(metrics.clone()));
    let full = fastest(async || {
        for (batch, shared) in events.chunks(BATCH).zip(shared.chunks(BATCH)) {
            traced.submit(shared.to_vec(), &reporter).await;
            ensure!(acknowledged(batch.len()), "not all were acknowledged");
            let sent = steps.batch(batch, async |_| Outcome::Published).await;
            ensure!(sent.iter().all(|end| end.outcome == Some(Outcome::Published)), "not all were sent");
        }
        Ok(())
    });
    Ok(Sides { full: full.await?, bare })
}
