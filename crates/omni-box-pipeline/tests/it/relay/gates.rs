//! What an outage leaves in the log: a line when it begins and one when it ends, however often anybody tried.

use omni_box_core::{DeliveryMode, ErrorKind};
use omni_box_testkit::{FaultPlan, Faulty, Operation};
use tokio::time::timeout;

use super::memory::{LONGEST_RETRY, Memory, start};
use super::*;
use crate::gate_log::GateLog;

/// Cuts what `plan` stands before, twice, and sees what was logged.
async fn outages(memory: &Memory, database: &FaultPlan, plan: &FaultPlan, what: &str) -> Result<()> {
    let log = GateLog::listen();
    let mut running = start(memory.relay(Faulty::new(memory.store.clone(), database)));
    memory.enqueue(&["a"]).await?;
    memory.completed(1).await;
    assert_eq!(log.lines(), [""; 0]);
    let tries = || -> u64 {
        let asked = [Operation::Lease, Operation::FetchLanes, Operation::DeliveryMode, Operation::Check];
        asked.into_iter().map(|operation| plan.calls(operation)).sum()
    };
    let mut expected = Vec::new();
    for outage in 1..=2 {
        plan.cut();
        memory.enqueue(&["a"]).await?;
        let before = tries();
        timeout(Duration::from_secs(600), &mut running.task).await.expect_err("the relay goes on");
        assert!(tries() >= before + 10, "{} tries in outage {outage} of the {what}", tries() - before);
        plan.restore();
        memory.marked(1 + outage).await;
        expected.extend(GateLog::outage(what));
        eventually(SOON, async || log.lines().len() >= expected.len()).await;
        assert_eq!(log.lines(), expected, "in outage {outage} of the {what}");
    }
    running.stop().await?;
    assert_eq!(log.lines(), expected, "in the end");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_database_is_logged_once() -> Result<()> {
    for mode in [DeliveryMode::Lanes, DeliveryMode::Rows] {
        let database = FaultPlan::new();
        outages(&Memory::new(mode), &database, &database, "database").await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_broker_is_logged_once() -> Result<()> {
    for mode in [DeliveryMode::Lanes, DeliveryMode::Rows] {
        let memory = Memory::new(mode);
        outages(&memory, &FaultPlan::new(), &memory.plan, "broker").await?;
    }
    Ok(())
}

/// Heartbeats and other calls that come through meanwhile do not show that the outage is over.
#[tokio::test(start_paused = true)]
async fn a_call_that_always_fails_is_one_outage_and_costs_no_lease() -> Result<()> {
    for operation in [Operation::FetchLanes, Operation::SettleLanes, Operation::Announce] {
        let (memory, database) = (Memory::new(DeliveryMode::Lanes), FaultPlan::new());
        let log = GateLog::listen();
        let relay = memory.relay(Faulty::new(memory.store.clone(), &database)).build()?;
        let (status, shutdown) = (relay.status(), CancellationToken::new());
        let mut running = Running { task: tokio::spawn(relay.run(shutdown.clone())), shutdown };
        memory.enqueue(&["a"]).await?;
        memory.completed(1).await;

        database.on(operation).always().fail_before(ErrorKind::Unavailable);
        memory.enqueue(&["a"]).await?;
        let before = (database.calls(operation), database.calls(Operation::Lease));
        timeout(Duration::from_secs(600), &mut running.task).await.expect_err("the relay goes on");
        let tries = database.calls(operation) - before.0;
        assert!((20..=60).contains(&tries), "{tries} tries of {operation:?} in 10 minutes");
        let heartbeats = database.calls(Operation::Lease) - before.1;
        assert!(heartbeats >= 230, "{heartbeats} heartbeats in 10 minutes of {operation:?}");
        assert_eq!(log.lines(), GateLog::outage("database")[..1], "{operation:?}");
        assert_eq!(status.now().lanes.len(), 16, "{operation:?}");

        database.clear();
        let took = memory.marked(2).await;
        assert!(took <= LONGEST_RETRY + Duration::from_secs(1), "{took:?} after {operation:?}");
        eventually(SOON, async || log.lines().len() > 1).await;
        assert_eq!(log.lines(), GateLog::outage("database"), "{operation:?}");
        running.stop().await?;
    }
    Ok(())
}
