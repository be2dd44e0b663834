//! `latency_1k`: from commit to a consumer, at a steady rate, beside a hand-written poll-and-produce loop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use omni_box::kafka::{KafkaEventPublisher, KafkaPublisherConfig};
use omni_box::postgres::PgStore;
use omni_box::prelude::*;
use omni_box_harness::{Servers, TestDatabase, topic};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use sqlx::Row;
use tokio_util::sync::CancellationToken;

use crate::report::{Report, percentile};
use crate::table;

const PARTITIONS: i32 = 8;
const WRITERS: usize = 8;

type Committed = Arc<Mutex<HashMap<usize, Instant>>>;

pub(crate) async fn run(servers: &Servers, rate: usize, seconds: usize) -> Result<Report> {
    let events = rate * seconds;
    let ours = measure(servers, rate, events, |store, brokers, shutdown| async move {
        let publisher =
            KafkaEventPublisher::from_config(KafkaPublisherConfig::new(brokers), RawEventConverter)?;
        Ok(OutboxRelay::builder(store, publisher).build()?.run(shutdown).await?)
    })
    .await?;
    let loop_millis = measure(servers, rate, events, hand_written).await?;

    let millis: Vec<f64> = ours.iter().copied().flatten().collect();
    let loop_p99 =
        percentile(&loop_millis.into_iter().flatten().collect::<Vec<_>>(), 0.99).unwrap_or(f64::NAN);
    let mut report =
        Report::new("latency_1k", events, Duration::from_secs(seconds as u64)).latencies(&millis);
    report.remark = format!("a hand-written loop: p99 {loop_p99:.2} ms");
    report.missing = Some(ours.iter().filter(|latency| latency.is_none()).count());
    Ok(report)
}

/// Writes at a rate while `publish` runs; returns each event's milliseconds from commit to arrival.
async fn measure<F>(
    servers: &Servers,
    rate: usize,
    events: usize,
    publish: impl FnOnce(PgStore, String, CancellationToken) -> F,
) -> Result<Vec<Option<f64>>>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let brokers = servers.kafka_brokers.clone();
    let topic = topic::create_topic(&brokers, "latency", PARTITIONS, &[]).await?;
    let database = TestDatabase::create_on(&servers.database_url).await?;
    let store = table::store(&database).await?;
    let shutdown = CancellationToken::new();
    let publishing = tokio::spawn(publish(store.clone(), brokers.clone(), shutdown.clone()));

    let stop = CancellationToken::new();
    let arrivals = {
        let (topic, stop) = (topic.clone(), stop.clone());
        tokio::task::spawn_blocking(move || consume(&brokers, &topic, &stop))
    };
    let committed: Committed = Arc::default();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            tokio::spawn(write(store.clone(), topic.clone(), writer, rate, events, committed.clone()))
        })
        .collect();
    for writer in writers {
        writer.await??;
    }
    table::drained(&database, &servers.kafka_brokers, &topic, events).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.cancel();
    let arrived = arrivals.await??;
    shutdown.cancel();
    publishing.await??;
    database.close().await?;

    let committed = committed.lock().expect("no writer panicked");
    let latency = |number| {
        let (committed, arrived) = (committed.get(&number)?, arrived.get(&number)?);
        Some(arrived.saturating_duration_since(*committed).as_secs_f64() * 1e3)
    };
    Ok((0..events).map(latency).collect())
}

/// One of the writers: every event in a transaction of its own, at its time.
async fn write(
    store: PgStore,
    topic: String,
    writer: usize,
    rate: usize,
    events: usize,
    committed: Committed,
) -> Result<()> {
    let domain = OmniBoxDomainService::default();
    let start = tokio::time::Instant::now();
    for number in (writer..events).step_by(WRITERS) {
        tokio::time::sleep_until(start + Duration::from_secs_f64(number as f64 / rate as f64)).await;
        let event = table::event(&domain, &topic, number % 500, number)?;
        // straight on the pool, as an application writes: nothing wakes the relay in this process
        let mut tx = store.pool().begin().await?;
        store.create(&mut tx, &event).await?;
        tx.commit().await?;
        committed.lock().expect("no writer panicked").insert(number, Instant::now());
    }
    Ok(())
}

fn consume(brokers: &str, topic: &str, stop: &CancellationToken) -> Result<HashMap<usize, Instant>> {
    #[derive(serde::Deserialize)]
    struct Body {
        number: usize,
    }
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "5")
        .create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    let mut arrived = HashMap::new();
    while !stop.is_cancelled() {
        let Some(message) = consumer.poll(Duration::from_millis(5)) else { continue };
        let message = message?;
        let body: Body = serde_json::from_slice(message.payload().context("a message without a value")?)?;
        arrived.entry(body.number).or_insert_with(Instant::now);
    }
    Ok(arrived)
}

/// What a team writes before it takes a library: look every 10 ms, send, await, mark.
async fn hand_written(store: PgStore, brokers: String, shutdown: CancellationToken) -> Result<()> {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .create()?;
    while !shutdown.is_cancelled() {
        let rows = sqlx::query(
            "select id, topic, partition_key, payload::text from outbox_events where status = 'pending' order by seq limit 1000",
        )
        .fetch_all(store.pool())
        .await?;
        if rows.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        }
        let sends = rows.iter().map(|row| {
            let (topic, key, payload): (&str, &str, &str) = (row.get(1), row.get(2), row.get(3));
            producer.send(FutureRecord::to(topic).key(key).payload(payload), Duration::from_secs(30))
        });
        for sent in futures_util::future::join_all(sends).await {
            sent.map_err(|(error, _)| error)?;
        }
        let ids: Vec<uuid::Uuid> = rows.iter().map(|row| row.get(0)).collect();
        sqlx::query("update outbox_events set status = 'completed', completed_at = now() where id = any($1)")
            .bind(&ids)
            .execute(store.pool())
            .await?;
    }
    Ok(())
}
