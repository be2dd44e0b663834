//! What an inbox says of itself, as a readiness probe asks it.

use std::time::Duration;

use omni_box_core::{ConsumerGroup, HandlerOutcome};
use omni_box_harness::eventually;
use omni_box_pipeline::{GateStatus, InboxSnapshot, InboxStatus, InboxWorker};
use omni_box_testkit::Operation;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::memory::{Handler, Memory};
use super::service::{GROUP, LONG};
use crate::gate_log::GateLog;

fn gate(snapshot: &InboxSnapshot, name: &str) -> GateStatus {
    *snapshot.gates.iter().find(|gate| gate.name == name).expect("an inbox has its gates")
}

/// Waits until the inbox says so, and returns all that it says then.
async fn until(status: &InboxStatus, holds: impl Fn(&InboxSnapshot) -> bool) -> InboxSnapshot {
    eventually(LONG, async || holds(&status.now())).await;
    status.now()
}

fn completes() -> Handler {
    Handler::new(|_, _| async { Ok(HandlerOutcome::Completed) })
}

/// It runs, has nothing left, and is ready.
fn is_idle(snapshot: &InboxSnapshot) -> bool {
    snapshot.is_ready() && snapshot.in_flight == 0 && snapshot.last_progress.is_some()
}

#[tokio::test(start_paused = true)]
async fn tells_since_when_something_is_down_and_that_it_is_well_again() {
    let memory = Memory::with_partitions(2);
    let runner = memory.builder(&completes()).build().unwrap();
    let (status, stop) = (runner.status(), CancellationToken::new());
    let before = status.now();
    assert!(!before.is_running && !before.is_ready() && before.partitions.is_empty());
    assert_eq!(before.last_progress, None);
    let running = tokio::spawn(runner.run(stop.clone()));
    let well = until(&status, |status| is_idle(status) && status.partitions.len() == 2).await;
    assert!(well.partitions.is_sorted() && well.partitions[0].partition == 0);

    memory.plan.cut();
    let cut = Instant::now();
    memory.broker.send(0, "m0", "k", json!({}));
    let down = until(&status, |status| !status.is_ready()).await;
    let since = gate(&down, "database").closed_since.expect("it is closed");
    assert!((cut..cut + Duration::from_secs(5)).contains(&since));
    assert!(down.is_running && gate(&down, "offset commit").is_open());
    assert_eq!(down.in_flight, 1);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(gate(&status.now(), "database").closed_since, Some(since), "one outage");

    memory.plan.restore();
    let well = until(&status, is_idle).await;
    assert!(well.last_progress >= Some(cut + Duration::from_secs(600)), "it goes on");

    memory.broker.refuse_commits();
    memory.broker.send(0, "m1", "k", json!({}));
    let down = until(&status, |status| !status.is_ready()).await;
    assert!(!gate(&down, "offset commit").is_open() && gate(&down, "database").is_open());
    memory.broker.accept_commits();
    until(&status, is_idle).await;

    stop.cancel();
    running.await.unwrap().unwrap();
    let ended = status.now();
    assert!(!ended.is_running && !ended.is_ready() && ended.partitions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_is_dropped_has_nothing() {
    let memory = Memory::new();
    let stuck = Handler::new(|_, _| std::future::pending());
    let runner = memory.builder(&stuck).build().unwrap();
    let status = runner.status();
    let running = tokio::spawn(runner.run(CancellationToken::new()));
    memory.broker.send(0, "m0", "k", json!({}));
    until(&status, |status| status.in_flight == 1 && status.is_running).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    let ended = until(&status, |status| status.in_flight == 0).await;
    assert!(!ended.is_running && ended.partitions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn workers_of_stored_messages_tell_the_same() {
    let memory = Memory::new();
    let worker = InboxWorker::builder(memory.store.clone())
        .consumer_group(ConsumerGroup::new(GROUP).unwrap())
        .handler(completes())
        .build()
        .unwrap();
    let (status, stop) = (worker.status(), CancellationToken::new());
    assert!(!status.now().is_ready());
    let running = tokio::spawn(worker.run(stop.clone()));
    until(&status, is_idle).await;

    memory.plan.cut();
    let down = until(&status, |status| !status.is_ready()).await;
    assert!(!gate(&down, "database").is_open() && down.is_running);
    memory.plan.restore();
    until(&status, is_idle).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    assert!(!status.now().is_running);
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_came_back_before_it_was_let_go_is_assigned() {
    let memory = Memory::new();
    let runner = memory.builder(&completes()).build().unwrap();
    let (status, stop) = (runner.status(), CancellationToken::new());
    let running = tokio::spawn(runner.run(stop.clone()));
    memory.broker.send(0, "m0", "k", json!({}));
    memory.drained().await;

    memory.plan.on(Operation::Detach).freeze_before();
    memory.broker.lose();
    memory.plan.until_frozen().await;
    memory.broker.give_back();
    memory.broker.send(0, "m1", "k", json!({}));
    memory.drained().await;
    assert_eq!(status.now().partitions.len(), 1, "its last assignment is at its end");
    memory.plan.release();
    // all that can happen happens meanwhile
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(status.now().partitions.len(), 1, "its last assignment has ended, and not this one");
    stop.cancel();
    running.await.unwrap().unwrap();
    assert!(status.now().partitions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_a_partition_ends_with_it() {
    let memory = Memory::new();
    let runner = memory.builder(&completes()).build().unwrap();
    let (status, stop) = (runner.status(), CancellationToken::new());
    let running = tokio::spawn(runner.run(stop.clone()));
    memory.broker.refuse_commits();
    memory.broker.send(0, "m0", "k", json!({}));
    until(&status, |status| !gate(status, "offset commit").is_open()).await;
    // before it is asked again, so that it never hears that it is well
    memory.broker.lose();
    memory.broker.accept_commits();
    until(&status, is_idle).await;
    memory.broker.give_back();
    memory.drained().await;
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_several_outages_the_first_counts() {
    let memory = Memory::with_partitions(2);
    let runner = memory.builder(&completes()).build().unwrap();
    let (status, stop) = (runner.status(), CancellationToken::new());
    let running = tokio::spawn(runner.run(stop.clone()));
    until(&status, |status| is_idle(status) && status.partitions.len() == 2).await;
    memory.broker.refuse_commits();
    memory.broker.send(1, "m1", "k", json!({}));
    let down = until(&status, |status| !status.is_ready()).await;
    let since = gate(&down, "offset commit").closed_since;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let second = Instant::now();
    memory.broker.send(0, "m0", "k", json!({}));
    // long enough for that to be refused too
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(memory.completed(), 2);
    assert_eq!(gate(&status.now(), "offset commit").closed_since, since);

    // the first ends with its partition, and comes again as the last
    memory.broker.revoke_partition(1);
    let later = until(&status, |status| gate(status, "offset commit").closed_since != since).await;
    let since = gate(&later, "offset commit").closed_since.expect("it is closed");
    assert!((second..second + Duration::from_secs(60)).contains(&since), "that of the other partition");
    memory.broker.accept_commits();
    memory.broker.give_back();
    // it is asked again within half a minute
    memory.drained().await;
    stop.cancel();
    running.await.unwrap().unwrap();
}

/// Before it takes anything, it says in the store how its group is handled, and waits until it can.
#[tokio::test(start_paused = true)]
async fn tells_of_a_database_that_is_away_at_the_start() {
    for is_stored in [false, true] {
        let (memory, log) = (Memory::new(), GateLog::listen());
        memory.plan.cut();
        let stop = CancellationToken::new();
        let (status, running) = if is_stored {
            let worker = InboxWorker::builder(memory.store.clone())
                .consumer_group(ConsumerGroup::new(GROUP).unwrap())
                .handler(completes())
                .build()
                .unwrap();
            (worker.status(), tokio::spawn(worker.run(stop.clone())))
        } else {
            let runner = memory.builder(&completes()).build().unwrap();
            (runner.status(), tokio::spawn(runner.run(stop.clone())))
        };
        let down = until(&status, |status| !gate(status, "database").is_open()).await;
        assert!(down.is_running && !down.is_ready());
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(gate(&status.now(), "database"), gate(&down, "database"), "one outage");
        memory.plan.restore();
        until(&status, is_idle).await;
        stop.cancel();
        running.await.unwrap().unwrap();
        assert_eq!(log.lines(), GateLog::outage("database"), "it is told of once");
    }
}
