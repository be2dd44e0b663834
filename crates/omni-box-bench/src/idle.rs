//! `idle`, `idle_sqlite`: what a relay costs that has nothing to do.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use omni_box::sqlite::{SqliteConfig, SqliteStore};
use omni_box_harness::usage::seconds_of;
use omni_box_harness::{TestDatabase, topic, usage};

use crate::relay::Relay;
use crate::report::Report;
use crate::run::Run;
use crate::table;

/// By then a relay has told writers that it sleeps, and its polls have become rare.
const SETTLES: Duration = Duration::from_secs(5);
/// Events that were published before.
const BEFORE: usize = 100;

/// A relay on an outbox of PostgreSQL whose events are published.
pub(crate) async fn postgres(run: &Run, seconds: usize) -> Result<Report> {
    let database = TestDatabase::create_on(&run.servers.database_url).await?;
    let store = table::store(&database).await?;
    // an outbox that was never used is another case: nothing is known of it
    let topic = topic::create_topic(run.brokers(), run.name, 1, &[]).await?;
    table::fill(&store, &topic, BEFORE, BEFORE).await?;
    let relay = Relay::start(&database.url(), run.brokers())?;
    table::drained(database.pool(), run.brokers(), &topic, BEFORE).await?;
    let report = watch(run, relay, seconds).await?;
    database.close().await?;
    Ok(report)
}

/// A relay on an empty outbox of SQLite.
pub(crate) async fn sqlite(run: &Run, seconds: usize) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("idle.db");
    let store = SqliteStore::open(&file, SqliteConfig::default()).await?;
    store.migrate().await?;
    store.pool().close().await;
    let relay = Relay::start_on(&file, &run.servers.database_url, run.brokers())?;
    watch(run, relay, seconds).await
}

async fn watch(run: &Run, mut relay: Relay, seconds: usize) -> Result<Report> {
    run.progress.preparing("waiting until it sleeps");
    tokio::time::sleep(SETTLES).await;
    let pid = relay.pid()?;
    let (before, processor) = (relay.told().await?, seconds_of(pid));
    anyhow::ensure!(before.lanes == 16, "a relay alone owns {} of 16 lanes", before.lanes);
    let start = Instant::now();
    run.progress.begin(seconds);
    for second in 1..=seconds {
        tokio::time::sleep_until((start + Duration::from_secs(second as u64)).into()).await;
        run.progress.at(second);
    }
    let elapsed = start.elapsed();
    let used = seconds_of(pid).zip(processor).map(|(after, before)| after - before);
    let used = used.context("the relay's processor time cannot be told")?;
    let after = relay.told().await?;
    let memory = usage::rss_mib(pid);
    relay.stop().await?;

    let mut report = Report::new(run.name, usize::try_from(after.statements - before.statements)?, elapsed);
    report.core_share = Some(used / elapsed.as_secs_f64());
    report.rss_mib = memory;
    report.remark = format!("events are statements; {:.2} % of a core", used / elapsed.as_secs_f64() * 100.0);
    Ok(report)
}
