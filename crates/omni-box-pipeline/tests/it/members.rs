//! A group's messages are handled in one way, by whatever processes: each store handle here is one of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::time::Duration;

use omni_box_core::{BatchSize, ConsumerGroup, ErrorKind, InboxContext};
use omni_box_harness::eventually;
use omni_box_pipeline::{InboxConsumerRunner, InboxWorker, on};
use omni_box_testkit::{MemoryBroker, MemoryStore, NewMessage};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

fn group() -> ConsumerGroup {
    ConsumerGroup::new("group").unwrap()
}

const LONG: Duration = Duration::from_secs(60);

async fn nothing(_cx: InboxContext<'_, MemoryStore>) {}

fn runner(store: &MemoryStore, broker: &MemoryBroker) -> InboxConsumerRunner<MemoryStore> {
    let consumer = broker.consumer(&group(), ["events"]);
    InboxConsumerRunner::builder(consumer, store.clone()).handler(on("any", nothing)).build().unwrap()
}

fn worker(store: &MemoryStore) -> InboxWorker<MemoryStore> {
    let worker = InboxWorker::builder(store.clone()).consumer_group(group());
    worker.handler(on("any", nothing)).build().unwrap()
}

fn world() -> (MemoryStore, MemoryBroker) {
    let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
    broker.create_topic("events", 1);
    broker.send(NewMessage::to("events").key("k").header("event_type", "any").value("{}"));
    (store, broker)
}

fn assert_refused(error: &omni_box_core::Error, by: &str) {
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    let text = error.to_string();
    assert!(text.contains("group") && text.contains(by) && text.contains("end those first"), "{text}");
}

fn page() -> BatchSize {
    BatchSize::new(10).unwrap()
}

#[tokio::test]
async fn workers_are_refused_beside_a_runner_with_a_handler() {
    let (store, broker) = world();
    let stop = CancellationToken::new();
    let running = tokio::spawn(runner(&store, &broker).run(stop.clone()));
    eventually(LONG, async || broker.lag(&group(), "events") == 0).await;
    let by = "handled by a runner with a handler";
    assert_refused(&worker(&store).run(CancellationToken::new()).await.unwrap_err(), by);
    assert_refused(&worker(&store).process_batch(page()).await.unwrap_err(), by);
    // another runner of the group is welcome
    let mut second = runner(&store, &broker);
    assert!(second.process_one(Instant::now()).await.unwrap().is_none());
    second.stop().await.unwrap();
    stop.cancel();
    running.await.unwrap().unwrap();
    worker(&store).process_batch(page()).await.unwrap();
}

#[tokio::test]
async fn a_runner_with_a_handler_is_refused_beside_workers() {
    let (store, broker) = world();
    let first = worker(&store);
    first.process_batch(page()).await.unwrap();
    let by = "handled by workers of stored messages";
    assert_refused(&runner(&store, &broker).run(CancellationToken::new()).await.unwrap_err(), by);
    assert_refused(&runner(&store, &broker).process_one(Instant::now()).await.unwrap_err(), by);
    assert!(store.inbox_events().is_empty(), "nothing was handled");
    // a runner that only stores is what workers live from
    let storing = InboxConsumerRunner::builder(broker.consumer(&group(), ["events"]), store.clone());
    let mut storing = storing.build().unwrap();
    assert!(storing.process_one(Instant::now() + LONG).await.unwrap().is_some());
    storing.stop().await.unwrap();
    assert_eq!(first.process_batch(page()).await.unwrap().processed_event_ids.len(), 1);
    first.close().await.unwrap();
    runner(&store, &broker).process_one(Instant::now()).await.unwrap();
}

/// One that was killed says nothing: its time ends, and what was frozen meanwhile ends with an error.
#[tokio::test(start_paused = true)]
async fn a_member_that_is_gone_counts_for_a_while() {
    let (store, broker) = world();
    let mut gone = runner(&store, &broker);
    gone.process_one(Instant::now() + LONG).await.unwrap().unwrap();
    assert!(worker(&store).process_batch(page()).await.is_err());
    store.clock().advance(Duration::from_secs(31));
    let next = worker(&store);
    next.process_batch(page()).await.unwrap();
    tokio::time::advance(Duration::from_secs(6)).await;
    let refused = gone.process_one(Instant::now()).await.unwrap_err();
    assert_refused(&refused, "handled by workers of stored messages");
    next.process_batch(page()).await.unwrap();
}

/// The same for a runner that runs.
#[tokio::test(start_paused = true)]
async fn a_runner_that_was_frozen_for_too_long_ends() {
    let (store, broker) = world();
    let running = tokio::spawn(runner(&store, &broker).run(CancellationToken::new()));
    eventually(LONG, async || broker.lag(&group(), "events") == 0).await;
    // the store's clock goes on while the process stands still
    store.clock().advance(Duration::from_secs(31));
    let next = worker(&store);
    next.process_batch(page()).await.unwrap();
    let ended = tokio::time::timeout(LONG, running).await.expect("it ends").unwrap();
    assert_refused(&ended.unwrap_err(), "handled by workers of stored messages");
}
