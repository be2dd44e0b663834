//! What the metrics of the outbox are told, which is the same in every mode.

use std::sync::{Arc, Mutex};

use omni_box_core::{BatchSize, DeliveryMode, ErrorKind, FetchFilters, OutboxMetrics, WorkerId};
use omni_box_pipeline::{OutboxPublisher, RejectionPolicy};
use omni_box_testkit::Operation;

use super::memory::{Memory, TOPIC, start};
use super::*;

/// How long the broker takes for an event.
const TAKES: Duration = Duration::from_secs(3);

/// Writes down what it is told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn note(&self, line: impl Into<String>) {
        self.0.lock().expect("no test panics with it").push(line.into());
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no test panics with it").clone()
    }
}

impl OutboxMetrics for Told {
    fn batch_locked(&self, events: usize) {
        self.note(format!("{events} taken"));
    }

    fn event_published(&self, event_type: &str, status: &'static str) {
        self.note(format!("{event_type} {status}"));
    }

    fn publish_duration(&self, event_type: &str, elapsed: Duration) {
        self.note(format!("{event_type} in {} s", elapsed.as_secs()));
    }

    fn lease_lost(&self) {
        self.note("lease lost");
    }

    fn key_held(&self) {
        self.note("key held");
    }
}

/// Who publishes.
#[derive(Debug, Clone, Copy)]
enum By {
    Relay(DeliveryMode),
    Batch(DeliveryMode),
}

impl By {
    fn mode(self) -> DeliveryMode {
        match self {
            Self::Relay(mode) | Self::Batch(mode) => mode,
        }
    }

    /// Publishes until so many lines were told, or one batch, and returns what was told.
    async fn publish(self, memory: &Memory, policy: RejectionPolicy, lines: usize) -> Result<Vec<String>> {
        let told = Told::default();
        match self {
            Self::Relay(_) => {
                let relay = memory.relay(memory.store.clone()).rejection_policy(policy);
                let running = start(relay.metrics(told.clone()));
                eventually(SOON, async || told.lines().len() >= lines).await;
                running.stop().await?;
            }
            Self::Batch(_) => {
                let outbox = OutboxPublisher::builder(memory.store.clone(), memory.publisher());
                let outbox = outbox.rejection_policy(policy).metrics(told.clone()).build()?;
                let (worker, size) = (WorkerId::new("worker")?, BatchSize::new(100)?);
                outbox
                    .publish_batch(&worker, size, &FetchFilters::default(), &CancellationToken::new())
                    .await?;
                outbox.close().await?;
            }
        }
        Ok(told.lines())
    }
}

#[tokio::test(start_paused = true)]
async fn are_told_the_same_in_every_mode() -> Result<()> {
    use RejectionPolicy::{HoldKey, SkipEvent};

    let published: &[&str] = &["1 taken", "order.placed published", "order.placed in 3 s"];
    let held: &[&str] = &["1 taken", "order.placed retried", "key held"];
    let retried: &[&str] = &["1 taken", "order.placed retried"];
    let failed: &[&str] = &["1 taken", "order.placed failed"];
    let key = Some("key");
    let table = [
        (None, SkipEvent, key, published),
        (Some(ErrorKind::Handler), SkipEvent, key, held),
        (Some(ErrorKind::TopicUnavailable), SkipEvent, key, held),
        (Some(ErrorKind::Rejected), SkipEvent, key, failed),
        (Some(ErrorKind::Rejected), HoldKey, key, held),
        (None, SkipEvent, None, published),
        (Some(ErrorKind::Handler), SkipEvent, None, retried),
        (Some(ErrorKind::Rejected), SkipEvent, None, failed),
    ];
    for mode in [DeliveryMode::Lanes, DeliveryMode::Rows] {
        for by in [By::Relay(mode), By::Batch(mode)] {
            for (failure, policy, key, expected) in table {
                let memory = Memory::new(by.mode());
                match failure {
                    None => memory.plan.on(Operation::Deliver).delay(TAKES),
                    Some(kind) => memory.plan.on(Operation::Deliver).fail_before(kind),
                }
                memory.enqueue_one(TOPIC, key).await?;
                let told = by.publish(&memory, policy, expected.len()).await?;
                assert_eq!(told, expected, "{by:?}: {failure:?} with {policy:?}, key {key:?}");
            }
        }
    }
    Ok(())
}

/// The broker's answer is about the broker, not about an event.
#[tokio::test(start_paused = true)]
async fn are_not_told_of_events_that_were_given_back() -> Result<()> {
    for mode in [DeliveryMode::Lanes, DeliveryMode::Rows] {
        for by in [By::Relay(mode), By::Batch(mode)] {
            let memory = Memory::new(by.mode());
            memory.plan.on(Operation::Submit).fail_before(ErrorKind::Unavailable);
            memory.enqueue_one(TOPIC, Some("key")).await?;
            let told = by.publish(&memory, RejectionPolicy::SkipEvent, 4).await?;
            let expected: &[&str] = match by {
                By::Relay(_) => &["1 taken", "1 taken", "order.placed published", "order.placed in 0 s"],
                By::Batch(_) => &["1 taken"],
            };
            assert_eq!(told, expected, "{by:?}");
        }
    }
    Ok(())
}
