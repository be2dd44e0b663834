//! The relay and the publisher of single batches, from a table to a topic.

mod batch;
mod calls;
mod claims;
mod drain;
mod fatal;
mod file;
mod foreign;
mod gates;
mod isolation;
mod memory;
mod metrics;
mod names;
mod poison;
mod resting;
mod run;
mod silence;
mod status;
mod topics;
mod unavailable;

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use omni_box_core::{
    Created, EnvelopeEventConverter, Event, EventId, EventRepository, NewOutboxEvent, OmniBoxDomainService,
    OutboxEvent, Store,
};
use omni_box_harness::topic::{self, Isolation};
use omni_box_harness::{Servers, TestDatabase, eventually, servers};
use omni_box_kafka::{KafkaEventPublisher, KafkaPublisherConfig};
use omni_box_pipeline::OutboxRelay;
use omni_box_postgres::{PgConfig, PgStore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(30);

/// A table and a topic of a test's own.
struct World {
    servers: Servers,
    database: TestDatabase,
    store: PgStore,
    topic: String,
}

/// A relay that runs in this process.
struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<omni_box_core::Result<()>>,
}

impl Running {
    async fn stop(self) -> Result<()> {
        self.shutdown.cancel();
        Ok(self.task.await??)
    }
}

impl World {
    async fn new() -> Result<Option<Self>> {
        let Some(servers) = servers() else { return Ok(None) };
        let database = TestDatabase::create_on(&servers.database_url).await?;
        let store = PgStore::new(database.pool().clone(), PgConfig::default());
        store.migrate().await?;
        let topic = topic::create_topic(&servers.kafka_brokers, "relay", 4, &[]).await?;
        Ok(Some(Self { servers, database, store, topic }))
    }

    fn publisher(&self) -> KafkaEventPublisher {
        let config = KafkaPublisherConfig::new(&self.servers.kafka_brokers);
        KafkaEventPublisher::from_config(config, EnvelopeEventConverter).expect("settings are valid")
    }

    fn relay(&self) -> Running {
        let relay =
            OutboxRelay::builder(self.store.clone(), self.publisher()).build().expect("settings are valid");
        self.run(relay)
    }

    #[expect(clippy::unused_self, reason = "reads as `relay` does")]
    fn run(&self, relay: OutboxRelay<PgStore>) -> Running {
        let shutdown = CancellationToken::new();
        Running { task: tokio::spawn(relay.run(shutdown.clone())), shutdown }
    }

    fn event(&self, key: &str, number: usize) -> OutboxEvent {
        event(&self.topic, key, number)
    }

    async fn enqueue(&self, events: &[OutboxEvent]) -> Result<()> {
        let mut tx = self.store.begin().await?;
        let created = self.store.create_many(&mut tx, events).await?;
        assert!(created.iter().all(Created::is_new));
        self.store.commit(tx).await?;
        Ok(())
    }

    /// Ids on the topic by key, in the order of their first appearance, and the number of repeats.
    async fn published(&self) -> Result<(HashMap<String, Vec<EventId>>, usize)> {
        let records =
            topic::read_topic(&self.servers.kafka_brokers, &self.topic, Isolation::ReadCommitted).await?;
        let mut by_key: HashMap<String, Vec<EventId>> = HashMap::new();
        let mut repeats = 0;
        for record in records {
            let header = record
                .headers
                .iter()
                .find(|(name, _)| name == "event_id")
                .and_then(|(_, value)| value.clone());
            let id = EventId::from(uuid::Uuid::parse_str(std::str::from_utf8(&header.unwrap_or_default())?)?);
            let ids = by_key.entry(String::from_utf8(record.key.unwrap_or_default())?).or_default();
            if ids.contains(&id) { repeats += 1 } else { ids.push(id) }
        }
        Ok((by_key, repeats))
    }

    async fn count(&self, condition: &str) -> i64 {
        let query = format!("select count(*) from outbox_events where {condition}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .fetch_one(self.database.pool())
            .await
            .expect("query is valid")
    }

    async fn drained(&self) {
        eventually(SOON, async || self.count("status = 'pending'").await == 0).await;
    }

    async fn close(self) -> Result<()> {
        self.database.close().await
    }
}

fn event(topic: &str, key: &str, number: usize) -> OutboxEvent {
    let event = NewOutboxEvent::new(
        "test.event",
        topic,
        &serde_json::json!({"number": number, "text": "canary-in-the-payload"}),
    );
    let event = event.partition_key(key).header("tenant", "canary-in-the-header");
    OmniBoxDomainService::default().create_outbox_event(event).expect("within limits")
}

/// The events of each key, in order.
fn ids_by_key(events: &[OutboxEvent]) -> HashMap<String, Vec<EventId>> {
    let mut by_key: HashMap<String, Vec<EventId>> = HashMap::new();
    for event in events {
        by_key.entry(event.partition_key().unwrap_or_default().to_owned()).or_default().push(event.id());
    }
    by_key
}
