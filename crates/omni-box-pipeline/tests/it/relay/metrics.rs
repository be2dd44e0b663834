//! What the metrics of the outbox are told, which is the same in every mode.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use omni_box_core::{BatchSize, DeliveryMode, ErrorKind, FetchFilters, OutboxMetrics, WorkerId};
use omni_box_pipeline::{OutboxPublisher, ProcessingContext, ProcessingStep, RejectionPolicy, StepResult};
use omni_box_testkit::Operation;

use super::memory::{Memory, TOPIC, start};
use super::*;

/// How long the broker takes for an event.
const TAKES: Duration = Duration::from_secs(3);
/// How long an event is due before it is read.
const WAITED: Duration = Duration::from_secs(60);

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
        if events > 0 {
            self.note(format!("{events} taken"));
        }
    }

    fn event_published(&self, event_type: &str, status: &'static str) {
        self.note(format!("{event_type} {status}"));
    }

    fn publish_duration(&self, event_type: &str, elapsed: Duration) {
        self.note(format!("{event_type} in {} s", elapsed.as_secs()));
    }

    fn publish_delay(&self, topic: &str, elapsed: Duration) {
        self.note(format!("{topic} after {} s", elapsed.as_secs()));
    }

    fn lease_lost(&self) {
        self.note("lease lost");
    }

    fn key_held(&self, reason: &'static str) {
        self.note(format!("key held: {reason}"));
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

    let published: &[&str] =
        &["1 taken", "order.placed published", "order.placed in 3 s", "orders after 63 s"];
    let retry: &[&str] = &["1 taken", "order.placed retried", "key held: retry"];
    let topic: &[&str] = &["1 taken", "order.placed retried", "key held: topic"];
    let rejected: &[&str] = &["1 taken", "order.placed retried", "key held: rejected"];
    let retried: &[&str] = &["1 taken", "order.placed retried"];
    let failed: &[&str] = &["1 taken", "order.placed failed"];
    let key = Some("key");
    let table = [
        (None, SkipEvent, key, published),
        (Some(ErrorKind::Handler), SkipEvent, key, retry),
        (Some(ErrorKind::TopicUnavailable), SkipEvent, key, topic),
        (Some(ErrorKind::Rejected), SkipEvent, key, failed),
        (Some(ErrorKind::Rejected), HoldKey, key, rejected),
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
                memory.store.clock().advance(WAITED);
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
            let mut told = by.publish(&memory, RejectionPolicy::SkipEvent, 5).await?;
            // it has waited for the broker, for a time that is drawn
            if let Some(wait) = told.iter_mut().find(|line| line.starts_with("orders after ")) {
                *wait = "orders after a wait".into();
            }
            let expected: &[&str] = match by {
                By::Relay(_) => &[
                    "1 taken",
                    "1 taken",
                    "order.placed published",
                    "order.placed in 0 s",
                    "orders after a wait",
                ],
                By::Batch(_) => &["1 taken"],
            };
            assert_eq!(told, expected, "{by:?}");
        }
    }
    Ok(())
}

/// What the gauges of one relay say now.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Levels>>);

#[derive(Debug, Clone, Default, PartialEq)]
struct Levels {
    mode: Option<DeliveryMode>,
    in_flight: i64,
    lanes: i64,
    closed: Vec<&'static str>,
    progress: usize,
}

impl Shown {
    fn change(&self, change: impl FnOnce(&mut Levels)) {
        change(&mut self.0.lock().expect("no test panics with it"));
    }

    fn now(&self) -> Levels {
        self.0.lock().expect("no test panics with it").clone()
    }

    async fn until(&self, is_so: impl Fn(&Levels) -> bool) {
        eventually(SOON, async || is_so(&self.now())).await;
    }
}

impl OutboxMetrics for Shown {
    fn delivery_mode(&self, mode: DeliveryMode) {
        self.change(|levels| levels.mode = Some(mode));
    }

