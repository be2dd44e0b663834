//! A line about what was given up leads to its trace.

use std::time::Duration;

use omni_box_core::{
    BatchSize, ConsumerGroup, ErrorKind, FetchFilters, HandlerError, InboxContext, NewOutboxEvent, OutboxExt,
    RawEventConverter, Store, WorkerId,
};
use omni_box_harness::Log;
use omni_box_pipeline::{InboxConsumerRunner, OutboxPublisher, on};
use omni_box_testkit::{MemoryBroker, MemoryStore, NewMessage};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The trace that a line names, if it names one.
fn named(log: &Log, message: &str) -> Option<String> {
    let line = log.events().into_iter().find(|line| line["message"] == message);
    line.expect("it is logged").remove("trace_id")
}

#[tokio::test]
async fn an_event_that_was_not_published_names_its_trace() {
    for (traceparent, trace) in [(PARENT, Some(TRACE)), ("canary-in-the-header", None)] {
        let log = Log::listen();
        let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
        broker.create_topic("orders", 1);
        broker.fail_deliveries([ErrorKind::TooLarge]);
        let mut tx = store.begin().await.unwrap();
        let event = NewOutboxEvent::new("order.placed", "orders", &serde_json::json!({"order": 7}));
        store.enqueue(&mut tx, event.header("traceparent", traceparent)).await.unwrap();
        store.commit(tx).await.unwrap();
        let publisher = OutboxPublisher::builder(store, broker.publisher(RawEventConverter)).build().unwrap();
        let (worker, size) = (WorkerId::new("w").unwrap(), BatchSize::new(10).unwrap());
        let stop = CancellationToken::new();
        publisher.publish_batch(&worker, size, &FetchFilters::new(), &stop).await.unwrap();
        assert_eq!(named(&log, "event was not published").as_deref(), trace);
    }
}

#[tokio::test]
async fn a_message_that_was_given_up_names_its_trace() {
    let log = Log::listen();
    let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
    broker.create_topic("orders", 1);
    let message = NewMessage::to("orders").header("event_type", "order.placed").value(r#"{"order": 7}"#);
    broker.send(message.header("traceparent", PARENT));
    async fn refuse(_cx: InboxContext<'_, MemoryStore>) -> Result<(), HandlerError> {
        Err(HandlerError::permanent("no such order"))
    }
    let consumer = broker.consumer(&ConsumerGroup::new("shipping").unwrap(), ["orders"]);
    let runner = InboxConsumerRunner::builder(consumer, store).handler(on("order.placed", refuse));
    let mut runner = runner.build().unwrap();
    runner.process_one(Instant::now() + Duration::from_secs(30)).await.unwrap().unwrap();
    runner.stop().await.unwrap();
    assert_eq!(named(&log, "message was given up and is kept").as_deref(), Some(TRACE));
}
