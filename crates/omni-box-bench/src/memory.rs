//! `memory_*`: the resident memory of relay and consumer while much waits for them.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use omni_box::prelude::*;
use omni_box_harness::TestDatabase;
use omni_box_harness::topic::{self, Message};
use omni_box_harness::usage::rss_mib;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

use crate::consumer::Consumer;
use crate::inbox::EVENT_TYPE;
use crate::relay::Relay;
use crate::report::Report;
use crate::run::Run;
use crate::table;

const LARGE: usize = 900_000;
const SMALL: usize = 2_000;
const PATIENCE: Duration = Duration::from_secs(300);

/// `memory_large`: 16 partitions, so many messages of 900 kB in each: published by a relay, then read by a consumer whose handler is slow.
pub(crate) async fn large(run: &Run, a_partition: usize) -> Result<Report> {
    const PARTITIONS: i32 = 16;
    let events = a_partition * PARTITIONS as usize;
    let topic = topic::create_topic(run.brokers(), run.name, PARTITIONS, &[]).await?;
    let database = TestDatabase::create_on(&run.servers.database_url).await?;
    let store = table::store(&database).await?;
    run.progress.preparing("writing events");
    let domain = OmniBoxDomainService::default();
    for number in 0..events {
        let payload = serde_json::json!({ "key": number, "number": number, "padding": "x".repeat(LARGE) });
        let event = NewOutboxEvent::new(EVENT_TYPE, &topic, &payload).partition_key(format!("key-{number}"));
        let mut tx = store.begin().await?;
        store.create(&mut tx, &domain.create_outbox_event(event)?).await?;
        store.commit(tx).await?;
    }

    let relay = Relay::start(&database.url(), run.brokers())?;
    let start = Instant::now();
    run.progress.begin(events);
    let progress = run.progress.clone();
    table::published(run.brokers(), &topic, events, move |done| progress.at(done)).await?;
    table::settled(database.pool()).await?;
    let elapsed = start.elapsed();
    let of_relay = rss_mib(relay.pid()?);
    relay.stop().await?;

    let mut consumer = Consumer::start(&database.url(), run.brokers(), &topic, EVENT_TYPE)?;
    run.progress.preparing("a slow consumer");
    tokio::time::sleep(Duration::from_secs(run.scale(20, 5) as u64)).await;
    consumer.hurry().await?;
    let deadline = Instant::now() + PATIENCE;
    while consumer.told().await?.handled < events {
        ensure!(Instant::now() < deadline, "not all messages are handled within 300 s");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let of_consumer = rss_mib(consumer.pid()?);
    consumer.stop().await?;
    database.close().await?;

    let mut report = Report::new(run.name, events, elapsed);
    (report.rss_mib, report.rss_mib_consumer) = (of_relay, of_consumer);
    (report.missing, report.duplicates, report.out_of_order) =
        table::judge(run.brokers(), &topic, events).await?;
    report.remark = remark(of_consumer, events * LARGE);
    delete(run, &topic).await?;
    Ok(report)
}

/// `memory_small`: 64 partitions with so many bytes of messages of 2 kB in each, and a consumer whose handler is slow.
pub(crate) async fn small(run: &Run, bytes_a_partition: usize) -> Result<Report> {
    const PARTITIONS: i32 = 64;
    /// Messages that are made at once.
    const PORTION: usize = 10_000;
    let messages = bytes_a_partition / SMALL * PARTITIONS as usize;
    let topic = topic::create_topic(run.brokers(), run.name, PARTITIONS, &[]).await?;
    run.progress.preparing("producing messages");
    for start in (0..messages).step_by(PORTION) {
        let portion: Vec<Message> = (start..messages.min(start + PORTION)).map(message).collect();
        topic::produce(run.brokers(), &topic, &portion).await?;
    }
    let database = TestDatabase::create_on(&run.servers.database_url).await?;
    table::store(&database).await?;
    let mut consumer = Consumer::start(&database.url(), run.brokers(), &topic, EVENT_TYPE)?;
    let seconds = run.scale(40, 10);
    run.progress.begin(seconds);
    let start = Instant::now();
    for second in 1..=seconds {
        tokio::time::sleep_until((start + Duration::from_secs(second as u64)).into()).await;
        run.progress.at(second);
    }
    let handled = consumer.told().await?.handled;
    ensure!(handled > 0, "a slow consumer handled nothing within {seconds} s");
    let memory = rss_mib(consumer.pid()?);
    consumer.stop().await?;
    database.close().await?;

    let mut report = Report::new(run.name, handled, start.elapsed());
    report.rss_mib_consumer = memory;
    report.remark = remark(memory, messages * SMALL);
    delete(run, &topic).await?;
    Ok(report)
}

fn message(number: usize) -> Message {
    Message {
        key: Some(format!("key-{number}").into_bytes()),
        value: Some(format!(r#"{{"number":{number},"padding":"{}"}}"#, "x".repeat(SMALL)).into_bytes()),
        headers: vec![
            ("message_id".to_owned(), Some(format!("message-{number}").into_bytes())),
            ("event_type".to_owned(), Some(EVENT_TYPE.into())),
        ],
        ..Message::default()
    }
}

fn remark(consumer: Option<f64>, bytes: usize) -> String {
    let backlog = bytes as f64 / f64::from(1 << 20);
    consumer.map_or_else(String::new, |consumer| {
        format!("the consumer has {consumer:.0} MiB, behind it lie {backlog:.0} MiB")
    })
}

/// Frees the broker's disk: no other workload writes as much.
async fn delete(run: &Run, topic: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", run.brokers()).create()?;
    for deleted in admin.delete_topics(&[topic], &AdminOptions::new()).await? {
        deleted.map_err(|(topic, code)| anyhow!("cannot delete topic {topic}: {code}"))?;
    }
    Ok(())
}
