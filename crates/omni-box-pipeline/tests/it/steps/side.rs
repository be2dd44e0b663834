//! Every worker that takes steps, on a store and a broker in memory.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use omni_box_core::{
    BatchSize, ClaimToken, ConsumerGroup, Event, EventStatus, HandlerError, HandlerOutcome, InboxContext,
    InboxHandler, InboxRepository, Jitter, NewOutboxEvent, OutboxExt, OwnerId, RawEventConverter, Result,
    RetryPolicy, Store, TopicPartition, WorkerId,
};
use omni_box_harness::eventually;
use omni_box_pipeline::{InboxConsumerRunner, InboxWorker, OutboxRelay};
use omni_box_testkit::{MemoryBroker, MemoryStore, NewMessage};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::rule::Ruled;

pub(super) const LONG: Duration = Duration::from_secs(60);
const TOPIC: &str = "events";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lanes,
    Rows,
    Stream,
    Stored,
}

#[derive(Clone)]
pub(super) struct Side {
    kind: Kind,
    store: MemoryStore,
    broker: MemoryBroker,
    handled: Arc<Mutex<Vec<String>>>,
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

pub(super) fn short() -> RetryPolicy {
    RetryPolicy::new(Duration::from_millis(5), Duration::from_millis(50), Jitter::Equal).unwrap()
}

pub(super) fn group() -> ConsumerGroup {
    ConsumerGroup::new("group").unwrap()
}

/// Notes what it is called with.
struct Noting(Arc<Mutex<Vec<String>>>);

#[async_trait::async_trait]
impl InboxHandler<MemoryStore> for Noting {
    async fn handle(&self, cx: InboxContext<'_, MemoryStore>) -> Result<HandlerOutcome, HandlerError> {
        self.0.lock().unwrap().push(cx.event.event_type().to_owned());
        Ok(HandlerOutcome::Completed)
    }
}

impl Side {
    fn new(kind: Kind) -> Self {
        let builder = MemoryStore::builder();
        let store = if kind == Kind::Rows { builder.rows().build() } else { builder.build() };
        let broker = MemoryBroker::new();
        broker.create_topic(TOPIC, 1);
        Self { kind, store, broker, handled: Arc::default() }
    }

    pub(super) fn all() -> [Self; 4] {
        [Kind::Lanes, Kind::Rows, Kind::Stream, Kind::Stored].map(Self::new)
    }

    /// Those of an inbox.
    pub(super) fn inboxes() -> [Self; 2] {
        [Kind::Stream, Kind::Stored].map(Self::new)
    }

    /// The same with nothing in it.
    pub(super) fn anew(&self) -> Self {
        Self::new(self.kind)
    }

    pub(super) fn is_outbox(&self) -> bool {
        matches!(self.kind, Kind::Lanes | Kind::Rows)
    }

    pub(super) fn is_rows(&self) -> bool {
        self.kind == Kind::Rows
    }

    /// Adds an event whose type is its name.
    pub(super) async fn add(&self, name: &str, key: &str) {
        if self.is_outbox() {
            let mut tx = self.store.begin().await.unwrap();
            let event = NewOutboxEvent::new(name, TOPIC, &serde_json::json!({"name": name}));
            self.store.enqueue(&mut tx, event.partition_key(key)).await.unwrap();
            self.store.commit(tx).await.unwrap();
        } else {
            self.broker.send(NewMessage::to(TOPIC).key(key).header("event_type", name).value("{}"));
        }
    }

    /// Names of what was handled or sent, in order.
    pub(super) fn done(&self) -> Vec<String> {
        if !self.is_outbox() {
            return self.handled.lock().unwrap().clone();
        }
        let name = |value: &[u8]| {
            let value: serde_json::Value = serde_json::from_slice(value).unwrap();
            value["name"].as_str().unwrap().to_owned()
        };
        self.broker.records(TOPIC).iter().map(|record| name(record.value.as_deref().unwrap())).collect()
    }

    /// An event's status, attempts and last error.
    pub(super) fn row(&self, name: &str) -> Option<(EventStatus, u32, Option<String>)> {
        fn of<E: Event>(events: &[E], name: &str) -> Option<(EventStatus, u32, Option<String>)> {
            let event = events.iter().find(|event| event.event_type() == name)?;
            let life = event.lifecycle();
            Some((life.status(), life.attempts_made(), life.last_error().map(str::to_owned)))
        }
        match self.is_outbox() {
            true => of(&self.store.outbox_events(), name),
            false => of(&self.store.inbox_events(), name),
        }
    }

    /// Starts the worker with a step.
    pub(super) async fn start(&self, step: Ruled) -> Running {
        let (store, stop) = (self.store.clone(), CancellationToken::new());
        let second = Duration::from_secs(1);
        let task = match self.kind {
            Kind::Lanes | Kind::Rows => {
                let relay = OutboxRelay::builder(store, self.broker.publisher(RawEventConverter))
                    .lease_ttl(second)
                    .poll_interval(Duration::from_millis(5), Duration::from_millis(50))
                    .retry(short())
                    .outage_retry(short())
                    .step(step);
                tokio::spawn(relay.build().unwrap().run(stop.clone()))
            }
            Kind::Stream => {
                let consumer = self.broker.consumer(&group(), [TOPIC]);
                let runner = InboxConsumerRunner::builder(consumer, store)
                    .process_timeout(second / 4)
                    .retry(short())
                    .step(step)
                    .handler(Noting(self.handled.clone()));
                tokio::spawn(runner.build().unwrap().run(stop.clone()))
            }
            Kind::Stored => {
                self.store_all().await;
                let worker = InboxWorker::builder(store)
                    .consumer_group(group())
                    .process_timeout(second / 4)
                    .poll(Duration::from_millis(5), Duration::from_millis(50))
                    .concurrency_limit(1)
                    .retry(short())
                    .step(step)
                    .handler(Noting(self.handled.clone()));
                tokio::spawn(worker.build().unwrap().run(stop.clone()))
            }
        };
        Running { stop, task }
    }

    /// Leaves what a worker leaves whose process has ended: of an inbox, the next one goes one message at a time.
    pub(super) async fn killed(&self) {
        match self.kind {
            Kind::Lanes | Kind::Rows => {}
            Kind::Stream => {
                let owner = ClaimToken::new(&WorkerId::new("killed").unwrap(), OwnerId::generate());
                let partition = TopicPartition { topic: TOPIC.to_owned(), partition: 0 };
                self.store.attach(&group(), &partition, &owner).await.unwrap();
            }
            Kind::Stored => {
                let worker = InboxWorker::builder(self.store.clone())
                    .consumer_group(group())
                    .handler(Noting(self.handled.clone()))
                    .build()
                    .unwrap();
                assert!(worker.process_batch(BatchSize::new(1).unwrap()).await.unwrap().is_empty());
                // not closed
            }
        }
    }

    async fn store_all(&self) {
        let consumer = self.broker.consumer(&group(), [TOPIC]);
        let runner = InboxConsumerRunner::builder(consumer, self.store.clone()).build().unwrap();
        let stop = CancellationToken::new();
        let storing = tokio::spawn(runner.run(stop.clone()));
        eventually(LONG, async || self.broker.lag(&group(), TOPIC) == 0).await;
        stop.cancel();
        storing.await.unwrap().unwrap();
    }
}

pub(super) struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Running {
    pub(super) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(LONG, self.task).await.expect("stops in time").unwrap().unwrap();
    }
}
