//! A database that vanishes without a word: each call is given up, and work goes on over a new connection.

use std::time::Duration;

use omni_box_core::{Attempt, EventStatus, HandlerOutcome};
use omni_box_harness::eventually;
use omni_box_testkit::Operation;
use serde_json::json;
use tokio::time::Instant;

use super::memory::{Handler, Memory};
use super::service::{LONG, Running};
use crate::gate_log::GateLog;

const PROCESS_TIMEOUT: Duration = Duration::from_secs(10);
/// A call is given up at the handler's time and five seconds; what is left is for the work itself.
const GIVEN_UP: Duration = Duration::from_secs(16);

/// Every call that the engine makes, but `Detach`, which is its last.
const CALLS: [Operation; 10] = [
    Operation::Attach,
    Operation::PendingOf,
    Operation::Begin,
    Operation::Receive,
    Operation::StartSavepoint,
    Operation::AdvanceSavepoint,
    Operation::RollbackToSavepoint,
    Operation::Settle,
    Operation::Quarantine,
    Operation::Commit,
];

/// Two partitions that share one permit, with an event that is handled twice and one that is kept as bytes.
fn memory() -> (Memory, Handler) {
    let memory = Memory::with_partitions(2);
    for n in 0..20 {
        memory.broker.send(n % 2, &format!("m{n}"), &format!("k{n}"), json!({"n": n}));
    }
    memory.broker.send_raw(0, None, Some(b"{\"half\": ".to_vec()), &[]);
    let handler = Handler::new(|id, call| async move {
        if id == "m4" && call == 1 {
            return Ok(HandlerOutcome::retry("not yet", Attempt::Free, Duration::from_millis(5)));
        }
        Ok(HandlerOutcome::Completed)
    });
    (memory, handler)
}

fn run(memory: &Memory, handler: &Handler) -> Running {
    Running::new(memory.builder(handler).process_timeout(PROCESS_TIMEOUT).concurrency_limit(1))
}

#[tokio::test(start_paused = true)]
async fn a_database_that_vanishes_stalls_no_partition() {
    for operation in CALLS {
        for takes_effect in [false, true] {
            let case = format!("{operation:?}, which has taken effect: {takes_effect}");
            let log = GateLog::listen();
            let (memory, handler) = memory();
            let fault = memory.plan.on(operation);
            if takes_effect {
                fault.freeze_after()
            } else {
                fault.freeze_before()
            }
            let begun = Instant::now();
            let running = run(&memory, &handler);
            memory.plan.until_frozen().await;
            eventually(LONG, async || memory.broker.is_drained()).await;
            assert!(begun.elapsed() < GIVEN_UP, "{case}: {:?}", begun.elapsed());
            running.stop().await;
            // where an earlier note may be its own, the worker goes one message at a time, each with its attempt written down
            let is_careful = operation == Operation::Attach && takes_effect;
            for n in 0..20 {
                let (status, attempts) = memory.row(&format!("m{n}")).unwrap();
                assert_eq!(status, EventStatus::Completed, "{case}: m{n}");
                assert!(attempts == 0 || is_careful, "{case}: m{n} is charged");
            }
            assert_eq!(memory.store.inner().quarantined().len(), 1, "{case}: what is no event is kept");
            assert_eq!(log.lines(), GateLog::outage("database"), "{case}: it is told once");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_that_vanishes_at_the_end_of_a_partition_does_not_keep_it() {
    let (memory, handler) = memory();
    memory.plan.on(Operation::Detach).always().freeze_before();
    let running = run(&memory, &handler);
    memory.drained().await;
    let begun = Instant::now();
    running.stop().await;
    assert!(begun.elapsed() < GIVEN_UP, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_silent_for_long_charges_no_message() {
    let log = GateLog::listen();
    let (memory, handler) = memory();
    // more often than a message has attempts, and than failures may follow one
    memory.plan.on(Operation::Settle).times(40).freeze_before();
    let running = run(&memory, &handler);
    eventually(Duration::from_secs(3600), async || memory.broker.is_drained()).await;
    running.stop().await;
    assert!((0..20).all(|n| memory.row(&format!("m{n}")) == Some((EventStatus::Completed, 0))));
    assert_eq!(log.lines().first(), GateLog::outage("database").first());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_waits_for_a_database_that_vanished_is_not_charged() {
    let (memory, _) = memory();
    let handler = Handler::new(|id, call| async move {
        if id == "m6" && call == 1 {
            // its statement has no answer
            std::future::pending::<()>().await;
        }
        Ok(HandlerOutcome::Completed)
    });
    memory.plan.on(Operation::RollbackToSavepoint).freeze_before();
    let running = run(&memory, &handler);
    memory.drained().await;
    running.stop().await;
    assert_eq!(memory.row("m6"), Some((EventStatus::Completed, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_never_returns_is_charged_though_the_database_is_silent_behind_it() {
    let (memory, _) = memory();
    let handler = Handler::new(|id, _| async move {
        if id == "m6" {
            std::future::pending::<()>().await;
        }
        Ok(HandlerOutcome::Completed)
    });
    memory.plan.on(Operation::RollbackToSavepoint).always().freeze_before();
    let running = run(&memory, &handler);
    eventually(Duration::from_secs(86_400), async || memory.broker.is_drained()).await;
    running.stop().await;
    let (status, attempts) = memory.row("m6").unwrap();
    assert_eq!(status, EventStatus::Failed);
    // one run more than it has attempts
    assert_eq!(handler.calls("m6"), attempts + 1);
}
