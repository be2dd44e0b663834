//! Pipelines that are built from steps.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use omni_box_core::{
    BatchSize, ErrorKind, Event, FetchFilters, InboxContext, NewOutboxEvent, OutboxExt, RawEventConverter,
    Store, WorkerId,
};
use omni_box_pipeline::{
    CircuitBreakerStep, CommitStrategy, EventProcessorBuilder, FetchStrategy, HandlerExecutionStep,
    InboxConsumerRunner, PublisherExecutionStep, SiblingDeduplicationStep,
};
use omni_box_testkit::{MemoryBroker, MemoryStore, NewMessage};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::rule::{Rule, Ruled};
use super::side::group;

/// A store with messages of one group.
async fn stored(messages: usize) -> MemoryStore {
    let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
    broker.create_topic("events", 1);
    let mut runner =
        InboxConsumerRunner::builder(broker.consumer(&group(), ["events"]), store.clone()).build().unwrap();
    for n in 0..messages {
        broker.send(
            NewMessage::to("events").key(format!("k{n}")).header("event_type", format!("e{n}")).value("{}"),
        );
        let stored = runner.process_one(Instant::now() + Duration::from_secs(30)).await.unwrap();
        assert!(stored.is_some());
    }
    runner.stop().await.unwrap();
    store
}

fn handler(calls: &Arc<Mutex<Vec<String>>>) -> HandlerExecutionStep<MemoryStore> {
    let calls = calls.clone();
    let note = move |cx: InboxContext<'_, MemoryStore>| {
        calls.lock().unwrap().push(cx.event.event_type().to_owned());
        async {}
    };
    let router = (0..3).fold(omni_box_pipeline::EventRouter::new(), |router, n| {
        router.on("events", format!("e{n}"), note.clone())
    });
    HandlerExecutionStep::new(router).timeout(Duration::from_secs(5))
}

#[tokio::test]
async fn a_pipeline_of_all_steps_handles_a_batch() {
    for (fetch, commit) in [
        (FetchStrategy::DistributedLocking, CommitStrategy::Bulk),
        (FetchStrategy::OptimisticLocking, CommitStrategy::Single),
    ] {
        let (store, calls, rule) = (stored(3).await, Arc::default(), Ruled::new(Rule::Next));
        let processor = EventProcessorBuilder::inbox(store, group())
            .with_job_name("job")
            .add_step(CircuitBreakerStep::new())
            .add_step(rule.clone())
            .add_step(handler(&calls))
            .add_step(SiblingDeduplicationStep::new())
            .with_fetch_strategy(fetch)
            .with_commit_strategy(commit)
            .build()
            .unwrap();
        let result = processor.process_batch(BatchSize::new(50).unwrap()).await.unwrap();
        assert_eq!(result.processed_event_ids.len(), 3, "{fetch:?}");
        assert_eq!(*calls.lock().unwrap(), ["e0", "e1", "e2"]);
        let batches = if commit == CommitStrategy::Single { 3 } else { 1 };
        assert_eq!((rule.batch_starts(), rule.batch_ends()), (batches, 3));
    }
}

#[tokio::test]
async fn a_pipeline_of_an_outbox_publishes_a_batch() {
    let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
    broker.create_topic("events", 1);
    let mut tx = store.begin().await.unwrap();
    for n in 0..3 {
        let event = NewOutboxEvent::new(format!("e{n}"), "events", &serde_json::json!({"n": n}));
        store.enqueue(&mut tx, event).await.unwrap();
    }
    store.commit(tx).await.unwrap();
    let rule = Ruled::new(Rule::Next);
    let publisher = EventProcessorBuilder::outbox(store)
        .add_step(rule.clone())
        .add_step(PublisherExecutionStep::new(broker.publisher(RawEventConverter)))
        .build()
        .unwrap();
    let (worker, batch) = (WorkerId::new("worker").unwrap(), BatchSize::new(50).unwrap());
    let stop = CancellationToken::new();
    let result = publisher.publish_batch(&worker, batch, &FetchFilters::new(), &stop).await.unwrap();
    assert_eq!(result.processed_event_ids.len(), 3);
    assert_eq!(broker.records("events").len(), 3);
}

#[tokio::test]
async fn a_pipeline_without_one_innermost_step_is_refused_by_name() {
    let calls = Arc::default();
    let inbox = || EventProcessorBuilder::inbox(MemoryStore::new(), group());
    let none = inbox().add_step(CircuitBreakerStep::new()).build().unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Misconfigured);
    assert!(none.to_string().contains("needs one HandlerExecutionStep"), "{none}");
    let two = inbox().add_step(handler(&calls)).add_step(handler(&calls)).build().unwrap_err();
    assert!(two.to_string().contains("one HandlerExecutionStep, not 2"), "{two}");
    let long = handler(&calls).timeout(Duration::from_secs(60));
    let above = inbox().add_step(long).with_lease_ttl(Duration::from_secs(30)).build().unwrap_err();
    assert!(above.to_string().contains("process_timeout 60s"), "{above}");
    assert!(above.to_string().contains("lease_ttl 30s"), "{above}");
    let none = EventProcessorBuilder::outbox(MemoryStore::new()).build().unwrap_err();
    assert!(none.to_string().contains("needs one PublisherExecutionStep"), "{none}");
}
