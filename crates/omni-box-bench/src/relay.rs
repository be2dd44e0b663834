//! A relay in a process of its own, so that its processor time and its memory are its own.

use std::io::Read;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use omni_box::kafka::{KafkaEventPublisher, KafkaPublisherConfig};
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::prelude::*;
use sqlx::postgres::PgPoolOptions;
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;

/// Runs a relay until its standard input ends.
pub(crate) async fn run(database_url: &str, brokers: &str) -> Result<()> {
    let pool = PgPoolOptions::new().max_connections(8).connect(database_url).await?;
    let store = PgStore::new(pool, PgConfig::default());
    let publisher = KafkaEventPublisher::from_config(KafkaPublisherConfig::new(brokers), RawEventConverter)?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let running = tokio::spawn(OutboxRelay::builder(store, publisher).build()?.run(shutdown));
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    stop.cancel();
    Ok(running.await??)
}

/// A relay that was started; it ends with this value.
pub(crate) struct Relay {
    child: Child,
    stdin: ChildStdin,
}

impl Relay {
    pub(crate) fn start(database_url: &str, brokers: &str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--relay")
            .env("OMNI_BOX_DATABASE_URL", database_url)
            .env("OMNI_BOX_KAFKA_BROKERS", brokers)
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().context("the relay has no standard input")?;
        Ok(Self { child, stdin })
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("the relay has ended")
    }

    /// Lets it hand its lanes back.
    pub(crate) async fn stop(self) -> Result<()> {
        let Self { mut child, stdin } = self;
        drop(stdin);
        let status = child.wait().await?;
        ensure!(status.success(), "the relay ended with {status}");
        Ok(())
    }
}
