//! A relay in a process of its own, so that its processor time and its memory are its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use omni_box::kafka::{KafkaEventPublisher, KafkaPublisherConfig};
use omni_box::metrics::OutboxMetrics;
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::prelude::*;
use omni_box::sqlite::{SqliteConfig, SqliteStore};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;

use crate::child::{self, Child};
use crate::statements;

/// The argument that makes this program a relay.
const RELAY: &str = "--relay";
/// Environment variable with the schema of the outbox's tables.
const SCHEMA: &str = "OMNI_BOX_BENCH_SCHEMA";
/// Environment variable with properties of the relays' producers, such as `linger.ms=0,batch.size=100000`, to compare them.
const PRODUCER: &str = "OMNI_BOX_BENCH_PRODUCER";

/// What a relay tells of itself.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Events between fetch and the record of their outcome.
    pub(crate) in_flight: usize,
    pub(crate) lanes: usize,
    /// Fetches that found something.
    pub(crate) batches: u64,
    /// Statements sent to the database, without `begin` and `commit`.
    pub(crate) statements: u64,
}

#[derive(Default)]
struct Batches(AtomicU64);

impl OutboxMetrics for Batches {
    fn batch_locked(&self, events: usize) {
        self.0.fetch_add(u64::from(events > 0), Ordering::Relaxed);
    }
}

/// Runs a relay until its standard input ends.
pub(crate) async fn run(database_url: &str, brokers: &str, sqlite: Option<PathBuf>) -> Result<()> {
    match sqlite {
        Some(path) => serve(SqliteStore::open(path, SqliteConfig::default()).await?, brokers).await,
        None => {
            let pool = PgPoolOptions::new().max_connections(8).connect(database_url).await?;
            let mut config = PgConfig::builder();
            if let Ok(schema) = std::env::var(SCHEMA) {
                config = config.schema(schema);
            }
            serve(PgStore::new(pool, config.build()?), brokers).await
        }
    }
}

/// A publisher with the default settings, and what [`PRODUCER`] sets.
pub(crate) fn publisher(brokers: &str) -> Result<KafkaEventPublisher> {
    let mut config = KafkaPublisherConfig::new(brokers);
    if let Ok(properties) = std::env::var(PRODUCER) {
        for property in properties.split(',') {
            let (name, value) = property.split_once('=').context("a property is NAME=VALUE")?;
            config = config.property(name, value);
        }
    }
    Ok(KafkaEventPublisher::from_config(config, RawEventConverter)?)
}

async fn serve<S: OutboxRepository>(store: S, brokers: &str) -> Result<()> {
    let publisher = publisher(brokers)?;
    let shutdown = CancellationToken::new();
    let batches = Arc::new(Batches::default());
    let relay = OutboxRelay::builder(store, publisher).metrics(batches.clone()).build()?;
    let status = relay.status();
    let running = tokio::spawn(relay.run(shutdown.clone()));
    child::answer(move |_| {
        let now = status.now();
        Told {
            in_flight: now.in_flight,
            lanes: now.lanes.len(),
            batches: batches.0.load(Ordering::Relaxed),
            statements: statements::counted(),
        }
    })
    .await?;
    shutdown.cancel();
    Ok(running.await??)
}

/// A relay that was started; it ends with this value.
pub(crate) struct Relay(Child<Told>);

impl Relay {
    /// On the tables of a database.
    pub(crate) fn start(database_url: &str, brokers: &str) -> Result<Self> {
        Ok(Self(Child::start(child::role(&[RELAY], database_url, brokers)?)?))
    }

    /// On tables in a schema of their own.
    pub(crate) fn start_in(schema: &str, database_url: &str, brokers: &str) -> Result<Self> {
        let mut command = child::role(&[RELAY], database_url, brokers)?;
        command.env(SCHEMA, schema);
        Ok(Self(Child::start(command)?))
    }

    /// On a file of SQLite.
    pub(crate) fn start_on(sqlite: &Path, database_url: &str, brokers: &str) -> Result<Self> {
        let sqlite = sqlite.to_str().context("the file's name is not UTF-8")?;
        Ok(Self(Child::start(child::role(&[RELAY, "--sqlite", sqlite], database_url, brokers)?)?))
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.0.pid()
    }

    /// How it is now.
    pub(crate) async fn told(&mut self) -> Result<Told> {
        self.0.ask("").await
    }

    /// Lets it hand its lanes back.
    pub(crate) async fn stop(self) -> Result<()> {
        self.0.stop().await
    }
}
