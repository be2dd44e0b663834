//! A consumer that notes when each event became visible to it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

const PATIENCE: Duration = Duration::from_secs(60);

/// An event at the consumer.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    at: Instant,
    /// The time of its record in milliseconds since 1970: of a topic that keeps the broker's, when it was appended.
    recorded: Option<i64>,
}

/// When events came, by number.
pub(crate) struct Arrivals {
    arrived: HashMap<usize, Arrival>,
    /// The same moment by both clocks.
    clocks: (Instant, SystemTime),
}

impl Arrivals {
    pub(crate) fn at(&self, number: usize) -> Option<Instant> {
        Some(self.arrived.get(&number)?.at)
    }

    /// When the broker appended an event, to half a millisecond.
    pub(crate) fn appended(&self, number: usize) -> Option<Instant> {
        let millis = u64::try_from(self.arrived.get(&number)?.recorded?).ok()?;
        let recorded = UNIX_EPOCH + Duration::from_millis(millis) + Duration::from_micros(500);
        let (instant, system) = self.clocks;
        match recorded.duration_since(system) {
            Ok(later) => Some(instant + later),
            Err(earlier) => instant.checked_sub(earlier.duration()),
        }
    }
}

/// A consumer that runs.
pub(crate) struct Consuming {
    stop: DropGuard,
    count: Arc<AtomicUsize>,
    running: JoinHandle<Result<HashMap<usize, Arrival>>>,
    clocks: (Instant, SystemTime),
}

impl Consuming {
    pub(crate) fn start(brokers: &str, topic: &str, partitions: i32) -> Self {
        let (stop, count) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let running = {
            let (brokers, topic, stop, count) =
                (brokers.to_owned(), topic.to_owned(), stop.clone(), count.clone());
            tokio::task::spawn_blocking(move || consume(&brokers, &topic, partitions, &stop, &count))
        };
        Self { stop: stop.drop_guard(), count, running, clocks: (Instant::now(), SystemTime::now()) }
    }

    /// Waits for so many events.
    pub(crate) async fn until(self, events: usize) -> Result<Arrivals> {
        let deadline = Instant::now() + PATIENCE;
        while self.count.load(Ordering::Relaxed) < events && !self.running.is_finished() {
            ensure!(Instant::now() < deadline, "not all events came within 60 s after the last was written");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(self.stop);
        Ok(Arrivals { arrived: self.running.await??, clocks: self.clocks })
    }
}

fn consume(
    brokers: &str,
    topic: &str,
    partitions: i32,
    stop: &CancellationToken,
    count: &AtomicUsize,
) -> Result<HashMap<usize, Arrival>> {
    #[derive(serde::Deserialize)]
    struct Body {
        number: usize,
    }
    // the broker answers a fetch as soon as there is something: a longer wait costs no latency, and a shorter one costs processors
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let mut arrived = HashMap::new();
    while !stop.is_cancelled() {
        let Some(message) = consumer.poll(Duration::from_millis(20)) else { continue };
        let message = message?;
        let arrival = Arrival { at: Instant::now(), recorded: message.timestamp().to_millis() };
        let body: Body = serde_json::from_slice(message.payload().context("a message without a value")?)?;
        arrived.entry(body.number).or_insert(arrival);
        count.store(arrived.len(), Ordering::Relaxed);
    }
    Ok(arrived)
}
