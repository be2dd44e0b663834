//! The circuit breaker in a pipeline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use omni_box_core::{Error, ErrorKind, Event, EventStatus, InboxContext, InboxHandler};
use omni_box_harness::eventually;
use omni_box_pipeline::{CircuitBreakerStep, InboxConsumerRunner, InboxWorker, SharedBreaker, on};
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
    let recovery = Duration::from_millis(400);
    let breaker = CircuitBreakerStep::new().failure_threshold(5).recovery_timeout(recovery);
    let runner = InboxConsumerRunner::builder(broker.consumer(&group(), ["events"]), store.clone())
        .retry(short())
        .group_size(1)
        .step(breaker)
        .handler(failing(&calls, &is_well));
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

/// A handler of a service that is down until `is_well`, and how often it was called.
fn failing(calls: &Arc<AtomicUsize>, is_well: &Arc<AtomicBool>) -> impl InboxHandler<MemoryStore> + use<> {
    let (calls, is_well) = (calls.clone(), is_well.clone());
    on("any", move |_cx: InboxContext<'_, MemoryStore>| {
        calls.fetch_add(1, Ordering::SeqCst);
        let is_well = is_well.load(Ordering::SeqCst);
        async move {
            if is_well { Ok(()) } else { Err(Error::new(ErrorKind::Handler, "the service behind is down")) }
        }
    })
}

#[tokio::test]
async fn two_workers_see_one_shared_breaker() {
    let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
    broker.create_topic("events", 1);
    for n in 0..50 {
        let message = NewMessage::to("events").key(format!("k{n}")).header("event_type", "any");
        broker.send(message.value("{}"));
    }
    let mut runner =
        InboxConsumerRunner::builder(broker.consumer(&group(), ["events"]), store.clone()).build().unwrap();
    while runner
        .process_one(tokio::time::Instant::now() + Duration::from_millis(200))
        .await
        .unwrap()
        .is_some()
    {}

    let (calls, is_well) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let recovery = Duration::from_millis(400);
    let stop = CancellationToken::new();
    let began = std::time::Instant::now();
    // each with a step of its own, as two processes have
    let running = [0; 2].map(|_| {
        let breaker = SharedBreaker::new(store.clone(), "service").unwrap();
        let worker = InboxWorker::builder(store.clone())
            .consumer_group(group())
            .concurrency_limit(1)
            .group_size(1)
            .batch_size(10)
            .poll(Duration::from_millis(5), Duration::from_millis(50))
            .retry(short())
            .step(breaker.failure_threshold(5).recovery_timeout(recovery))
            .handler(failing(&calls, &is_well));
        tokio::spawn(worker.build().unwrap().run(stop.clone()))
    });
    // five failures of both together open it, beside one that is under way; then there is one call of both in each recovery time
    eventually(LONG, async || calls.load(Ordering::SeqCst) >= 9).await;
    assert!(began.elapsed() >= 3 * recovery, "three trials of two workers took {:?}", began.elapsed());
    is_well.store(true, Ordering::SeqCst);
    let done = || store.inbox_events().iter().filter(|row| row.status() == EventStatus::Completed).count();
    eventually(LONG, async || done() == 50).await;
    stop.cancel();
    for running in running {
        running.await.unwrap().unwrap();
    }
}

#[test]
fn a_shared_breaker_names_what_is_wrong() {
    for name in [String::new(), "n".repeat(256), "a\0b".to_owned()] {
        let refused = SharedBreaker::new(MemoryStore::new(), name).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Misconfigured);
        assert!(refused.to_string().contains("the name of a breaker needs 1 to 255 characters"), "{refused}");
    }
}
