//! A topic for what is given up: the failed mark and the outbox event are of one transaction.

use std::time::Duration;

use omni_box_core::{
    BatchSize, ErrorKind, Event, EventContent, EventRepository, EventStatus, HandlerError, InboxContext,
    NewInboxEvent, OmniBoxDomainService, OutboxEvent, Payload, PermanentError, Store,
};
use omni_box_harness::eventually;
use omni_box_pipeline::{EventProcessorBuilder, HandlerExecutionStep, InboxConsumerRunner, InboxWorker, on};
use omni_box_testkit::{FaultPlan, Faulty, MemoryBroker, MemoryStore, NewMessage, Operation};
use tokio::time::Instant;

use super::side::{LONG, group, short};

type Tested = Faulty<MemoryStore>;

async fn refuse(_cx: InboxContext<'_, Tested>) -> Result<(), HandlerError> {
    Err(PermanentError::new("no such order").into())
}

/// A store with one message.
pub(super) async fn with_a_message() -> MemoryStore {
    let store = MemoryStore::new();
    let content = EventContent::new("order.placed", Payload::from_text(r#"{"order": 7}"#).unwrap());
    let message = NewInboxEvent::new("m1", group(), "shop", content).partition_key("customer-1");
    let message = OmniBoxDomainService::default().create_inbox_event(message).unwrap();
    let mut tx = store.begin().await.unwrap();
    store.create(&mut tx, &message).await.unwrap();
    store.commit(tx).await.unwrap();
    store
}

fn worker(store: &MemoryStore, plan: &FaultPlan) -> InboxWorker<Tested> {
    InboxWorker::builder(Faulty::new(store.clone(), plan))
        .consumer_group(group())
        .lease_ttl(Duration::from_secs(40))
        .retry(short())
        .dead_letter_topic("orders.dead")
        .handler(on("order.placed", refuse))
        .build()
        .unwrap()
}

fn rows(store: &MemoryStore) -> (EventStatus, Vec<OutboxEvent>) {
    (store.inbox_events()[0].status(), store.outbox_events())
}

fn assert_buried(store: &MemoryStore) {
    let (message, (status, letters)) = (&store.inbox_events()[0], rows(store));
    assert_eq!(status, EventStatus::Failed);
    let [letter] = &letters[..] else { panic!("{} letters", letters.len()) };
    assert_eq!((letter.topic(), letter.event_type()), ("orders.dead", "order.placed"));
    assert_eq!(letter.payload().as_str(), r#"{"order": 7}"#);
    assert_eq!(letter.partition_key(), Some("customer-1"));
    assert_eq!(letter.content().causation_id.as_deref(), Some("m1"));
    let header = |name: &str| letter.headers().get(name).unwrap_or_default().to_owned();
    assert!(header("dead_letter_error").contains("no such order"), "{}", header("dead_letter_error"));
    assert_eq!(header("dead_letter_attempts"), message.lifecycle().attempts_made().to_string());
    assert_eq!(header("dead_letter_message_id"), "m1");
    assert_eq!(header("dead_letter_group"), group().as_str());
    assert_eq!(header("dead_letter_source"), message.source());
}

/// A worker stands still at each call around the two, and is gone: both are there, or neither, and the next worker does both.
#[tokio::test(start_paused = true)]
async fn a_failed_mark_and_its_letter_are_both_there_or_neither() {
    type Stand = fn(&FaultPlan);
    let stands: [(&str, Stand, bool); 6] = [
        ("before the mark", |plan| plan.on(Operation::Settle).nth(1).freeze_before(), false),
        ("behind the mark", |plan| plan.on(Operation::Settle).nth(1).freeze_after(), false),
        ("before the letter", |plan| plan.on(Operation::CreateMany).nth(1).freeze_before(), false),
        ("behind the letter", |plan| plan.on(Operation::CreateMany).nth(1).freeze_after(), false),
        ("before the commit", |plan| plan.on(Operation::Commit).nth(1).freeze_before(), false),
        ("behind the commit", |plan| plan.on(Operation::Commit).nth(1).freeze_after(), true),
    ];
    for (name, stand, is_kept) in stands {
        let (store, plan) = (with_a_message().await, FaultPlan::new());
        stand(&plan);
        let (gone, size) = (worker(&store, &plan), BatchSize::new(10).unwrap());
        tokio::select! {
            _ = gone.process_batch(size) => panic!("{name}: it went on"),
            () = plan.until_frozen() => {}
        }
        drop(gone);
        let (status, letters) = rows(&store);
        assert_eq!(status == EventStatus::Failed, is_kept, "{name}");
        assert_eq!(letters.len(), usize::from(is_kept), "{name}");
        let next = worker(&store, &FaultPlan::new());
        // the claim of the one that is gone has to end
        store.clock().advance(Duration::from_secs(60));
        while !next.process_batch(size).await.unwrap().is_empty() {}
        assert_buried(&store);
    }
}

/// A letter that cannot be written is tried again with its mark, as any effect.
#[tokio::test(start_paused = true)]
async fn a_letter_that_is_refused_takes_its_mark_along() {
    let (store, plan) = (with_a_message().await, FaultPlan::new());
    plan.on(Operation::CreateMany).nth(1).fail_before(ErrorKind::Unavailable);
    let (worker, size) = (worker(&store, &plan), BatchSize::new(10).unwrap());
    worker.process_batch(size).await.unwrap();
    eventually(LONG, async || {
        worker.process_batch(size).await.unwrap();
        store.inbox_events()[0].status() == EventStatus::Failed
    })
    .await;
    assert_buried(&store);
}

#[tokio::test]
async fn a_runner_and_a_pipeline_have_a_topic_for_it_too() {
    let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
    broker.create_topic("events", 1);
    broker.send(
        NewMessage::to("events")
            .key("customer-1")
            .header("event_type", "order.placed")
            .header("message_id", "m1")
            .value(r#"{"order": 7}"#),
    );
    let faultless = || Faulty::new(store.clone(), &FaultPlan::new());
    let mut runner = InboxConsumerRunner::builder(broker.consumer(&group(), ["events"]), faultless())
        .dead_letter_topic("orders.dead")
        .handler(on("order.placed", refuse))
        .build()
        .unwrap();
    runner.process_one(Instant::now() + LONG).await.unwrap();
    runner.stop().await.unwrap();
    assert_buried(&store);

    let store = with_a_message().await;
    let pipeline = EventProcessorBuilder::inbox(Faulty::new(store.clone(), &FaultPlan::new()), group())
        .with_dead_letter_topic("orders.dead")
        .add_step(HandlerExecutionStep::new(on("order.placed", refuse)))
        .build()
        .unwrap();
    pipeline.process_batch(BatchSize::new(10).unwrap()).await.unwrap();
    assert_buried(&store);
}

#[test]
fn a_topic_without_a_name_is_refused() {
    let worker = InboxWorker::builder(MemoryStore::new()).consumer_group(group()).dead_letter_topic("");
    let refused = worker.handler(on("any", async |_: InboxContext<'_, MemoryStore>| {})).build().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Misconfigured);
    assert!(refused.to_string().contains("dead_letter_topic"), "{refused}");
}
