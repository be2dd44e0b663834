//! A relay in a process of its own, so that its processor time and its memory are its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use omni_box::kafka::{KafkaEventPublisher, KafkaPublisherConfig};
use omni_box::metrics::OutboxMetrics;
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::prelude::*;
use omni_box::prometheus::PrometheusMetrics;
use omni_box::prometheus::prometheus::{Registry, TextEncoder};
use omni_box::sqlite::{SqliteConfig, SqliteStore};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;

use crate::child::{self, Child};
use crate::statements;

/// The argument that makes this program a relay.
const RELAY: &str = "--relay";
/// The argument that gives it metrics.
const METRICS: &str = "--metrics";
/// How often its metrics are read, as a server of metrics may.
const SCRAPE: Duration = Duration::from_secs(1);
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
    /// Fetches that found something; a relay with metrics does not count them.
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
pub(crate) async fn run(
    database_url: &str,
    brokers: &str,
    sqlite: Option<PathBuf>,
    has_metrics: bool,
) -> Result<()> {
    match sqlite {
        Some(path) => {
            serve(SqliteStore::open(path, SqliteConfig::default()).await?, brokers, has_metrics).await
        }
        None => {
            let pool = PgPoolOptions::new().max_connections(8).connect(database_url).await?;
            let mut config = PgConfig::builder();
            if let Ok(schema) = std::env::var(SCHEMA) {
                config = config.schema(schema);
            }
            serve(PgStore::new(pool, config.build()?), brokers, has_metrics).await
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

/// Metrics on a registry that is read now and then, and samples of the tables for it.
fn observed<S: Store>(store: S, stop: &CancellationToken) -> Result<PrometheusMetrics> {
    let registry = Registry::new();
    let metrics = PrometheusMetrics::new(&registry)?;
    tokio::spawn(metrics.sampler(store)?.run(stop.clone()));
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        loop {
            tokio::time::sleep(SCRAPE).await;
            let page = TextEncoder::new().encode_to_string(&registry.gather());
            assert!(page.is_ok_and(|page| page.contains("outbox_in_flight_events")), "a page of metrics");
        }
    }));
    Ok(metrics)
}

async fn serve<S: OutboxRepository>(store: S, brokers: &str, has_metrics: bool) -> Result<()> {
    let publisher = publisher(brokers)?;
    let shutdown = CancellationToken::new();
    let batches = Arc::new(Batches::default());
    let metrics: Arc<dyn OutboxMetrics> = match has_metrics {
        true => Arc::new(observed(store.clone(), &shutdown)?),
        false => batches.clone(),
    };
    let relay = OutboxRelay::builder(store, publisher).metrics(metrics).build()?;
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

    /// The same with metrics.
    pub(crate) fn start_with_metrics(database_url: &str, brokers: &str) -> Result<Self> {
        Ok(Self(Child::start(child::role(&[RELAY, METRICS], database_url, brokers)?)?))
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
