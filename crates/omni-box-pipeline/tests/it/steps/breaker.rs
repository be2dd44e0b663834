//! The circuit breaker in a pipeline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use omni_box_core::{Error, ErrorKind, Event, EventStatus, InboxContext};
use omni_box_harness::eventually;
use omni_box_pipeline::{CircuitBreakerStep, InboxConsumerRunner, on};
use omni_box_testkit::{MemoryBroker, MemoryStore, NewMessage};
use tokio_util::sync::CancellationToken;

use super::side::{LONG, group, short};

#[tokio::test]
async fn a_breaker_opens_after_failures_in_a_row_and_tries_one_event() {
    let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
    broker.create_topic("events", 1);
    for n in 0..50 {
        let message = NewMessage::to("events").key(format!("k{n}")).header("event_type", "any");
        broker.send(message.value("{}"));
    }
    let (calls, is_well) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, well) = (calls.clone(), is_well.clone());
    let handler = move |_cx: InboxContext<'_, MemoryStore>| {
        count.fetch_add(1, Ordering::SeqCst);
        let is_well = well.load(Ordering::SeqCst);
        async move {
            if is_well { Ok(()) } else { Err(Error::new(ErrorKind::Handler, "the service behind is down")) }
        }
    };
    let recovery = Duration::from_millis(400);
    let breaker = CircuitBreakerStep::new().failure_threshold(5).recovery_timeout(recovery);
    let runner = InboxConsumerRunner::builder(broker.consumer(&group(), ["events"]), store.clone())
        .retry(short())
        .group_size(1)
        .step(breaker)
        .handler(on("any", handler));
    let (runner, stop) = (runner.build().unwrap(), CancellationToken::new());
    let began = std::time::Instant::now();
    let running = tokio::spawn(runner.run(stop.clone()));
    // five failures open it; then one call each recovery time
    eventually(LONG, async || calls.load(Ordering::SeqCst) == 8).await;
    assert!(began.elapsed() >= 3 * recovery, "three trials took {:?}", began.elapsed());
    is_well.store(true, Ordering::SeqCst);
    let done = || store.inbox_events().iter().filter(|row| row.status() == EventStatus::Completed).count();
    eventually(LONG, async || done() == 50).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    let charged: u32 = store.inbox_events().iter().map(|row| row.lifecycle().attempts_made()).sum();
    assert_eq!(charged as usize, calls.load(Ordering::SeqCst) - 50, "only what the handler failed costs");
}
