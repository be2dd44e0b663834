//! Messages that are stored first and handled later: `cargo run -p inbox-batch`.
//!
//! A runner without a handler stores what comes and acknowledges it. A worker, which may be another process on another machine, handles
//! what is stored: here first by hand, one batch a call, then until everything is done.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use omni_box::kafka::{KafkaConsumerConfig, KafkaEventConsumer, KafkaEventPublisher, KafkaPublisherConfig};
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::prelude::*;
use omni_box::sqlite::{SqliteConfig, SqliteStore};
use omni_box::store::InboxRepository;
use omni_box::{CancellationToken, EventSchema};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::mocking::MockCluster;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use uuid::Uuid;

const PARTITIONS: i32 = 2;
const CUSTOMERS: u32 = 5;
const ORDERS: u32 = 20;
/// Longest time for all of it.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize, EventSchema)]
#[event(type = "order.placed", key = customer)]
struct OrderPlaced {
    number: u32,
    customer: String,
}

/// Where the handler notes what it has done. A real one writes by `cx.conn()`.
#[derive(Clone)]
struct Notes(mpsc::UnboundedSender<u32>);

async fn ship<S: InboxRepository>(
    _cx: InboxContext<'_, S>,
    order: OrderPlaced,
    State(notes): State<Notes>,
) -> anyhow::Result<()> {
    notes.0.send(order.number).context("nothing listens")
}

/// A runner that stores, and a worker that handles.
#[derive(Parser)]
struct Args {
    /// A real PostgreSQL: postgres://.. (its omni-box tables are made if they are missing). Without it, a SQLite file.
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
    let inside = match &args.brokers {
        Some(brokers) => {
            create_topic(brokers, &topic).await?;
            None
        }
        None => {
            let cluster = MockCluster::new(1).context("no broker in this process")?;
            cluster.create_topic(&topic, PARTITIONS, 1)?;
            Some(cluster)
        }
    };
    let brokers =
        args.brokers.or_else(|| Some(inside.as_ref()?.bootstrap_servers())).context("no brokers")?;
    match args.database_url {
        Some(url) => {
            let store = PgStore::new(sqlx::PgPool::connect(&url).await?, PgConfig::default());
            store.migrate().await?;
            tokio::time::timeout(DEADLINE, run(store, &brokers, &topic)).await?
        }
        None => {
            let folder = tempfile::tempdir()?;
            let store = SqliteStore::open(folder.path().join("inbox.db"), SqliteConfig::default()).await?;
            store.migrate().await?;
            tokio::time::timeout(DEADLINE, run(store, &brokers, &topic)).await?
        }
    }
}

async fn create_topic(brokers: &str, topic: &str) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let topic = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(DEADLINE));
    for made in admin.create_topics([&topic], &options).await? {
        made.map_err(|(name, error)| anyhow::anyhow!("topic {name} was not made: {error}"))?;
    }
    Ok(())
}

async fn run<S: OutboxRepository + InboxRepository>(
    store: S,
    brokers: &str,
    topic: &str,
) -> anyhow::Result<()> {
    publish(&store, brokers, topic).await?;

    // One workload stores and acknowledges. It would run for as long as the service does.
    let consumer = KafkaEventConsumer::from_config(KafkaConsumerConfig::new(brokers, topic, [topic]))?;
    let mut runner = InboxConsumerRunner::builder(consumer, store.clone()).build()?;
    let mut stored = 0;
    while stored < ORDERS {
        let next = tokio::time::Instant::now() + DEADLINE;
        stored += u32::from(runner.process_one(next).await?.is_some());
    }
    runner.stop().await?;
    println!("stored     {stored} orders and acknowledged them; none is handled yet");

    // Another one handles what is stored: a batch a call ..
    let (notes, mut heard) = mpsc::unbounded_channel();
    let router = EventRouter::new().on(topic, "order.placed", ship).with_state(Notes(notes));
    let worker = InboxWorker::builder(store)
        .consumer_group(topic)
        .worker_id("shipping")
        .concurrency_limit(1)
        .handler(router)
        .build()?;
    let batch = worker.process_batch(BatchSize::new(50)?).await?;
    println!("one batch  {} orders: the first of each customer", batch.processed_event_ids.len());

    // .. or until it is stopped.
    let stop = CancellationToken::new();
    let working = tokio::spawn(worker.run(stop.clone()));
    let mut order = Vec::new();
    while order.len() < ORDERS as usize {
        order.push(heard.recv().await.context("the worker ended early")?);
    }
    stop.cancel();
    working.await??;
    let once: BTreeSet<u32> = order.iter().copied().collect();
    anyhow::ensure!(once.len() == ORDERS as usize, "an order was shipped twice: {order:?}");
    for customer in 0..CUSTOMERS {
        let numbers: Vec<u32> =
            order.iter().copied().filter(|number| number % CUSTOMERS == customer).collect();
        anyhow::ensure!(numbers.is_sorted(), "customer {customer} got orders in the order {numbers:?}");
    }
    println!("worker     {} orders shipped, each once, each customer's in order", order.len());
    Ok(())
}

/// Brings orders to the topic, as another service would.
async fn publish<S: OutboxRepository>(store: &S, brokers: &str, topic: &str) -> anyhow::Result<()> {
    let mut tx = store.begin().await?;
    for number in 0..ORDERS {
        let order = OrderPlaced { number, customer: format!("customer {}", number % CUSTOMERS) };
        store.enqueue(&mut tx, order.event().topic(topic)).await?;
    }
    store.commit(tx).await?;
    let publisher =
        KafkaEventPublisher::from_config(KafkaPublisherConfig::new(brokers), EnvelopeEventConverter)?;
    let publisher = OutboxPublisher::builder(store.clone(), publisher).build()?;
    let (worker, stop) = (WorkerId::new("publisher-1")?, CancellationToken::new());
    let mut published = 0;
    while published < ORDERS as usize {
        let batch =
            publisher.publish_batch(&worker, BatchSize::new(100)?, &FetchFilters::new(), &stop).await?;
        published += batch.processed_event_ids.len();
    }
    publisher.close().await?;
    Ok(())
}
