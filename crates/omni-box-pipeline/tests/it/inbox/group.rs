//! How long messages share a transaction.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use omni_box_core::{EventStatus, HandlerOutcome};
use omni_box_harness::eventually;
use omni_box_pipeline::AckStrategy;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::memory::{Handler, Memory};
use super::service::{LONG, Running};

const HANDLING: Duration = Duration::from_millis(400);

/// Twenty messages with a key each, and a handler that takes [`HANDLING`] of paused time; before that it calls `look`.
fn twenty(memory: &Memory, look: impl Fn() + Send + Sync + 'static) -> Handler {
    for n in 0..20 {
        memory.broker.send(0, &format!("m{n}"), &format!("k{n}"), json!({"n": n}));
    }
    Handler::new(move |_, _| {
        look();
        async {
            sleep(HANDLING).await;
            Ok(HandlerOutcome::Completed)
        }
    })
}

#[tokio::test(start_paused = true)]
async fn slow_handlers_share_a_transaction_for_a_second() {
    let memory = Arc::new(Memory::new());
    let done = Arc::new(Mutex::new(Vec::new()));
    let handler = {
        let (memory, done) = (memory.clone(), done.clone());
        twenty(&memory.clone(), move || done.lock().unwrap().push(memory.completed()))
    };
    let running = Running::new(memory.builder(&handler));
    memory.drained().await;
    running.stop().await;
    let expected: Vec<usize> = (0..20).map(|call| call / 3 * 3).collect();
    assert_eq!(*done.lock().unwrap(), expected, "completed before each call");
}

#[tokio::test(start_paused = true)]
async fn a_runner_with_slow_handlers_stops_soon_and_keeps_what_is_done() {
    for (strategy, acknowledged) in [(AckStrategy::AtMostOnce, 20), (AckStrategy::ExactlyOnceInbox, 3)] {
        let memory = Memory::new();
        let handler = twenty(&memory, || {});
        let run = || Running::new(memory.builder(&handler).ack_strategy(strategy));
        let running = run();
        eventually(LONG, async || handler.calls("m0") == 1).await;
        let begun = Instant::now();
        running.stop().await;
        assert!(begun.elapsed() <= 3 * HANDLING, "{strategy:?}: {:?}", begun.elapsed());
        assert_eq!(memory.completed(), 3, "{strategy:?}");
        assert_eq!(memory.broker.committed(0), acknowledged, "{strategy:?}");
        // the others are neither lost nor charged, also where they are acknowledged already
        let running = run();
        eventually(LONG, async || memory.completed() == 20).await;
        running.stop().await;
        assert!((0..20).all(|n| handler.calls(&format!("m{n}")) == 1), "{strategy:?}");
        assert_eq!(memory.row("m19"), Some((EventStatus::Completed, 0)), "{strategy:?}");
    }
}
