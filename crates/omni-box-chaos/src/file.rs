//! Writers and relays on an SQLite file. The journal is a table of the file; its numbers are the stamps.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use omni_box::sqlite::{SqliteConfig, SqliteStore};
use omni_box::store::EventRepository as _;
use omni_box::{Event as _, NewOutboxEvent, OmniBoxDomainService, OutboxEvent, OutboxRelay, Store as _};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::servers::{Servers, shutdown};

/// An event, the stamp of a commit that has returned, or an event that was rolled back.
const JOURNAL: &str = "create table if not exists chaos_journal (
    stamp integer primary key autoincrement,
    event_id text, topic text, partition_key text, tx integer, rolled_back integer not null default 0
)";

#[derive(Args, Clone)]
pub(crate) struct WriterArgs {
    /// The file.
    #[arg(long)]
    file: PathBuf,
    /// The topic to write to.
    #[arg(long)]
    topic: String,
    /// Keys to write for.
    #[arg(long, default_value_t = 20)]
    keys: u32,
    /// Transactions that wait for the file's write lock at a time.
    #[arg(long, default_value_t = 2)]
    tasks: u32,
}

#[derive(Args)]
pub(crate) struct RelayArgs {
    /// The file.
    #[arg(long)]
    file: PathBuf,
    /// How long its leases live.
    #[arg(long, default_value_t = 1_500)]
    lease_ttl_ms: u64,
}

pub(crate) async fn write(args: WriterArgs) -> Result<()> {
    let stop = shutdown()?;
    let store = SqliteStore::open(&args.file, SqliteConfig::default()).await?;
    store.migrate().await?;
    sqlx::query(JOURNAL).execute(store.pool()).await?;
    let mut tasks = JoinSet::new();
    for _ in 0..args.tasks {
        let (store, args, stop) = (store.clone(), args.clone(), stop.clone());
        tasks.spawn(async move { write_until(&store, &args, &stop).await });
    }
    println!("ready");
    while let Some(finished) = tasks.join_next().await {
        finished??;
    }
    println!("done");
    Ok(())
}

async fn write_until(store: &SqliteStore, args: &WriterArgs, stop: &CancellationToken) -> Result<()> {
    let domain = OmniBoxDomainService::default();
    while !stop.is_cancelled() {
        let events: Vec<OutboxEvent> = (0..fastrand::usize(1..=6))
            .map(|_| {
                let key = format!("key-{}", fastrand::u32(..args.keys));
                let event =
                    NewOutboxEvent::new("chaos.written", &args.topic, &serde_json::json!({ "key": key }));
                domain.create_outbox_event(event.partition_key(&key))
            })
            .collect::<omni_box::Result<_>>()?;
        let mut open = store.begin().await?;
        let mut tx = 0;
        for event in &events {
            let stamp =
                sqlx::query("insert into chaos_journal (event_id, topic, partition_key) values (?1, ?2, ?3)")
                    .bind(event.id().to_string())
                    .bind(event.topic())
                    .bind(event.partition_key())
                    .execute(&mut *open)
                    .await?
                    .last_insert_rowid();
            tx = stamp;
        }
        sqlx::query("update chaos_journal set tx = ?1 where stamp > ?1 - ?2 and stamp <= ?1")
            .bind(tx)
            .bind(events.len() as i64)
            .execute(&mut *open)
            .await?;
        store.create_many(&mut open, &events).await?;
        if fastrand::u32(0..10) == 0 {
            store.rollback(open).await?;
            for event in &events {
                sqlx::query("insert into chaos_journal (event_id, rolled_back) values (?1, 1)")
                    .bind(event.id().to_string())
                    .execute(store.pool())
                    .await?;
            }
        } else {
            store.commit(open).await?;
            sqlx::query("insert into chaos_journal (tx) values (?1)").bind(tx).execute(store.pool()).await?;
        }
    }
    Ok(())
}

pub(crate) async fn relay(servers: &Servers, args: RelayArgs) -> Result<()> {
    let shutdown = shutdown()?;
    let lease_ttl = Duration::from_millis(args.lease_ttl_ms);
    let config = SqliteConfig::builder().busy_timeout(lease_ttl / 2).build()?;
    let store = SqliteStore::open(&args.file, config).await?;
    store.migrate().await?;
    let relay = OutboxRelay::builder(store, servers.publisher()?)
        .worker_id(servers.worker_id()?)
        .lease_ttl(lease_ttl)
        .build()?;
    println!("ready");
    relay.run(shutdown).await?;
    println!("done");
    Ok(())
}
