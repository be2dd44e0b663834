//! One topic's, one partition's, one key's trouble stays its own: everything else is delivered while it lasts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use omni_box_core::{
    DeliveryMode, Error, ErrorKind, EventPublisher, EventStatus, RawEventConverter, Reporter, SendOrder,
};
use omni_box_testkit::{MemoryBroker, MemoryPublisher, MemoryStore};
use tokio::time::{Instant, sleep};

use super::*;

const TOPICS: [&str; 3] = ["orders", "stock", "invoices"];
const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
/// How long an event of others may take.
const SOON: Duration = Duration::from_secs(5);

/// What a broker does to some events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Missing,
    NotWritable,
    NoLeader,
    Slow,
    TooLarge,
    CompactedWithoutKey,
    Recreated,
}

impl Trouble {
    const ALL: [Self; 7] = [
        Self::Missing,
        Self::NotWritable,
        Self::NoLeader,
        Self::Slow,
        Self::TooLarge,
        Self::CompactedWithoutKey,
        Self::Recreated,
    ];

    /// The answer to each event; none while there is none.
    fn answer(self) -> Option<ErrorKind> {
        match self {
            Self::Missing | Self::NotWritable | Self::NoLeader | Self::Recreated => {
                Some(ErrorKind::TopicUnavailable)
            }
            Self::TooLarge => Some(ErrorKind::TooLarge),
            Self::CompactedWithoutKey => Some(ErrorKind::Rejected),
            Self::Slow => None,
        }
    }

    /// Whether its events are given up instead of waiting.
    fn is_final(self) -> bool {
        matches!(self, Self::TooLarge | Self::CompactedWithoutKey)
    }
}

/// Whom it meets.
#[derive(Debug, Clone, Copy)]
enum Scope {
    Topic,
    Partition,
    Key,
}

impl Scope {
    fn has(self, topic: &str, key: &str) -> bool {
        topic == TOPICS[0]
            && match self {
                Self::Topic => true,
                Self::Partition => KEYS[..4].contains(&key),
                Self::Key => key == KEYS[0],
            }
    }
}

type Queue = Arc<Mutex<VecDeque<(Arc<OutboxEvent>, Reporter)>>>;

/// A publisher with trouble.
struct Troubled {
    inner: Arc<MemoryPublisher>,
    trouble: Trouble,
    scope: Scope,
    lasts: Arc<AtomicBool>,
    /// What is taken slowly.
    slow: Queue,
}

impl Troubled {
    fn new(broker: &MemoryBroker, trouble: Trouble, scope: Scope) -> Self {
        let inner = Arc::new(broker.publisher(RawEventConverter));
        Self { inner, trouble, scope, lasts: Arc::new(AtomicBool::new(true)), slow: Queue::default() }
    }

    /// Sends the next event of the queue each two seconds, while the trouble lasts.
    fn send_slowly(&self) {
        let (inner, lasts, slow) = (self.inner.clone(), self.lasts.clone(), self.slow.clone());
        tokio::spawn(async move {
            loop {
                let pause = if lasts.load(Ordering::SeqCst) { 2_000 } else { 1 };
                sleep(Duration::from_millis(pause)).await;
                let next = slow.lock().unwrap().pop_front();
                let Some((event, reporter)) = next else { return };
                inner.submit(vec![event], &reporter).await;
            }
        });
    }
}

#[async_trait]
impl EventPublisher for Troubled {
    fn send_order(&self) -> SendOrder {
        self.inner.send_order()
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        let lasts = self.lasts.load(Ordering::SeqCst);
        let is_met = |event: &Arc<OutboxEvent>| {
            self.scope.has(event.topic(), event.partition_key().unwrap_or_default())
        };
        let (met, others): (Vec<_>, Vec<_>) = events.into_iter().partition(is_met);
        self.inner.submit(others, reporter).await;
        match self.trouble.answer() {
            _ if !lasts && self.slow.lock().unwrap().is_empty() => self.inner.submit(met, reporter).await,
            Some(kind) => {
                for event in met {
                    reporter.report(event.id(), Err(Error::new(kind, format!("{:?}", self.trouble))));
                }
            }
            None => {
                let was_idle = {
                    let mut slow = self.slow.lock().unwrap();
                    let was_idle = slow.is_empty();
                    slow.extend(met.into_iter().map(|event| (event, reporter.clone())));
                    was_idle && !slow.is_empty()
                };
                if was_idle {
                    self.send_slowly();
                }
            }
        }
    }

