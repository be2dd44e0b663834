//! Writers: concurrent transactions of random length over many keys, some rolled back, some committed late.

use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::TimeDelta;
use clap::Args;
use omni_box::event::{LifecycleRecord, OutboxRecord};
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::store::EventRepository as _;
use omni_box::{Event as _, NewOutboxEvent, OmniBoxDomainService, OutboxEvent};
use omni_box_harness::judge::journal::{self, Intent};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::{NoContext, Timestamp, Uuid};

use crate::servers::{Servers, shutdown};

/// How long a transaction may take.
const GIVEN_UP: Duration = Duration::from_secs(15);

#[derive(Args, Clone)]
pub(crate) struct WriterArgs {
    /// Topics to write to.
    #[arg(long, required = true)]
    topic: Vec<String>,
    /// Keys to write for, named by a prefix and a number.
    #[arg(long, default_value_t = 50)]
    keys: u32,
    /// The prefix of keys.
    #[arg(long, default_value = "key-")]
    key_prefix: String,
    /// Transactions at a time.
    #[arg(long, default_value_t = 4)]
    tasks: u32,
    /// Transactions of each task; without it until SIGTERM.
    #[arg(long)]
    transactions: Option<u32>,
    /// Fewest events a transaction.
    #[arg(long, default_value_t = 1)]
    min_events: usize,
    /// Most events a transaction.
    #[arg(long, default_value_t = 8)]
    max_events: usize,
    /// How many of a hundred transactions are rolled back.
    #[arg(long, default_value_t = 0)]
    rollback_percent: u32,
    /// How many of a hundred transactions stay open for a while after their first event.
    #[arg(long, default_value_t = 0)]
    late_percent: u32,
    /// How long those stay open.
    #[arg(long, default_value_t = 0)]
    late_ms: u64,
    /// Pause between a task's transactions.
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
    /// How far this writer's clock is off. What a clock decides of an event is its id and its times.
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    clock_offset_ms: i64,
}

pub(crate) async fn run(servers: &Servers, args: WriterArgs) -> Result<()> {
    let stop = shutdown()?;
    let pool = servers.pool(args.tasks)?;
    let store = PgStore::new(pool.clone(), PgConfig::default());
    let mut tasks = JoinSet::new();
    for _ in 0..args.tasks {
        let writer = Writer {
            args: args.clone(),
            domain: OmniBoxDomainService::default(),
            pool: pool.clone(),
            store: store.clone(),
        };
        tasks.spawn(writer.run(stop.clone()));
    }
    println!("ready");
    while let Some(finished) = tasks.join_next().await {
        finished??;
    }
    println!("done");
    Ok(())
}

struct Writer {
    args: WriterArgs,
    domain: OmniBoxDomainService,
    pool: PgPool,
    store: PgStore,
}

impl Writer {
    async fn run(self, stop: CancellationToken) -> Result<()> {
        let mut written = 0;
        let mut is_down = false;
        while self.args.transactions.is_none_or(|goal| written < goal) && !stop.is_cancelled() {
            match self.attempt().await {
                Ok(()) => {
                    written += 1;
                    is_down = false;
                    tokio::time::sleep(Duration::from_millis(self.args.pause_ms)).await;
                }
                // whether it committed may be unknown: the journal tells, and the missing stamp asks for no order
                Err(error) => {
                    if !is_down {
                        tracing::warn!(error = format!("{error:#}"), "writer waits");
                    }
                    is_down = true;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        Ok(())
    }

    /// A transaction; one that fails or hangs takes its connection along.
    async fn attempt(&self) -> Result<()> {
        let mut conn = self.pool.acquire().await?;
        let outcome = timeout(GIVEN_UP, self.transaction(&mut conn)).await.context("it hangs").flatten();
        if outcome.is_err() {
            conn.close_on_drop();
        }
        outcome
    }

    async fn transaction(&self, conn: &mut PgConnection) -> Result<()> {
        let is_rolled_back = fastrand::u32(0..100) < self.args.rollback_percent;
        let is_late = fastrand::u32(0..100) < self.args.late_percent;
        let mut open = conn.begin().await?;
        let mut intents = Vec::new();
        let mut number = 0;
        let mut left = fastrand::usize(self.args.min_events..=self.args.max_events);
        while left > 0 {
            // one at a time or several in one call
            let events: Vec<OutboxEvent> =
                (0..fastrand::usize(1..=left)).map(|_| self.event()).collect::<Result<_>>()?;
            left -= events.len();
            let batch: Vec<Intent> = events.iter().map(intent).collect();
            number = journal::intend(&mut open, &batch).await?;
            intents.extend(batch);
            match events.as_slice() {
                [event] => drop(self.store.create(&mut open, event).await?),
                events => drop(self.store.create_many(&mut open, events).await?),
            }
            if is_late {
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=self.args.late_ms))).await;
            }
        }
        if is_rolled_back {
            open.rollback().await?;
            journal::rolled_back(conn, &intents).await?;
        } else {
            open.commit().await?;
            journal::committed(conn, number).await?;
        }
        Ok(())
    }

    fn event(&self) -> Result<OutboxEvent> {
        let topic = &self.args.topic[fastrand::usize(..self.args.topic.len())];
        let key = format!("{}canary-in-the-key-{}", self.args.key_prefix, fastrand::u32(..self.args.keys));
        let body = serde_json::json!({ "text": "canary-in-the-payload", "noise": fastrand::u64(..) });
        let event = self.domain.create_outbox_event(
            NewOutboxEvent::new("chaos.written", topic, &body)
                .partition_key(&key)
                .header("tenant", "canary-in-the-header"),
        )?;
        Ok(match self.args.clock_offset_ms {
            0 => event,
            offset => shift(event, offset),
        })
    }
}

fn intent(event: &OutboxEvent) -> Intent {
    Intent {
        event_id: event.id().as_uuid(),
        topic: event.topic().to_owned(),
        partition_key: event.partition_key().map(str::to_owned),
    }
}

/// The event as a process with another clock would have made it.
fn shift(event: OutboxEvent, offset_ms: i64) -> OutboxEvent {
    let now = event.lifecycle().created_at() + TimeDelta::milliseconds(offset_ms);
    let (seconds, nanos) = (now.timestamp().unsigned_abs(), now.timestamp_subsec_nanos());
    let record = OutboxRecord {
        id: Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, nanos)).into(),
        content: event.content().clone(),
        aggregate_type: None,
        aggregate_id: None,
        topic: event.topic().to_owned(),
        partition_key: event.partition_key().map(str::to_owned),
    };
    let lifecycle = LifecycleRecord {
        status: event.status(),
        attempts_made: 0,
        max_attempts: event.lifecycle().max_attempts(),
        last_error: None,
        scheduled_at: None,
        completed_at: None,
        lock: None,
        created_at: now,
        updated_at: now,
    };
    OutboxEvent::restore(record, lifecycle.into())
}
