//! What a relay says of itself, as a readiness probe asks it.

use omni_box_core::DeliveryMode;
use omni_box_pipeline::{GateStatus, RelaySnapshot, RelayStatus};
use omni_box_testkit::{FaultPlan, Faulty, Operation};
use tokio::time::{Instant, timeout};

use super::memory::{Memory, TOPIC};
use super::*;

const MODES: [DeliveryMode; 2] = [DeliveryMode::Lanes, DeliveryMode::Rows];

fn start<S: omni_box_core::OutboxRepository>(relay: OutboxRelay<S>) -> Running {
    let shutdown = CancellationToken::new();
    Running { task: tokio::spawn(relay.run(shutdown.clone())), shutdown }
}

fn gate(snapshot: &RelaySnapshot, name: &str) -> GateStatus {
    *snapshot.gates.iter().find(|gate| gate.name == name).expect("a running relay has its gates")
}

/// Waits until the relay says so, and returns all that it says then.
async fn until(status: &RelayStatus, holds: impl Fn(&RelaySnapshot) -> bool) -> RelaySnapshot {
    eventually(SOON, async || holds(&status.now())).await;
    status.now()
}

#[tokio::test(start_paused = true)]
async fn tells_since_when_the_broker_is_down_and_that_it_is_well_again() -> Result<()> {
    for mode in MODES {
        let memory = Memory::new(mode);
        let relay = memory.relay(memory.store.clone()).build()?;
        let status = relay.status();
        assert_eq!(status.now(), RelaySnapshot::default());
        assert!(!status.now().is_ready(), "before it runs");
        let mut running = start(relay);
        memory.enqueue(&["a"]).await?;
        memory.completed(1).await;
        let well = until(&status, |status| status.is_ready() && status.in_flight == 0).await;
        assert_eq!(well.mode, Some(mode));
        assert_eq!(well.lanes.len(), if mode == DeliveryMode::Lanes { 16 } else { 0 });
        let progress = well.last_progress.expect("an event was published");

        memory.plan.cut();
        let cut = Instant::now();
        memory.enqueue(&["b"]).await?;
        let down = until(&status, |status| !status.is_ready()).await;
        let since = gate(&down, "broker").closed_since.expect("it is closed");
        assert!((cut..cut + Duration::from_secs(5)).contains(&since), "mode {mode}");
        assert!(gate(&down, "database").is_open() && down.is_running, "mode {mode}");
        timeout(Duration::from_secs(600), &mut running.task).await.expect_err("the relay goes on");
        let later = status.now();
        assert_eq!(gate(&later, "broker").closed_since, Some(since), "mode {mode}");
        assert!(later.last_progress < Some(cut + Duration::from_secs(5)), "mode {mode}");

        memory.plan.restore();
        memory.completed(2).await;
        let well = until(&status, |status| status.is_ready() && status.in_flight == 0).await;
        assert!(well.last_progress > Some(progress), "mode {mode}");
        running.stop().await?;
        let ended = status.now();
        assert!(!ended.is_running && !ended.is_ready() && ended.lanes.is_empty(), "mode {mode}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn tells_of_a_database_that_never_answered() -> Result<()> {
    let (memory, database) = (Memory::new(DeliveryMode::Lanes), FaultPlan::new());
    database.cut();
    let relay = memory.relay(Faulty::new(memory.store.clone(), &database)).build()?;
    let status = relay.status();
    let running = start(relay);
    let down = until(&status, |status| !status.gates.is_empty()).await;
    assert!(down.is_running && !down.is_ready());
    assert_eq!((down.mode, gate(&down, "database").is_open()), (None, false));
    database.restore();
    until(&status, RelaySnapshot::is_ready).await;
    running.stop().await
}

#[tokio::test(start_paused = true)]
async fn counts_what_is_in_flight() -> Result<()> {
    for mode in MODES {
        let memory = Memory::new(mode);
        let relay = memory.relay(memory.store.clone()).build()?;
        let status = relay.status();
        let running = start(relay);
        memory.plan.on(Operation::Deliver).delay(Duration::from_secs(3));
        memory.enqueue_to(TOPIC, &["a", "b"]).await?;
        until(&status, |status| status.in_flight == 2).await;
        memory.completed(2).await;
        until(&status, |status| status.in_flight == 0).await;
        running.stop().await?;
    }
    Ok(())
}

/// All that it has asked for answers well, and yet it does not know what to do.
#[tokio::test(start_paused = true)]
async fn a_relay_that_does_not_know_its_mode_is_not_ready() -> Result<()> {
    for mode in MODES {
        let (memory, database) = (Memory::new(mode), FaultPlan::new());
        database.on(Operation::DeliveryMode).freeze_before();
        let relay = memory.relay(Faulty::new(memory.store.clone(), &database)).build()?;
        let status = relay.status();
        let running = start(relay);
        database.until_frozen().await;
        let begun = status.now();
        assert!(begun.is_running && begun.gates.iter().all(GateStatus::is_open), "mode {mode}");
        assert!(begun.mode.is_none() && !begun.is_ready(), "mode {mode}");
        database.release();
        until(&status, RelaySnapshot::is_ready).await;
        running.stop().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_dropped_has_nothing() -> Result<()> {
    for mode in MODES {
        let memory = Memory::new(mode);
        let relay = memory.relay(memory.store.clone()).build()?;
        let status = relay.status();
        let running = start(relay);
        memory.plan.on(Operation::Deliver).freeze_before();
        memory.enqueue_to(TOPIC, &["a", "b"]).await?;
        until(&status, |status| status.in_flight == 2).await;
        running.task.abort();
        assert!(running.task.await.expect_err("it was aborted").is_cancelled());
        let ended = status.now();
        assert!(!ended.is_running && !ended.is_ready() && ended.lanes.is_empty(), "mode {mode}");
        assert_eq!((ended.in_flight, ended.mode), (0, Some(mode)));
    }
    Ok(())
}
