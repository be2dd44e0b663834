//! One table and one wire with the Python library omni-box, which `cargo xtask test --interop` installs.

mod flaws;
mod tables;
mod wire;

use std::process::{Output, Stdio};
use std::time::Duration;

use omni_box::Event as _;
use omni_box::kafka::{KafkaConsumerConfig, KafkaEventConsumer, KafkaEventPublisher, KafkaPublisherConfig};
use omni_box::message::EventConverter;
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::prelude::*;
use omni_box_harness::topic::create_topic;
use omni_box_harness::{TestDatabase, eventually, python, servers};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

/// A database and servers for both libraries.
struct World {
    database: TestDatabase,
    store: PgStore,
    brokers: String,
    python: String,
}

impl World {
    /// An empty database; `None` where a server or Python is missing.
    async fn create() -> Option<Self> {
        let (servers, python) = (servers()?, python()?);
        let database = TestDatabase::create().await.unwrap();
        let store = PgStore::new(database.pool().clone(), PgConfig::default());
        Some(Self { database, store, brokers: servers.kafka_brokers, python })
    }

    async fn topic(&self, prefix: &str) -> String {
        create_topic(&self.brokers, prefix, 1, &[]).await.unwrap()
    }

    /// Runs a command of `box.py` with these arguments beside the addresses, and reads its answer.
    async fn python(&self, command: &str, arguments: Value) -> Value {
        let output = self.run(command, arguments).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {told}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{command}: {error}; {told}"))
    }

    /// What a command that fails has told.
    async fn refused(&self, command: &str, arguments: Value) -> String {
        let output = self.run(command, arguments).await;
        assert!(!output.status.success(), "{command} succeeds");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    async fn run(&self, command: &str, arguments: Value) -> Output {
        let mut arguments = arguments;
        let members = arguments.as_object_mut().unwrap();
        if command != "models" {
            members.insert("url".into(), self.database.url().into());
        }
        if ["publish", "consume"].contains(&command) {
            members.insert("brokers".into(), self.brokers.clone().into());
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/interop/box.py");
        let mut process = Command::new(&self.python);
        process.args(["-I", script, command]).kill_on_drop(true);
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = process.spawn().unwrap();
        let mut stdin = process.stdin.take().unwrap();
        stdin.write_all(arguments.to_string().as_bytes()).await.unwrap();
        drop(stdin);
        tokio::time::timeout(2 * PATIENCE, process.wait_with_output()).await.unwrap().unwrap()
    }

    async fn scalar<T>(&self, sql: &str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(self.database.pool()).await.unwrap()
    }

    async fn enqueue(&self, events: Vec<NewOutboxEvent>) -> Vec<String> {
        let mut tx = self.store.begin().await.unwrap();
        let mut ids = Vec::new();
        for event in events {
            ids.push(self.store.enqueue(&mut tx, event).await.unwrap().into_event().id().to_string());
        }
        self.store.commit(tx).await.unwrap();
        ids
    }

    fn publisher(&self, converter: impl EventConverter) -> KafkaEventPublisher {
        KafkaEventPublisher::from_config(KafkaPublisherConfig::new(&self.brokers), converter).unwrap()
    }

    /// Runs a relay, in the table's mode, until nothing is pending.
    async fn relay(&self, converter: impl EventConverter) {
        let relay = OutboxRelay::builder(self.store.clone(), self.publisher(converter))
            .poll_interval(Duration::from_millis(5), Duration::from_millis(200))
            .build()
            .unwrap();
        let stop = CancellationToken::new();
        let drained = async {
            let pending = "select count(*) from outbox_events where status = 'pending'";
            eventually(PATIENCE, async || self.scalar::<i64>(pending).await == 0).await;
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(relay.run(stop.clone()), drained);
        ended.unwrap();
    }

    /// Takes messages into the inbox by this library until a statement says `true`; with `handle`, a handler completes each.
    async fn consume(&self, topics: &[&str], group: &str, until: &str, handle: bool) {
        let config = KafkaConsumerConfig::new(&self.brokers, group, topics.iter().copied());
        let consumer = KafkaEventConsumer::from_config(config).unwrap();
        let runner = InboxConsumerRunner::builder(consumer, self.store.clone());
        let runner =
            if handle { runner.handler(EventRouter::new().unhandled(Unhandled::Skip)) } else { runner };
        let mut runner = runner.build().unwrap();
        let stop = CancellationToken::new();
        let done = async {
            eventually(PATIENCE, async || self.scalar::<bool>(until).await).await;
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(runner.run_forever(&stop), done);
        ended.unwrap();
    }
}

/// An event as both libraries take it.
fn python_event(topic: &str, key: &str, payload: &Value) -> Value {
    json!({
        "aggregate_type": "order",
        "aggregate_id": "00000000-0000-0000-0000-000000000007",
        "event_type": "order.placed",
        "topic": topic,
        "partition_key": key,
        "payload": payload,
    })
}

fn rust_event(topic: &str, key: &str, payload: &Value) -> NewOutboxEvent {
    NewOutboxEvent::new("order.placed", topic, payload)
        .partition_key(key)
        .aggregate("order", sqlx::types::Uuid::from_u128(7))
}