    async fn purge(&self) {
        let given_up = std::mem::take(&mut *self.slow.lock().unwrap());
        for (event, reporter) in given_up {
            reporter.report(event.id(), Err(Error::new(ErrorKind::Unavailable, "purged")));
        }
        self.inner.purge().await;
    }

    async fn check(&self) -> omni_box_core::Result<()> {
        self.inner.check().await
    }
}

/// Everything of a store: topic, key, number and status.
fn rows(store: &MemoryStore) -> Vec<(String, String, u64, EventStatus)> {
    let row = |event: &OutboxEvent| {
        let number =
            serde_json::from_str::<serde_json::Value>(event.payload().as_str()).unwrap()["number"].as_u64();
        let key = event.partition_key().unwrap_or_default().to_owned();
        (event.topic().to_owned(), key, number.unwrap(), event.lifecycle().status())
    };
    store.outbox_events().iter().map(row).collect()
}

async fn enqueue(store: &MemoryStore, round: usize) -> Result<()> {
    let mut tx = store.begin().await?;
    for topic in TOPICS {
        for key in KEYS {
            store.create(&mut tx, &event(topic, key, round)).await?;
        }
    }
    Ok(store.commit(tx).await?)
}

async fn check(mode: DeliveryMode, trouble: Trouble, scope: Scope) -> Result<()> {
    let case = format!("{trouble:?} of one {scope:?}, mode {mode}");
    let store = match mode {
        DeliveryMode::Rows => MemoryStore::builder().rows().build(),
        _ => MemoryStore::new(),
    };
    let broker = MemoryBroker::new();
    TOPICS.iter().for_each(|topic| broker.create_topic(topic, 2));
    let publisher = Troubled::new(&broker, trouble, scope);
    let lasts = publisher.lasts.clone();
    let relay = OutboxRelay::builder(store.clone(), publisher).build()?;
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(relay.run(shutdown.clone()));

    for round in 0..10 {
        enqueue(&store, round).await?;
        let begun = Instant::now();
        let others_wait = || {
            let waits = |(topic, key, _, status): &(String, String, u64, EventStatus)| {
                !scope.has(topic, key) && *status != EventStatus::Completed
            };
            rows(&store).iter().any(waits)
        };
        while others_wait() {
            sleep(Duration::from_millis(20)).await;
            assert!(begun.elapsed() < SOON, "{case}: others wait in round {round}");
        }
        sleep(Duration::from_secs(7)).await;
    }
    lasts.store(false, Ordering::SeqCst);
    let begun = Instant::now();
    while rows(&store).iter().any(|(.., status)| *status == EventStatus::Pending) {
        sleep(Duration::from_millis(100)).await;
        assert!(begun.elapsed() < Duration::from_secs(120), "{case}: it is over, and events wait");
    }
    shutdown.cancel();
    task.await??;

    // each key in order, whether it met trouble or not
    for topic in TOPICS {
        let mut last = std::collections::HashMap::new();
        let mut seen = HashSet::new();
        for record in broker.records(topic) {
            let id = record.header("event_id").unwrap_or_default().to_owned();
            let payload: serde_json::Value =
                serde_json::from_slice(record.value.as_deref().unwrap_or_default())?;
            let number = payload["number"].as_u64();
            if seen.insert(id) {
                let before = last.insert(record.key.clone(), number);
                assert!(before.flatten() < number, "{case}: order of a key of {topic}");
            }
        }
    }
    let failed = rows(&store).iter().filter(|(.., status)| *status == EventStatus::Failed).count();
    assert_eq!(failed > 0, trouble.is_final(), "{case}: {failed} failed");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn others_are_delivered_while_trouble_of_a_topic_a_partition_or_a_key_lasts() -> Result<()> {
    for trouble in Trouble::ALL {
        for scope in [Scope::Topic, Scope::Partition, Scope::Key] {
            check(DeliveryMode::Lanes, trouble, scope).await?;
        }
    }
    Ok(())
}
