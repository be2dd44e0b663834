//! Partitions that wait for their turn to work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use omni_box_core::{EventStatus, HandlerOutcome};
use omni_box_harness::eventually;
use omni_box_testkit::Operation;
use serde_json::json;
use tokio::sync::Notify;

use super::memory::{Handler, Memory};
use super::service::{LONG, Running};

#[tokio::test]
async fn a_partition_that_waits_for_its_turn_goes_when_it_is_taken_away() {
    let memory = Memory::with_partitions(2);
    let go = Arc::new(Notify::new());
    let handler = {
        let go = go.clone();
        Handler::new(move |id, _| {
            let go = go.clone();
            async move {
                if id == "slow" {
                    go.notified().await;
                }
                Ok(HandlerOutcome::Completed)
            }
        })
    };
    let running = Running::new(memory.builder(&handler).concurrency_limit(1));
    eventually(LONG, async || memory.plan.calls(Operation::Attach) == 2).await;
    memory.broker.send(0, "slow", "k", json!({}));
    eventually(LONG, async || handler.calls("slow") == 1).await;
    let looks = memory.looks();
    memory.broker.send(1, "waits", "k", json!({}));
    eventually(LONG, async || memory.looks() > looks).await;
    memory.broker.revoke_partition(1);
    // sooner than the handler's time is over, which would let the partition work
    eventually(Duration::from_secs(15), async || memory.plan.calls(Operation::Detach) == 1).await;
    assert_eq!(memory.completed(), 0, "the other partition is at work still");
    go.notify_one();
    eventually(LONG, async || memory.completed() == 1).await;
    running.stop().await;
}

/// After an unclean end each partition has a message that may have been the cause. Only one at a time is found with its attempt counted.
#[tokio::test]
async fn of_partitions_that_go_carefully_one_begins_a_message_at_a_time() {
    const PARTITIONS: i32 = 4;
    let memory = Memory::with_partitions(PARTITIONS);
    let (is_slow, begun, go) =
        (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
    let handler = {
        let (is_slow, begun, go) = (is_slow.clone(), begun.clone(), go.clone());
        Handler::new(move |id, _| {
            begun.lock().unwrap().push(id);
            let (is_slow, go) = (is_slow.clone(), go.clone());
            async move {
                if is_slow.load(Ordering::SeqCst) {
                    go.notified().await;
                }
                Ok(HandlerOutcome::Completed)
            }
        })
    };
    for partition in 0..PARTITIONS {
        memory.broker.send(partition, &format!("m{partition}"), "k", json!({}));
    }
    let running = Running::new(memory.builder(&handler));
    eventually(LONG, async || begun.lock().unwrap().len() == PARTITIONS as usize).await;
    running.crash().await;

    let charged = || {
        (0..PARTITIONS)
            .filter(|n| memory.row(&format!("m{n}")).is_some_and(|(_, attempts)| attempts > 0))
            .count()
    };
    assert_eq!(charged(), 0, "it is not known to be a handler's doing");
    for ends in 1..=3 {
        begun.lock().unwrap().clear();
        let attached = memory.plan.calls(Operation::Attach);
        let running = Running::new(memory.builder(&handler));
        eventually(LONG, async || {
            memory.plan.calls(Operation::Attach) == attached + PARTITIONS as u64
                && !begun.lock().unwrap().is_empty()
        })
        .await;
        // whatever else could begin has had the time for it: a message that goes alone does not wait for others
        let looks = memory.looks();
        eventually(LONG, async || memory.looks() > looks + 10).await;
        assert_eq!(begun.lock().unwrap().len(), 1, "end {ends}");
        running.crash().await;
    }
    assert!(charged() <= 3, "at most one message for each end");

    is_slow.store(false, Ordering::SeqCst);
    let running = Running::new(memory.builder(&handler));
    memory.drained().await;
    running.stop().await;
    let statuses = (0..PARTITIONS).map(|n| memory.row(&format!("m{n}")).unwrap().0);
    assert!(statuses.into_iter().all(|status| status == EventStatus::Completed));
}
