//! A pipeline of one's own: `cargo run -p processor`.
//!
//! Steps decide about each event before it is sent or handled: here one for tenants, on both sides, a circuit breaker, copies of dead
//! letters, deduplication of siblings and metrics, around a broker and a handler.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use clap::Parser;
use omni_box::kafka::{KafkaConsumerConfig, KafkaEventConsumer, KafkaEventPublisher, KafkaPublisherConfig};
use omni_box::metrics::InboxMetrics;
use omni_box::pipeline::{
    CircuitBreakerStep, CommitStrategy, DlqStep, DlqStorage, EventProcessorBuilder, HandlerExecutionStep,
    MetricsStep, ProcessingContext, ProcessingStep, PublisherExecutionStep, SiblingDeduplicationStep,
    StepResult,
};
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::prelude::*;
use omni_box::sqlite::{SqliteConfig, SqliteStore};
use omni_box::store::InboxRepository;
use omni_box::{CancellationToken, EventSchema, PermanentError, RetryPolicy};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::mocking::MockCluster;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const PARTITIONS: i32 = 2;
const ORDERS: u32 = 8;
/// Longest time for all of it.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize, EventSchema)]
#[event(type = "order.placed", key = number)]
struct OrderPlaced {
    number: u32,
}

/// Puts off what belongs to tenants that are locked.
#[derive(Clone, Default)]
struct Tenants(Arc<Mutex<Vec<String>>>);

impl Tenants {
    fn lock(tenant: &str) -> Self {
        Self(Arc::new(Mutex::new(vec![tenant.to_owned()])))
    }

    fn unlock_all(&self) {
        self.0.lock().expect("no holder panics").clear();
    }
}

#[async_trait]
impl<E: Event> ProcessingStep<E> for Tenants {
    async fn execute(&self, event: &E, _cx: &mut ProcessingContext<'_>) -> StepResult {
        let locked = self.0.lock().expect("no holder panics");
        match event.headers().get("tenant") {
            Some(tenant) if locked.iter().any(|locked| locked == tenant) => StepResult::skip(),
            _ => StepResult::next(),
        }
    }
}

/// Where copies of dead letters go; a table or a mail in a real service.
#[derive(Clone, Default)]
struct Letters(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl DlqStorage<InboxEvent> for Letters {
    async fn move_to_dlq(
        &self,
        event: &InboxEvent,
        error: &str,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let order: OrderPlaced = event.payload().deserialize()?;
        let reason = error.rsplit(": ").next().unwrap_or(error);
        self.0.lock().expect("no holder panics").push(format!("order {}: {reason}", order.number));
        Ok(())
    }
}

/// Counts outcomes. A real service takes a metrics crate.
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<BTreeMap<&'static str, u32>>>);

impl InboxMetrics for Counts {
    fn event_processed(&self, _event_type: &str, status: &'static str) {
        *self.0.lock().expect("no holder panics").entry(status).or_default() += 1;
    }
}

async fn ship<S: InboxRepository>(_cx: InboxContext<'_, S>, order: OrderPlaced) -> anyhow::Result<()> {
    if order.number == 3 {
        return Err(PermanentError::new("no such customer").into());
    }
    Ok(())
}

/// Steps around a broker and around a handler.
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
            let store =
                SqliteStore::open(folder.path().join("processor.db"), SqliteConfig::default()).await?;
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
    store_all(&store, brokers, topic).await?;

    let (tenants, letters, counts) = (Tenants::lock("blue"), Letters::default(), Counts::default());
    let processor = EventProcessorBuilder::inbox(store, topic)
        .with_job_name("shipping-1")
        .with_retry(RetryPolicy::default().at_most(Duration::from_millis(10), Duration::from_millis(100)))
        .add_step(MetricsStep::new(counts.clone()))
        .add_step(CircuitBreakerStep::new().failure_threshold(5).recovery_timeout(Duration::from_secs(60)))
        .add_step(DlqStep::new(letters.clone()))
        .add_step(SiblingDeduplicationStep::new())
        .add_step(tenants.clone())
        .add_step(HandlerExecutionStep::new(on("order.placed", ship)).timeout(Duration::from_secs(10)))
        .with_commit_strategy(CommitStrategy::Single)
        .build()?;
    let batch = processor.process_batch(BatchSize::new(50)?).await?;
    println!("handled    {} orders", batch.processed_event_ids.len());
    for letter in letters.0.lock().expect("no holder panics").iter() {
        println!("dead       {letter}");
    }
    anyhow::ensure!(batch.retried_event_ids.len() == 1, "one order waits: {batch:?}");
    println!("waits      order 5, until its tenant is unlocked");
    let counted: Vec<String> = counts
        .0
        .lock()
        .expect("no holder panics")
        .iter()
        .map(|(status, n)| format!("{status} {n}"))
        .collect();
    println!("counted    {}", counted.join(", "));

    tenants.unlock_all();
    while processor.process_batch(BatchSize::new(50)?).await?.processed_event_ids.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("unlocked   order 5 is handled");
    processor.close().await?;
    Ok(())
}

/// Brings orders to the topic by a pipeline of the outbox, which keeps a tenant's orders back.
async fn publish<S: OutboxRepository>(store: &S, brokers: &str, topic: &str) -> anyhow::Result<()> {
    let mut tx = store.begin().await?;
    for number in 0..ORDERS {
        let tenant = if number == 5 { "blue" } else { "red" };
        let order = OrderPlaced { number }.event().topic(topic).header("tenant", tenant);
        store.enqueue(&mut tx, order).await?;
    }
    let locked = OrderPlaced { number: ORDERS }.event().topic(topic).header("tenant", "grey");
    store.enqueue(&mut tx, locked).await?;
    store.commit(tx).await?;

    let broker =
        KafkaEventPublisher::from_config(KafkaPublisherConfig::new(brokers), EnvelopeEventConverter)?;
    let publisher = EventProcessorBuilder::outbox(store.clone())
        .add_step(Tenants::lock("grey"))
        .add_step(PublisherExecutionStep::new(broker))
        .build()?;
    let (worker, stop) = (WorkerId::new("publisher-1")?, CancellationToken::new());
    let (mut published, mut waiting) = (0, 0);
    while published < ORDERS as usize || waiting == 0 {
        let batch =
            publisher.publish_batch(&worker, BatchSize::new(100)?, &FetchFilters::new(), &stop).await?;
        published += batch.processed_event_ids.len();
        waiting += batch.retried_event_ids.len();
    }
    publisher.close().await?;
    println!("published  {published} orders, and none of the tenant that is locked");
    Ok(())
}

/// Stores what is on the topic, and acknowledges it.
async fn store_all<S: InboxRepository>(store: &S, brokers: &str, topic: &str) -> anyhow::Result<()> {
    let consumer = KafkaEventConsumer::from_config(KafkaConsumerConfig::new(brokers, topic, [topic]))?;
    let mut runner = InboxConsumerRunner::builder(consumer, store.clone()).build()?;
    for _ in 0..ORDERS {
        let next = tokio::time::Instant::now() + DEADLINE;
        runner.process_one(next).await?.context("an order did not come")?;
    }
    runner.stop().await?;
    Ok(())
}
