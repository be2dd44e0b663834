//! What `process_one` returns.

use omni_box_core::{ConsumerGroup, Event, InboxContext};
use omni_box_pipeline::{InboxConsumerRunner, Outcome, on};
use omni_box_testkit::{MemoryBroker, MemoryStore, NewMessage};
use tokio::time::Instant;

use super::service::{GROUP, LONG};

/// A message that is delivered again has the row of the first time.
#[tokio::test]
async fn a_result_names_the_row_of_its_message() {
    async fn nothing(_cx: InboxContext<'_, MemoryStore>) {}

    let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
    broker.create_topic("orders", 1);
    let message =
        || NewMessage::to("orders").header("event_type", "any").header("event_id", "m1").value("{}");
    broker.send(message());
    broker.send(message());
    broker
        .send(NewMessage::to("orders").header("event_type", "any").header("event_id", "m2").value("no json"));
    let consumer = broker.consumer(&ConsumerGroup::new(GROUP).unwrap(), ["orders"]);
    let runner = InboxConsumerRunner::builder(consumer, store.clone()).handler(on("any", nothing));
    let mut runner = runner.build().unwrap();
    let mut told = Vec::new();
    for _ in 0..3 {
        let result = runner.process_one(Instant::now() + LONG).await.unwrap().unwrap();
        told.push((result.outcome, result.event_id));
    }
    runner.stop().await.unwrap();
    let [row] = &store.inbox_events()[..] else { panic!("{:?}", store.inbox_events()) };
    let id = Some(row.id());
    assert_eq!(told, [(Outcome::Completed, id), (Outcome::Duplicate, id), (Outcome::Quarantined, None)]);
}
