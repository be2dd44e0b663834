//! Fills an outbox, waits until it is drained, and judges the topic.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use omni_box::postgres::{PgConfig, PgStore, PgTx};
use omni_box::prelude::*;
use omni_box_harness::{TestDatabase, topic};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) const EVENT_TYPE: &str = "bench.event";

/// A payload of about 250 bytes that tells its key and its place.
pub(crate) fn event(
    domain: &OmniBoxDomainService,
    topic: &str,
    key: usize,
    number: usize,
) -> Result<OutboxEvent> {
    let payload = serde_json::json!({ "key": key, "number": number, "padding": "x".repeat(200) });
    Ok(domain.create_outbox_event(
        NewOutboxEvent::new(EVENT_TYPE, topic, &payload).partition_key(format!("key-{key}")),
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

/// Waits until a topic has this many records and nothing that is due is left in the table, which is asked only then.
pub(crate) async fn drained(pool: &PgPool, brokers: &str, topic: &str, events: usize) -> Result<()> {
    published(brokers, topic, events, |_| {}).await?;
    settled(pool).await
}

/// Waits until no event that is due is left in the table.
pub(crate) async fn settled(pool: &PgPool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while is_any_left(pool).await? {
        anyhow::ensure!(Instant::now() < deadline, "outcomes are not written within 300 s");
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Whether the table has an event that is due and not held back.
pub(crate) async fn is_any_left(pool: &PgPool) -> Result<bool> {
    let left = sqlx::query_scalar(
        "select exists (select from outbox_events where status = 'pending' and not held and not deferred)",
    );
    Ok(left.fetch_one(pool).await?)
}

/// Waits for the ends of a topic's partitions to reach a sum, and tells each sum on the way. The table is not asked: a look costs it a
/// scan of all that is completed.
pub(crate) async fn published(
    brokers: &str,
    topic: &str,
    events: usize,
    mut told: impl FnMut(usize) + Send + 'static,
) -> Result<()> {
    const ANSWER: Duration = Duration::from_secs(10);
    let deadline = Instant::now() + PATIENCE;
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
        let metadata = consumer.fetch_metadata(Some(&topic), ANSWER)?;
        let partitions: Vec<i32> = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
            .map(|partition| partition.id())
            .collect();
        loop {
            let mut sum = 0;
            for partition in &partitions {
                sum += usize::try_from(consumer.fetch_watermarks(&topic, *partition, ANSWER)?.1)?;
            }
            told(sum);
            if sum >= events {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "{sum} of {events} events are published after 300 s");
            std::thread::sleep(Duration::from_millis(20));
        }
    })
    .await?
}

/// Events that are missing, that came twice, and that came out of order.
type Judged = (Option<usize>, Option<usize>, Option<usize>);

/// What is on a topic, beside what should be.
pub(crate) async fn judge(brokers: &str, topic: &str, events: usize) -> Result<Judged> {
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
        anyhow::ensure!(body.number < events, "an event that was not written is on the topic");
        if std::mem::replace(&mut seen[body.number], true) {
            duplicates += 1;
            continue;
        }
        if last.insert(body.key, body.number).is_some_and(|before| before > body.number) {
            out_of_order += 1;
        }
    }
    let missing = seen.iter().filter(|seen| !**seen).count();
    Ok((Some(missing), Some(duplicates), Some(out_of_order)))
}
