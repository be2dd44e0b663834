//! A relay on an SQLite file.

use omni_box_core::RawEventConverter;
use omni_box_sqlite::{SqliteConfig, SqliteStore};
use omni_box_testkit::{FaultPlan, Faulty, MemoryBroker, Operation};

use super::*;

/// Each heartbeat changes the file, which is what a relay on a file is woken by.
#[tokio::test]
async fn an_idle_relay_is_not_woken_by_its_own_heartbeats() -> Result<()> {
    const HEARTBEATS: u64 = 12;
    let directory = tempfile::tempdir()?;
    let (longest_poll, ttl) = (Duration::from_millis(900), Duration::from_secs(1));
    let config = SqliteConfig::builder().busy_timeout(ttl / 2).build()?;
    let store = SqliteStore::open(directory.path().join("omni.db"), config).await?;
    store.migrate().await?;
    let plan = FaultPlan::new();
    let relay = OutboxRelay::builder(
        Faulty::new(store.clone(), &plan),
        MemoryBroker::new().publisher(RawEventConverter),
    )
    .lease_ttl(ttl)
    .poll_interval(Duration::from_millis(5), longest_poll)
    .build()?;
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(relay.run(shutdown.clone()));
    // the beginning: lanes are taken, the outbox is found empty, and writers are told
    eventually(SOON, async || plan.calls(Operation::Announce) > 0 && plan.calls(Operation::Lease) > 4).await;
    let (heartbeats, fetches) = (plan.calls(Operation::Lease), plan.calls(Operation::FetchLanes));
    eventually(SOON, async || plan.calls(Operation::Lease) >= heartbeats + HEARTBEATS).await;
    let fetches = plan.calls(Operation::FetchLanes) - fetches;
    // a heartbeat is a quarter of the lease
    let polls = (ttl / 4 * HEARTBEATS as u32).div_duration_f64(longest_poll);
    assert!(fetches as f64 <= polls + 2.0, "{fetches} fetches in the time of {polls:.1} polls");
    shutdown.cancel();
    task.await??;
    Ok(())
}
