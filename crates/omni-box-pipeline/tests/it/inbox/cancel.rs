//! Calls that are dropped before they return.

use std::time::Duration;

use omni_box_core::{ErrorKind, HandlerOutcome};
use omni_box_harness::eventually;
use omni_box_pipeline::{InboxConsumerRunner, Outcome};
use omni_box_testkit::{Faulty, MemoryStore, Operation};
use serde_json::json;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::memory::{Handler, Memory};
use super::service::{LONG, Running};

const SOON: Duration = Duration::from_millis(50);

/// Drops a call that has taken a message to its outcome, while the offset is being acknowledged.
async fn drop_when_done(
    memory: &Memory,
    runner: &mut InboxConsumerRunner<Faulty<MemoryStore>>,
    partition: i32,
    id: &str,
) {
    memory.broker.freeze_commits();
    memory.broker.send(partition, id, "k", json!({}));
    tokio::select! {
        told = runner.process_one(Instant::now() + LONG) => panic!("{told:?} before it is acknowledged"),
        () = memory.broker.until_frozen() => {}
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_dropped_call_has_done_is_told_by_the_next() {
    for is_revoked in [false, true] {
        let memory = Memory::new();
        let handler = Handler::new(|_, _| async { Ok(HandlerOutcome::Completed) });
        let mut runner = memory.builder(&handler).build().unwrap();
        drop_when_done(&memory, &mut runner, 0, "m0").await;
        assert_eq!(memory.completed(), 1);
        if is_revoked {
            memory.broker.revoke();
        }
        memory.broker.release_commits();
        let told = runner.process_one(Instant::now() + LONG).await.unwrap().expect("it is told");
        assert_eq!((told.message_id.as_str(), told.outcome), ("m0", Outcome::Completed));
        assert_eq!((handler.calls("m0"), told.committed), (1, true));

        if is_revoked {
            continue;
        }
        memory.broker.send(0, "m1", "k", json!({}));
        let next = runner.process_one(Instant::now() + LONG).await.unwrap().expect("the next one");
        assert_eq!((next.message_id.as_str(), next.outcome), ("m1", Outcome::Completed));
        assert_eq!(runner.process_one(Instant::now()).await.unwrap(), None, "nothing is left");
        runner.stop().await.unwrap();
    }
}

/// Whichever of two partitions it was in, and whatever the other one has.
#[tokio::test(start_paused = true)]
async fn what_a_dropped_call_has_done_is_told_before_anything_else_is_done() {
    for (done, other) in [(0, 1), (1, 0)] {
        for is_revoked in [false, true] {
            let case = format!("partition {done}, revoked: {is_revoked}");
            let memory = Memory::with_partitions(2);
            let handler = Handler::new(|_, _| async { Ok(HandlerOutcome::Completed) });
            let mut runner = memory.builder(&handler).build().unwrap();
            assert_eq!(runner.process_one(Instant::now() + SOON).await.unwrap(), None, "{case}");
            assert_eq!(memory.plan.calls(Operation::Attach), 2, "{case}");

            drop_when_done(&memory, &mut runner, done, "done").await;
            if is_revoked {
                memory.broker.revoke_partition(done);
            }
            memory.broker.send(other, "other", "k", json!({}));
            memory.broker.release_commits();
            let told = runner.process_one(Instant::now() + LONG).await.unwrap().expect("it is told");
            assert_eq!((told.message_id.as_str(), handler.calls("other")), ("done", 0), "{case}");
            assert!(told.committed, "{case}");
            assert_eq!(memory.plan.calls(Operation::Detach), u64::from(is_revoked), "{case}: let go of");

            let next = runner.process_one(Instant::now() + LONG).await.unwrap().expect("the next one");
            assert_eq!((next.message_id.as_str(), handler.calls("done")), ("other", 1), "{case}");
            runner.stop().await.unwrap();
        }
    }
}

/// What is told was done, though the call was dropped when it let go of the partition.
#[tokio::test(start_paused = true)]
async fn what_was_done_is_told_once_the_partition_is_gone() {
    let memory = Memory::new();
    let handler = Handler::new(|_, _| async { Ok(HandlerOutcome::Completed) });
    let mut runner = memory.builder(&handler).build().unwrap();
    drop_when_done(&memory, &mut runner, 0, "m").await;
    memory.broker.revoke();
    memory.broker.release_commits();
    memory.plan.on(Operation::Detach).freeze_before();
    tokio::select! {
        told = runner.process_one(Instant::now() + LONG) => panic!("{told:?} before it is let go of"),
        () = memory.plan.until_frozen() => {}
    }
    memory.plan.release();
    let told = runner.process_one(Instant::now() + LONG).await.unwrap().expect("it is told");
    assert_eq!((told.message_id.as_str(), told.outcome), ("m", Outcome::Completed));
    assert_eq!((handler.calls("m"), told.committed), (1, true));
    assert_eq!(runner.process_one(Instant::now()).await.unwrap(), None, "once");
    runner.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_dropped_call_has_done_keeps_no_run_from_working() {
    let memory = Memory::new();
    let handler = Handler::new(|_, _| async { Ok(HandlerOutcome::Completed) });
    let mut runner = memory.builder(&handler).build().unwrap();
    drop_when_done(&memory, &mut runner, 0, "m0").await;
    memory.broker.release_commits();
    for n in 1..60 {
        memory.broker.send(0, &format!("m{n}"), "k", json!({}));
    }
    let before = memory.plan.calls(Operation::Receive);
    let cancel = CancellationToken::new();
    tokio::select! {
        ended = runner.run_forever(&cancel) => panic!("{ended:?}"),
        () = memory.drained() => {}
    }
    assert_eq!(memory.completed(), 60);
    let groups = memory.plan.calls(Operation::Receive) - before;
    assert!(groups < 30, "{groups} groups, as if one message at a time were wanted");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_dropped_is_not_begun_again() {
    let memory = Memory::new();
    let handler = Handler::new(|_, call| async move {
        if call == 1 {
            std::future::pending::<()>().await;
        }
        Ok(HandlerOutcome::Completed)
    });
    let mut runner = memory.builder(&handler).build().unwrap();
    let cancel = CancellationToken::new();
    memory.broker.send(0, "m", "k", json!({}));
    tokio::select! {
        ended = runner.run_forever(&cancel) => panic!("{ended:?}"),
        () = eventually(LONG, async || handler.calls("m") == 1) => {}
    }
    let refused = [
        timeout(LONG, runner.run_forever(&cancel)).await.expect("at once").unwrap_err(),
        runner.process_one(Instant::now()).await.unwrap_err(),
        runner.start().await.unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert!(error.to_string().contains("run_forever was dropped"), "{error}");
    }
    runner.stop().await.unwrap();
    let running = Running::new(memory.builder(&handler));
    memory.drained().await;
    running.stop().await;
    assert_eq!((handler.calls("m"), memory.completed()), (2, 1));
}
