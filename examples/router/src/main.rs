//! Handlers bound to their events: `cargo run -p router`.
//!
//! Read [`events`] and [`handlers`]; the rest enqueues five events, runs relay and inbox, and checks what the handlers did.

mod events;
mod handlers;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use omni_box::kafka::{KafkaConsumerConfig, KafkaEventConsumer, KafkaEventPublisher, KafkaPublisherConfig};
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::prelude::*;
use omni_box::sqlite::{SqliteConfig, SqliteStore};
use omni_box::store::InboxRepository;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::mocking::MockCluster;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::events::{OrderAudited, OrderCancelled, OrderPlaced, OrderPlacedV1};
use crate::handlers::{App, Desk, router};

const PARTITIONS: i32 = 3;
/// Longest time for all of it.
const DEADLINE: Duration = Duration::from_secs(60);

/// What the handlers have done when every event has reached its own.
const EXPECTED: [&str; 5] = [
    "cancelled  order 1: a surprise for ada",
    "shipped    order 1: a surprise for ada (order.placed of version 1.0.0)",
    "shipped    order 2: a lamp for bob (order.placed of version 2)",
    "told       ada: order 1 is on its way, caused by an order",
    "told       bob: order 2 is on its way, caused by an order",
];

/// Two types with the same fields on one topic, an older version, state, methods, and a follow-up event that names its cause.
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
            tokio::time::timeout(DEADLINE, run(store, &brokers, &topic)).await??;
        }
        None => {
            let folder = tempfile::tempdir()?;
            let store = SqliteStore::open(folder.path().join("router.db"), SqliteConfig::default()).await?;
            store.migrate().await?;
            tokio::time::timeout(DEADLINE, run(store, &brokers, &topic)).await??;
        }
    }
    Ok(())
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
    let mut tx = store.begin().await?;
    let (ada, surprise) = ("ada".to_owned(), "a surprise".to_owned());
    for event in [
        OrderPlacedV1 { number: 1, customer: ada.clone() }.event(),
        OrderCancelled { number: 1, customer: ada, item: surprise }.event(),
        OrderPlaced { number: 2, customer: "bob".to_owned(), item: "a lamp".to_owned() }.event(),
        OrderAudited { number: 2 }.event(),
    ] {
        store.enqueue(&mut tx, event.topic(topic)).await?;
    }
    store.commit(tx).await?;

    let (notes, mut heard) = mpsc::unbounded_channel();
    let app = App { topic: topic.to_owned(), desk: Desk(notes) };
    let publisher =
        KafkaEventPublisher::from_config(KafkaPublisherConfig::new(brokers), EnvelopeEventConverter)?;
    let relay = OutboxRelay::builder(store.clone(), publisher)
        // a handler may hold the only write lock of a SQLite file for as long as it may take: leases must live longer
        .lease_ttl(Duration::from_secs(60))
        .build()?;
    let consumer = KafkaEventConsumer::from_config(KafkaConsumerConfig::new(brokers, topic, [topic]))?;
    let inbox = InboxConsumerRunner::builder(consumer, store).handler(router(app)).build()?;

    let mut done = BTreeSet::new();
    let all_done = async {
        while done.len() < EXPECTED.len() {
            // a handler runs again if its transaction could not commit, so a note may come twice
            let Some(note) = heard.recv().await else { break };
            done.insert(note);
        }
    };
    Workers::new().relay(relay).inbox(inbox).run_until(all_done).await?;
    done.iter().for_each(|note| println!("{note}"));
    anyhow::ensure!(done.iter().eq(EXPECTED), "this was to be done: {EXPECTED:#?}");
    println!("skipped    order.audited, which has no handler here");
    Ok(())
}