    fn events_in_flight(&self, by: i64) {
        self.change(|levels| levels.in_flight += by);
    }

    fn owned_lanes(&self, by: i64) {
        self.change(|levels| levels.lanes += by);
    }

    fn gate(&self, gate: &'static str, is_closed: bool) {
        self.change(|levels| match is_closed {
            true => levels.closed.push(gate),
            false => levels.closed.retain(|closed| *closed != gate),
        });
    }

    fn progressed(&self) {
        self.change(|levels| levels.progress += 1);
    }
}

#[tokio::test(start_paused = true)]
async fn gauges_follow_a_relay_and_end_with_it() -> Result<()> {
    for mode in [DeliveryMode::Lanes, DeliveryMode::Rows] {
        for is_killed in [false, true] {
            let (memory, shown) = (Memory::new(mode), Shown::default());
            memory.plan.on(Operation::Deliver).fail_before(ErrorKind::Unavailable);
            memory.plan.on(Operation::Deliver).nth(2).freeze_before();
            memory.enqueue_one(TOPIC, Some("key")).await?;
            let running = start(memory.relay(memory.store.clone()).metrics(shown.clone()));
            shown.until(|levels| levels.closed == ["broker"]).await;
            memory.plan.until_frozen().await;
            shown.until(|levels| levels.in_flight == 1).await;
            let lanes = if mode == DeliveryMode::Lanes { 16 } else { 0 };
            let Levels { mode: told, lanes: owned, progress, .. } = shown.now();
            assert_eq!((told, owned, progress), (Some(mode), lanes, 0), "{mode}: nothing is done yet");
            if is_killed {
                running.task.abort();
                assert!(running.task.await.expect_err("it was aborted").is_cancelled());
            } else {
                memory.plan.release();
                shown.until(|levels| levels.progress > 0 && levels.in_flight == 0).await;
                shown.until(|levels| levels.closed.is_empty()).await;
                running.stop().await?;
            }
            let Levels { in_flight, lanes, closed, .. } = shown.now();
            assert_eq!((in_flight, lanes, closed), (0, 0, vec![]), "{mode}: what it added is taken back");
        }
    }
    Ok(())
}

/// Two relays with one collector add up.
#[tokio::test(start_paused = true)]
async fn gauges_of_two_relays_are_a_sum() -> Result<()> {
    let (memory, shown) = (Memory::new(DeliveryMode::Lanes), Shown::default());
    let first = start(memory.relay(memory.store.clone()).worker_id("first").metrics(shown.clone()));
    shown.until(|levels| levels.lanes == 16).await;
    let other = Memory::new(DeliveryMode::Lanes);
    let second = start(other.relay(other.store.clone()).worker_id("second").metrics(shown.clone()));
    shown.until(|levels| levels.lanes == 32).await;
    first.stop().await?;
    assert_eq!(shown.now().lanes, 16);
    second.stop().await?;
    assert_eq!(shown.now().lanes, 0);
    Ok(())
}

/// Puts each event off.
struct PutsOff;

#[async_trait]
impl ProcessingStep<OutboxEvent> for PutsOff {
    async fn execute(&self, _event: &OutboxEvent, _cx: &mut ProcessingContext<'_>) -> StepResult {
        StepResult::skip()
    }
}

/// What a step has put off is neither its topic's fault nor its own.
#[tokio::test(start_paused = true)]
async fn a_key_that_a_step_puts_off_is_paused() -> Result<()> {
    for mode in [DeliveryMode::Lanes, DeliveryMode::Rows] {
        let (memory, told) = (Memory::new(mode), Told::default());
        memory.enqueue_one(TOPIC, Some("key")).await?;
        let running = start(memory.relay(memory.store.clone()).step(PutsOff).metrics(told.clone()));
        eventually(SOON, async || told.lines().len() >= 3).await;
        running.stop().await?;
        assert_eq!(told.lines()[..3], ["1 taken", "order.placed retried", "key held: paused"], "{mode}");
    }
    Ok(())
}
