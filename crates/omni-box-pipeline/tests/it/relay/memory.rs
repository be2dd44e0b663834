//! A relay between the test kit's store and broker, in tokio's paused time.

use omni_box_core::{DeliveryMode, EventStatus, Jitter, OutboxRepository, RawEventConverter, RetryPolicy};
use omni_box_pipeline::OutboxRelayBuilder;
use omni_box_testkit::{FaultPlan, FaultyPublisher, MemoryBroker, MemoryPublisher, MemoryStore};
use tokio::time::{Instant, timeout};

use super::*;

pub(super) const TOPIC: &str = "orders";
/// The longest wait between two tries, which is half of it at least once it is reached.
pub(super) const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// The table and the topic of a test, and what fails on the way to the topic.
pub(super) struct Memory {
    pub(super) store: MemoryStore,
    pub(super) broker: MemoryBroker,
    pub(super) plan: FaultPlan,
}

impl Memory {
    pub(super) fn new(mode: DeliveryMode) -> Self {
        let store = match mode {
            DeliveryMode::Rows => MemoryStore::builder().rows().build(),
            _ => MemoryStore::new(),
        };
        let broker = MemoryBroker::new();
        broker.create_topic(TOPIC, 2);
        Self { store, broker, plan: FaultPlan::new() }
    }

    pub(super) fn publisher(&self) -> FaultyPublisher<MemoryPublisher> {
        FaultyPublisher::new(self.broker.publisher(RawEventConverter), &self.plan)
    }

    /// A relay on `store`, which is the test's own or stands before it.
    pub(super) fn relay<S: OutboxRepository>(&self, store: S) -> OutboxRelayBuilder<S> {
        let retry = RetryPolicy::new(Duration::from_secs(1), LONGEST_RETRY, Jitter::Equal);
        OutboxRelay::builder(store, self.publisher()).outage_retry(retry.expect("a policy"))
    }

    pub(super) async fn enqueue(&self, keys: &[&str]) -> Result<()> {
        self.enqueue_to(TOPIC, keys).await
    }

    pub(super) async fn enqueue_to(&self, topic: &str, keys: &[&str]) -> Result<()> {
        let mut tx = self.store.begin().await?;
        for key in keys {
            let event = NewOutboxEvent::new(
                "order.placed",
                topic,
                &serde_json::json!({"key": key, "text": "canary-in-the-payload"}),
            );
            let event = OmniBoxDomainService::default().create_outbox_event(event.partition_key(*key))?;
            self.store.create(&mut tx, &event).await?;
        }
        Ok(self.store.commit(tx).await?)
    }

    pub(super) async fn enqueue_one(&self, topic: &str, key: Option<&str>) -> Result<()> {
        let event = NewOutboxEvent::new(
            "order.placed",
            topic,
            &serde_json::json!({"key": key, "text": "canary-in-the-payload"}),
        );
        let event = match key {
            Some(key) => event.partition_key(key),
            None => event,
        };
        let mut tx = self.store.begin().await?;
        self.store.create(&mut tx, &OmniBoxDomainService::default().create_outbox_event(event)?).await?;
        Ok(self.store.commit(tx).await?)
    }

    pub(super) fn published(&self) -> usize {
        self.broker.records(TOPIC).len()
    }

    /// Whether everything that was enqueued for a topic is on it, once and in the order of its key.
    pub(super) fn is_in_order(&self, topic: &str) -> bool {
        let events = self.store.outbox_events().into_iter();
        let enqueued = ids_by_key(&events.filter(|event| event.topic() == topic).collect::<Vec<_>>());
        let mut published: HashMap<String, Vec<EventId>> = HashMap::new();
        for record in self.broker.records(topic) {
            let id = record.header("event_id").and_then(|id| uuid::Uuid::parse_str(id).ok()).expect("an id");
            let key = String::from_utf8_lossy(&record.key.expect("a key")).into_owned();
            published.entry(key).or_default().push(id.into());
        }
        published == enqueued
    }

    /// Waits until so many events are published once and completed, and says how long that took.
    pub(super) async fn completed(&self, events: usize) -> Duration {
        let took = self.marked(events).await;
        assert_eq!(self.published(), events);
        took
    }

    /// Waits until so many events are completed, however often they were published, and says how long that took.
    pub(super) async fn marked(&self, events: usize) -> Duration {
        let begun = Instant::now();
        let all_completed = || {
            let completed = |event: &OutboxEvent| event.status() == EventStatus::Completed;
            self.store.outbox_events().iter().filter(|event| completed(event)).count() >= events
        };
        let completed = async {
            while !all_completed() {
                // nothing tells when a row is written: in paused time a tick costs nothing
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(600), completed).await.expect("everything is completed");
        begun.elapsed()
    }

    /// Whether every event that is not completed waits as if it had never been tried: no worker has claimed it, no attempt is spent.
    pub(super) fn is_untouched(&self) -> bool {
        let untouched = |event: &OutboxEvent| {
            let life = event.lifecycle();
            match life.status() {
                EventStatus::Completed => true,
                EventStatus::Pending => life.attempts_made() == 0 && life.lock().is_none(),
                EventStatus::Failed => false,
            }
        };
        self.store.outbox_events().iter().all(untouched)
    }

    pub(super) fn attempts_made(&self) -> u32 {
        self.store.outbox_events().iter().map(|event| event.lifecycle().attempts_made()).sum()
    }
}

/// Runs a relay in this test's runtime.
pub(super) fn start<S: OutboxRepository>(relay: OutboxRelayBuilder<S>) -> Running {
    let (relay, shutdown) = (relay.build().expect("settings are valid"), CancellationToken::new());
    Running { task: tokio::spawn(relay.run(shutdown.clone())), shutdown }
}
