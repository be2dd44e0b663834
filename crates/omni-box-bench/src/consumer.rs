//! A consumer in a process of its own, so that its memory is its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use omni_box::kafka::{KafkaConsumerConfig, KafkaEventConsumer};
use omni_box::metrics::InboxMetrics;
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::prelude::*;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;

use crate::child::{self, Child};

/// While it is slow, a message takes this long.
const SLOW: Duration = Duration::from_millis(200);
/// The line after which it is slow no more.
const HURRY: &str = "hurry";

static IS_FAST: AtomicBool = AtomicBool::new(false);

/// What a consumer tells of itself.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) handled: usize,
}

#[derive(Default)]
struct Handled(AtomicUsize);

impl InboxMetrics for Handled {
    fn event_processed(&self, _event_type: &str, _status: &'static str) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

async fn handle(_cx: InboxContext<'_, PgStore>) {
    if !IS_FAST.load(Ordering::Relaxed) {
        tokio::time::sleep(SLOW).await;
    }
}

/// Runs a consumer of a topic, slow at first, until its standard input ends.
pub(crate) async fn run(database_url: &str, brokers: &str, topic: &str, event_type: &str) -> Result<()> {
    let pool = PgPoolOptions::new().max_connections(12).connect(database_url).await?;
    let store = PgStore::new(pool, PgConfig::default());
    let config = KafkaConsumerConfig::new(brokers, format!("{topic}-group"), [topic]);
    let handled = Arc::new(Handled::default());
    let runner = InboxConsumerRunner::builder(KafkaEventConsumer::from_config(config)?, store)
        .handler(on(event_type, handle))
        .metrics(handled.clone())
        .build()?;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(runner.run(shutdown.clone()));
    child::answer(move |line| {
        IS_FAST.fetch_or(line == HURRY, Ordering::Relaxed);
        Told { handled: handled.0.load(Ordering::Relaxed) }
    })
    .await?;
    shutdown.cancel();
    Ok(running.await??)
}

/// A consumer that was started; it ends with this value.
pub(crate) struct Consumer(Child<Told>);

impl Consumer {
    pub(crate) fn start(database_url: &str, brokers: &str, topic: &str, event_type: &str) -> Result<Self> {
        let arguments = ["--consumer", topic, "--event-type", event_type];
        Ok(Self(Child::start(child::role(&arguments, database_url, brokers)?)?))
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.0.pid()
    }

    pub(crate) async fn told(&mut self) -> Result<Told> {
        self.0.ask("").await
    }

    /// From now on its handler takes no time.
    pub(crate) async fn hurry(&mut self) -> Result<()> {
        self.0.ask(HURRY).await.map(|_| ())
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.0.stop().await
    }
}
