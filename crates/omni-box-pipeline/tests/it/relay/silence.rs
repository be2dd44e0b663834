//! A database that takes a call and never answers: its host is gone, and no packet says so.

use omni_box_core::{DeliveryMode, ErrorKind};
use omni_box_testkit::{FaultPlan, Faulty, MemoryStore, Operation};
use tokio::time::timeout;

use super::memory::{Memory, start};
use super::*;

/// Runs a relay one of whose calls is not answered, before or after it took effect, and sees whether it has recovered a minute later.
async fn recovers(memory: &Memory, operation: Operation, running: &mut Running) -> Result<()> {
    timeout(SOON, memory.plan.until_frozen()).await.expect("the call is made");
    let minute = timeout(Duration::from_secs(60), &mut running.task).await;
    minute.expect_err("the relay goes on");
    memory.enqueue(&["c"]).await?;
    let took = memory.marked(3).await;
    assert!(took <= Duration::from_secs(5), "{took:?} a minute after {operation:?} was not answered");
    Ok(())
}

fn freeze(memory: &Memory, operation: Operation, takes_effect: bool) -> Faulty<MemoryStore> {
    let trigger = memory.plan.on(operation);
    if takes_effect {
        trigger.freeze_after()
    } else {
        trigger.freeze_before()
    }
    Faulty::new(memory.store.clone(), &memory.plan)
}

#[tokio::test(start_paused = true)]
async fn ends_no_fetch_no_settlement_and_no_lease_for_ever() -> Result<()> {
    let operations = [
        Operation::DeliveryMode,
        Operation::Lease,
        Operation::FetchLanes,
        Operation::SettleLanes,
        Operation::Announce,
    ];
    for (operation, takes_effect) in operations.into_iter().flat_map(|call| [(call, false), (call, true)]) {
        let memory = Memory::new(DeliveryMode::Lanes);
        memory.enqueue(&["a", "b"]).await?;
        let mut running = start(memory.relay(freeze(&memory, operation, takes_effect)));
        recovers(&memory, operation, &mut running).await?;
        assert_eq!(memory.published(), 3, "what is in flight is not sent again: {operation:?}");
        running.stop().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn ends_no_hand_over_for_ever() -> Result<()> {
    for takes_effect in [false, true] {
        let memory = Memory::new(DeliveryMode::Lanes);
        let mut first = start(memory.relay(freeze(&memory, Operation::ReleaseLanes, takes_effect)));
        memory.enqueue(&["a", "b"]).await?;
        memory.completed(2).await;
        let second = start(memory.relay(memory.store.clone()));
        timeout(SOON, memory.plan.until_frozen()).await.expect("lanes are handed over");
        timeout(Duration::from_secs(60), &mut first.task).await.expect_err("the relay goes on");
        // the first is still there for what the second gives back
        second.stop().await?;
        memory.enqueue(&["a", "b", "c"]).await?;
        memory.completed(5).await;
        first.stop().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn ends_no_leave_for_ever() -> Result<()> {
    for takes_effect in [false, true] {
        let memory = Memory::new(DeliveryMode::Lanes);
        memory.plan.on(Operation::Submit).times(20).fail_before(ErrorKind::Unavailable);
        memory.enqueue(&["a", "b"]).await?;
        let mut running = start(memory.relay(freeze(&memory, Operation::Leave, takes_effect)));
        timeout(Duration::from_secs(120), memory.plan.until_frozen()).await.expect("leases are given back");
        memory.plan.clear();
        timeout(Duration::from_secs(60), &mut running.task).await.expect_err("the relay goes on");
        memory.completed(2).await;
        running.stop().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn ends_nothing_for_ever_in_mode_rows() -> Result<()> {
    let operations = [
        Operation::DeliveryMode,
        Operation::Claim,
        Operation::CompleteMany,
        Operation::MarkFailed,
        Operation::ReleaseClaims,
    ];
    for (operation, takes_effect) in operations.into_iter().flat_map(|call| [(call, false), (call, true)]) {
        let memory = Memory::new(DeliveryMode::Rows);
        match operation {
            Operation::MarkFailed => memory.plan.on(Operation::Deliver).fail_before(ErrorKind::Handler),
            Operation::ReleaseClaims => memory.plan.on(Operation::Submit).fail_before(ErrorKind::Unavailable),
            _ => {}
        }
        memory.enqueue(&["a", "b"]).await?;
        let mut running = start(memory.relay(freeze(&memory, operation, takes_effect)));
        recovers(&memory, operation, &mut running).await?;
        running.stop().await?;
    }
    Ok(())
}

/// If the relay gave it up, it would make it again without end.
#[tokio::test(start_paused = true)]
async fn is_not_a_database_that_takes_longer_than_a_lease() -> Result<()> {
    let memory = Memory::new(DeliveryMode::Lanes);
    for operation in [Operation::FetchLanes, Operation::SettleLanes] {
        memory.plan.on(operation).always().delay(Duration::from_secs(20));
    }
    memory.enqueue(&["a", "b"]).await?;
    let relay = memory.relay(Faulty::new(memory.store.clone(), &memory.plan));
    let running = start(relay.lease_ttl(Duration::from_secs(10)));
    let took = memory.completed(2).await;
    assert!(took <= Duration::from_secs(60), "{took:?} for two statements of 20 s");
    running.stop().await?;
    Ok(())
}

/// It is given up in time for another one.
#[tokio::test(start_paused = true)]
async fn costs_no_lane_when_a_heartbeat_is_not_answered() -> Result<()> {
    for (operation, takes_effect) in
        [(Operation::Lease, false), (Operation::Lease, true), (Operation::Announce, false)]
    {
        let (memory, database) = (Memory::new(DeliveryMode::Lanes), FaultPlan::new());
        let freeze = || match takes_effect {
            true => database.on(operation).freeze_after(),
            false => database.on(operation).freeze_before(),
        };
        let second = start(memory.relay(memory.store.clone()));
        memory.enqueue(&["a"]).await?;
        memory.completed(1).await;
        let relay = memory.relay(Faulty::new(memory.store.clone(), &database)).build()?;
        let (status, shutdown) = (relay.status(), CancellationToken::new());
        if operation == Operation::Announce {
            // it announces that it is idle soon after it has its lanes
            freeze();
        }
        let mut first = Running { task: tokio::spawn(relay.run(shutdown.clone())), shutdown };
        eventually(SOON, async || status.now().lanes.len() == 8).await;
        let lanes = status.now().lanes;
        if operation == Operation::Lease {
            timeout(Duration::from_secs(60), &mut first.task).await.expect_err("the relay goes on");
            freeze();
        }
        timeout(SOON, database.until_frozen()).await.expect("the call is made");
        for _second in 0..60 {
            timeout(Duration::from_secs(1), &mut first.task).await.expect_err("the relay goes on");
            assert_eq!(status.now().lanes, lanes, "{operation:?}");
        }
        assert_eq!(memory.plan.calls(Operation::Purge), 0, "no lease was lost: {operation:?}");
        first.stop().await?;
        second.stop().await?;
    }
    Ok(())
}
