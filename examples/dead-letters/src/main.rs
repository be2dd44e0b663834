//! What becomes of messages that were given up, or could not be read: `cargo run -p dead-letters`.
//!
//! A message that fails for good stays in its table, with the reason: that row is the dead letter. One that cannot be decoded is kept as raw
//! bytes, in quarantine. Both are listed, shown, replayed and deleted while consumers go on; the offsets of the group are not touched.

mod broker;
mod orders;

use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use omni_box::kafka::{KafkaConsumerConfig, KafkaEventConsumer};
use omni_box::message::{DecodeError, DefaultMessageDecoder, InboundMessage, MessageDecoder, decoder_fn};
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::prelude::*;
use omni_box::sqlite::{SqliteConfig, SqliteStore};
use omni_box::store::{DeadLetters, InboxRepository, Readmission};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use self::broker::Broker;
use self::orders::{Shop, numbers, ship};

/// Longest time for all of it.
const DEADLINE: Duration = Duration::from_secs(60);

/// Those for Oslo fail at first; the last one was cut off on its way.
const ORDERS: [(&str, &str); 6] = [
    ("order-1", r#"{"number": 1, "warehouse": "Oslo"}"#),
    ("order-2", r#"{"number": 2, "warehouse": "Rome"}"#),
    ("order-3", r#"{"number": 3, "warehouse": "Oslo"}"#),
    ("order-4", r#"{"number": 4, "warehouse": "Rome"}"#),
    ("order-5", r#"{"number": 5, "warehouse": "Oslo"}"#),
    ("order-6", r#"{"number": 6, "warehouse": "Rome""#),
];

/// Messages that were given up or could not be read: listed, shown, replayed and deleted.
#[derive(Parser)]
struct Args {
    /// A real PostgreSQL: postgres://.. (in a schema that is dropped at the end). Without it, a SQLite file.
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// A real Kafka, as host:port, in which a topic is made. Without it, a broker inside this process.
    #[arg(long, value_name = "LIST")]
    brokers: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let topic = format!("orders_{}", &Uuid::new_v4().simple().to_string()[..12]);
    let broker = Broker::with_topic(args.brokers, &topic).await?;
    match args.database_url {
        Some(url) => {
            let pool = sqlx::PgPool::connect(&url).await?;
            let store = PgStore::new(pool.clone(), PgConfig::builder().schema(&topic).build()?);
            store.migrate().await?;
            let ran = tokio::time::timeout(DEADLINE, run(store, &broker, &topic)).await;
            // a name that was made above
            sqlx::query(AssertSqlSafe(format!("drop schema {topic} cascade"))).execute(&pool).await?;
            ran?
        }
        None => {
            let folder = tempfile::tempdir()?;
            let store = SqliteStore::open(folder.path().join("inbox.db"), SqliteConfig::default()).await?;
            store.migrate().await?;
            tokio::time::timeout(DEADLINE, run(store, &broker, &topic)).await?
        }
    }
}

async fn run<S: InboxRepository>(store: S, broker: &Broker, topic: &str) -> anyhow::Result<()> {
    broker.send(topic, &ORDERS).await?;
    let consumer =
        KafkaEventConsumer::from_config(KafkaConsumerConfig::new(&broker.brokers, topic, [topic]))?;
    let mut runner = InboxConsumerRunner::builder(consumer, store.clone()).build()?;
    for _ in ORDERS {
        let next = tokio::time::Instant::now() + DEADLINE;
        runner.process_one(next).await?.context("a message is missing")?;
    }
    runner.stop().await?;

    let (shop, mut shipped) = Shop::with_closed_oslo();
    let router = EventRouter::new().on(topic, "order.placed", ship).with_state(shop.clone());
    let worker = InboxWorker::builder(store.clone()).consumer_group(topic).handler(router).build()?;
    let batch = BatchSize::new(50)?;
    worker.process_batch(batch).await?;
    println!("handled      orders {} shipped", numbers(&shipped.drain()));

    dead_letters(&store, &worker, topic, &shop, &mut shipped).await?;
    quarantine(&store, &worker, topic, &mut shipped).await?;
    worker.close().await?;
    Ok(())
}

/// Messages that were given up.
async fn dead_letters<S: InboxRepository>(
    store: &S,
    worker: &InboxWorker<S>,
    topic: &str,
    shop: &Shop,
    shipped: &mut orders::Shipments,
) -> anyhow::Result<()> {
    let letters: &dyn DeadLetters<InboxEvent> =
        store.inbox().dead_letters().context("the store has no dead letters")?;
    let ours = FetchFilters::new().consumer_group(ConsumerGroup::new(topic)?);

    // in pages of two
    let (mut failed, page) = (Vec::<InboxEvent>::new(), BatchSize::new(2)?);
    loop {
        let next = letters.list(&ours, failed.last(), page).await?;
        if next.is_empty() {
            break;
        }
        for event in &next {
            let life = event.lifecycle();
            let error = life.last_error().unwrap_or_default();
            println!("given up     {} after {} attempt: {error}", event.message_id(), life.attempts_made());
        }
        failed.extend(next);
    }
    let [first, second, third] = &failed[..] else { anyhow::bail!("{} dead letters", failed.len()) };

    let mut tx = store.begin().await?;
    let shown = store.inbox().get_by_id(&mut tx, first.id()).await?.context("it is there")?;
    store.rollback(tx).await?;
    println!("shown        {} carries {}", shown.message_id(), shown.payload().as_str());

    // what was wrong is mended; one is tried again as what it is ..
    shop.open_oslo();
    let batch = BatchSize::new(50)?;
    letters.requeue(&[first.id()]).await?;
    worker.process_batch(batch).await?;
    let again = shipped.drain().pop().context("it was shipped")?;
    anyhow::ensure!(again.event == first.id(), "a message that is requeued keeps its id");
    println!("requeued     {} was shipped with the id that it had", again.message_id);

    // .. another as a new message. A call that is repeated replays nothing twice.
    let replayed = letters.replay_as_new(&[second.id()]).await?;
    anyhow::ensure!(letters.replay_as_new(&[second.id()]).await?.is_empty(), "it was replayed twice");
    worker.process_batch(batch).await?;
    let new = shipped.drain().pop().context("it was shipped")?;
    anyhow::ensure!(new.event == replayed[0].by, "another message was shipped");
    anyhow::ensure!(
        new.causation == Some(second.id().to_string()),
        "the new one does not know the failed one"
    );
    println!(
        "replayed     {} was shipped as a new message, which names the failed one as its cause",
        second.message_id()
    );

    // the last one is not wanted any more
    let purged = letters.purge(Duration::ZERO, batch).await?;
    println!("purged       {purged} dead letter: {}", third.message_id());
    Ok(())
}

/// Messages that could not be read.
async fn quarantine<S: InboxRepository>(
    store: &S,
    worker: &InboxWorker<S>,
    topic: &str,
    shipped: &mut orders::Shipments,
) -> anyhow::Result<()> {
    let quarantine = store.in_quarantine().context("the store cannot look into its quarantine")?;
    let (group, batch) = (ConsumerGroup::new(topic)?, BatchSize::new(50)?);
    let entries = quarantine.list(&group, None, batch).await?;
    let [entry] = &entries[..] else { anyhow::bail!("{} messages in quarantine", entries.len()) };
    println!(
        "quarantined  the message at offset {}, {} bytes: {}",
        entry.position.offset,
        entry.value_bytes.unwrap_or_default(),
        entry.error
    );
    let kept = quarantine.show(entry.id).await?.context("it is there")?;
    let value = kept.message.value.unwrap_or_default();
    println!("shown        {}", String::from_utf8_lossy(&value));

    // a decoder that mends what was cut off
    let mending = decoder_fn(|message, group| {
        let value = message.value.as_deref().ok_or_else(|| DecodeError::new("no value"))?;
        let value = Some([value, b"}"].concat().into());
        DefaultMessageDecoder::new().decode(&InboundMessage { value, ..message.clone() }, group)
    });
    let readmitted = store.readmit(&[entry.id], &mending).await?;
    anyhow::ensure!(matches!(readmitted[..], [Readmission::Stored(_)]), "it was not stored: {readmitted:?}");
    worker.process_batch(batch).await?;
    println!("readmitted   order {} was mended and shipped", numbers(&shipped.drain()));
    let left = quarantine.purge(&group, Duration::ZERO, batch).await?;
    println!("purged       {left} messages left in quarantine");
    Ok(())
}
