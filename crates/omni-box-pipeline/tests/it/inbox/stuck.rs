//! Handlers that block their thread, and a runtime that stands still with them.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use omni_box_core::{ErrorKind, EventConsumer, HandlerOutcome, Result};
use omni_box_harness::{Log, eventually};
use omni_box_pipeline::InboxConsumerRunner;
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::memory::{Handler, Memory};
use super::service::LONG;

/// A runner in a process of its own, as it were: its runtime has one thread, which the handler of `stuck` blocks.
struct Process {
    log: Log,
    release: Sender<()>,
    shutdown: CancellationToken,
    thread: JoinHandle<Result<()>>,
}

impl Process {
    fn start(memory: &Memory, worker: &str, stuck_after: Duration) -> (Self, Handler) {
        let log = Log::of_threads(&format!("omni-box-watch-{worker}"));
        let (release, released) = channel();
        let released = Arc::new(Mutex::new(released));
        let handler = Handler::new(move |id, call| {
            if id == "stuck" && call == 1 {
                // a deadlock, a loop without end, a call that never returns
                let _ = released.lock().unwrap().recv();
            }
            async { Ok(HandlerOutcome::Completed) }
        });
        let builder = memory
            .builder(&handler)
            .worker_id(worker)
            .process_timeout(Duration::from_millis(100))
            .stuck_after(stuck_after);
        let shutdown = CancellationToken::new();
        let its_shutdown = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move { builder.build().unwrap().run(its_shutdown).await })
        });
        (Self { log, release, shutdown, thread }, handler)
    }

    fn lines(&self) -> Vec<String> {
        let events = self.log.events().into_iter();
        events
            .map(|event| format!("{} {}", event["message"], event.get("message_id").map_or("", |id| id)))
            .collect()
    }
}

#[tokio::test]
async fn a_handler_that_blocks_its_thread_is_named_once_and_its_partitions_move() {
    let memory = Memory::with_partitions(2);
    let (process, handler) = Process::start(&memory, "moves", Duration::from_secs(3));
    memory.broker.send(0, "stuck", "k", json!({}));
    eventually(LONG, async || handler.calls("stuck") == 1).await;
    let mut other = memory.broker.memory_consumer();
    other.start().await.unwrap();
    // long before the drain deadline of 45 s
    for _ in 0..2 {
        timeout(Duration::from_secs(20), other.next_partition())
            .await
            .expect("partitions move")
            .unwrap()
            .unwrap();
    }
    let lines = process.lines();
    let named = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!(named("blocks its thread, its partition stands still stuck"), 1, "{lines:?}");
    assert_eq!(named("the runtime stands still"), 1, "{lines:?}");
    assert_eq!(named("leaving the consumer group"), 1, "{lines:?}");
    process.release.send(()).unwrap();
    let error = process.thread.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().contains("stood still"), "{error}");
}

#[tokio::test]
async fn a_handler_that_returns_late_is_named_and_costs_no_membership() {
    let memory = Memory::new();
    let (process, handler) = Process::start(&memory, "stays", Duration::from_secs(300));
    memory.broker.send(0, "stuck", "k", json!({}));
    eventually(LONG, async || process.lines().iter().any(|line| line.ends_with("stands still stuck"))).await;
    process.release.send(()).unwrap();
    eventually(LONG, async || memory.completed() == 1).await;
    assert!(handler.calls("stuck") >= 1);
    process.shutdown.cancel();
    process.thread.join().unwrap().unwrap();
}

/// A task on a thread that is blocked cannot be dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_runner_that_is_stopped_leaves_such_a_handler_behind() {
    let memory = Memory::new();
    let (release, released) = channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let handler = Handler::new(move |_, _| {
        let _ = released.lock().unwrap().recv();
        async { Ok(HandlerOutcome::Completed) }
    });
    let consumer = memory.broker.memory_consumer().drain_deadline(Duration::from_secs(2));
    let builder = InboxConsumerRunner::builder(consumer, memory.store.clone())
        .handler(handler.clone())
        .process_timeout(Duration::from_millis(100));
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(builder.build().unwrap().run(shutdown.clone()));
    memory.broker.send(0, "m", "k", json!({}));
    eventually(LONG, async || handler.calls("m") == 1).await;
    shutdown.cancel();
    timeout(Duration::from_secs(30), running).await.expect("it ends").unwrap().unwrap();
    release.send(()).unwrap();
}
