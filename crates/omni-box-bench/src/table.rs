//! Fills an outbox, waits until it is drained, and judges the topic.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use omni_box::postgres::{PgConfig, PgStore, PgTx};
use omni_box::prelude::*;
use omni_box_harness::{TestDatabase, topic};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::time::{Instant, sleep};

/// A payload of about 250 bytes that tells its key and its place.
pub(crate) fn event(
    domain: &OmniBoxDomainService,
    topic: &str,
    key: usize,
    number: usize,
) -> Result<OutboxEvent> {
    let payload = serde_json::json!({ "key": key, "number": number, "padding": "x".repeat(200) });
    Ok(domain.create_outbox_event(
        NewOutboxEvent::new("bench.event", topic, &payload).partition_key(format!("key-{key}")),
    )?)
}

/// A store with its schema in a database of its own.
pub(crate) async fn store(database: &TestDatabase) -> Result<PgStore> {
    let store = PgStore::new(database.pool().clone(), PgConfig::default());
    store.migrate().await?;
    Ok(store)
}

/// Event number `number` of a workload over keys.
pub(crate) fn numbered(
    domain: &OmniBoxDomainService,
    topic: &str,
    keys: usize,
    number: usize,
) -> Result<OutboxEvent> {
    // a multiplicative walk spreads numbers over keys without a random generator
    event(domain, topic, number.wrapping_mul(2_654_435_761) % keys, number)
}

/// Events that were written, and not committed.
pub(crate) struct Prepared(PgTx);

impl Prepared {
    /// Returns the moment of the commit.
    pub(crate) async fn commit(self, store: &PgStore) -> Result<Instant> {
        store.commit(self.0).await?;
        Ok(Instant::now())
    }
}

/// Writes events over keys in one transaction, 1,000 a statement.
pub(crate) async fn prepare(store: &PgStore, topic: &str, events: usize, keys: usize) -> Result<Prepared> {
    let domain = OmniBoxDomainService::default();
    let mut tx = store.begin().await?;
    for start in (0..events).step_by(1_000) {
        let batch: Vec<_> = (start..events.min(start + 1_000))
            .map(|number| numbered(&domain, topic, keys, number))
            .collect::<Result<_>>()?;
        store.create_many(&mut tx, &batch).await?;
    }
    Ok(Prepared(tx))
}

/// Enqueues events over keys in one transaction; returns the moment of the commit.
pub(crate) async fn fill(store: &PgStore, topic: &str, events: usize, keys: usize) -> Result<Instant> {
    prepare(store, topic, events, keys).await?.commit(store).await
}

/// Waits until a topic has this many records, and then until nothing is pending. The table itself is asked only at the end: a look costs it
/// a scan of all that is completed.
pub(crate) async fn drained(
    database: &TestDatabase,
    brokers: &str,
    topic: &str,
    events: usize,
) -> Result<Instant> {
    let deadline = Instant::now() + Duration::from_secs(300);
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    tokio::task::spawn_blocking(move || published(&brokers, &topic, events as i64, deadline)).await??;
    loop {
        let pending: bool =
            sqlx::query_scalar("select exists (select from outbox_events where status = 'pending')")
                .fetch_one(database.pool())
                .await?;
        if !pending {
            return Ok(Instant::now());
        }
        anyhow::ensure!(Instant::now() < deadline, "not drained within 300 s");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for the ends of a topic's partitions to reach a sum.
fn published(brokers: &str, topic: &str, events: i64, deadline: Instant) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let partitions: Vec<i32> = metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions())
        .map(|partition| partition.id())
        .collect();
    loop {
        let mut sum = 0;
        for partition in &partitions {
            sum += consumer.fetch_watermarks(topic, *partition, PATIENCE)?.1;
        }
        if sum >= events {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "{sum} of {events} events are published after 300 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What is on a topic: `(missing, duplicates, out of order)`.
pub(crate) async fn judge(brokers: &str, topic: &str, events: usize) -> Result<(usize, usize, usize)> {
    #[derive(serde::Deserialize)]
    struct Body {
        key: usize,
        number: usize,
    }
    let records = topic::read_topic(brokers, topic, topic::Isolation::ReadCommitted).await?;
    let mut seen = vec![false; events];
    let mut last: HashMap<usize, usize> = HashMap::new();
    let (mut duplicates, mut out_of_order) = (0, 0);
    for record in &records {
        let body: Body = serde_json::from_slice(record.value.as_deref().unwrap_or_default())?;
        if std::mem::replace(&mut seen[body.number], true) {
            duplicates += 1;
            continue;
        }
        if last.insert(body.key, body.number).is_some_and(|before| before > body.number) {
            out_of_order += 1;
        }
    }
    Ok((seen.iter().filter(|seen| !**seen).count(), duplicates, out_of_order))
}
