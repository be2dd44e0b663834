//! The servers a program works with, and the signal that ends it.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use omni_box::kafka::{KafkaEventPublisher, KafkaPublisherConfig};
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::{RawEventConverter, WorkerId};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Args)]
pub(crate) struct Servers {
    /// PostgreSQL.
    #[arg(long, env = "OMNI_BOX_DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Kafka's bootstrap servers.
    #[arg(long, env = "OMNI_BOX_KAFKA_BROKERS")]
    pub(crate) brokers: String,
    /// The program's worker id, and its name in the database's list of connections.
    #[arg(long, default_value = "chaos")]
    name: String,
}

impl Servers {
    /// Connects when it is first used, so that a program may start during an outage.
    pub(crate) fn pool(&self, connections: u32) -> Result<PgPool> {
        self.pool_of(&self.database_url, connections)
    }

    /// The same on another database.
    pub(crate) fn pool_of(&self, database_url: &str, connections: u32) -> Result<PgPool> {
        let options: PgConnectOptions = database_url.parse().context("the database's URL is wrong")?;
        Ok(PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(5))
            .connect_lazy_with(options.application_name(&self.name)))
    }

    pub(crate) fn worker_id(&self) -> Result<WorkerId> {
        Ok(WorkerId::new(&self.name)?)
    }

    pub(crate) fn store(&self, connections: u32) -> Result<PgStore> {
        Ok(PgStore::new(self.pool(connections)?, PgConfig::default()))
    }

    pub(crate) fn publisher(&self) -> Result<KafkaEventPublisher> {
        Ok(KafkaEventPublisher::from_config(KafkaPublisherConfig::new(&self.brokers), RawEventConverter)?)
    }
}

/// Is cancelled by SIGTERM or SIGINT.
pub(crate) fn shutdown() -> Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        cancelled.cancel();
    });
    Ok(token)
}
