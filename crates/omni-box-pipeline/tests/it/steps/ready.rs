//! The steps that are ready to use.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use omni_box_core::{
    DefaultMessageDecoder, Error, ErrorKind, Event, EventStatus, InboxContext, InboxEvent, MessageDecoder,
    decoder_fn,
};
use omni_box_harness::eventually;
use omni_box_pipeline::{DlqStep, DlqStorage, EventRouter, InboxConsumerRunner, SiblingDeduplicationStep};
use omni_box_testkit::{MemoryBroker, MemoryStore, NewMessage};
use tokio_util::sync::CancellationToken;

use super::side::{LONG, group, short};

/// Fails at first, then keeps what it is given.
#[derive(Clone, Default)]
struct Letters(Arc<Mutex<Kept>>);

/// How often it was called, and the event types and errors that it has kept.
type Kept = (usize, Vec<(String, String)>);

#[async_trait]
impl DlqStorage<InboxEvent> for Letters {
    async fn move_to_dlq(
        &self,
        event: &InboxEvent,
        error: &str,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut letters = self.0.lock().unwrap();
        letters.0 += 1;
        if letters.0 == 1 {
            return Err("not yet".into());
        }
        letters.1.push((event.event_type().to_owned(), error.to_owned()));
        Ok(())
    }
}

#[tokio::test]
async fn what_is_given_up_is_copied_once_and_what_is_put_off_is_not() {
    let (store, broker, letters) = (MemoryStore::new(), MemoryBroker::new(), Letters::default());
    broker.create_topic("events", 1);
    for name in ["bad", "later", "good"] {
        broker.send(NewMessage::to("events").key(name).header("event_type", name).value("{}"));
    }
    async fn bad(_cx: InboxContext<'_, MemoryStore>) -> Result<(), Error> {
        Err(Error::new(ErrorKind::Rejected, "no such order"))
    }
    async fn later(_cx: InboxContext<'_, MemoryStore>) -> Result<(), Error> {
        Err(Error::new(ErrorKind::Unavailable, "not today"))
    }
    async fn good(_cx: InboxContext<'_, MemoryStore>) {}
    let router = EventRouter::new().on("events", "bad", bad).on("events", "later", later);
    let runner = InboxConsumerRunner::builder(broker.consumer(&group(), ["events"]), store.clone())
        .retry(short())
        .step(DlqStep::new(letters.clone()))
        .handler(router.on("events", "good", good));
    let (runner, stop) = (runner.build().unwrap(), CancellationToken::new());
    let running = tokio::spawn(runner.run(stop.clone()));
    eventually(LONG, async || !letters.0.lock().unwrap().1.is_empty()).await;
    let status = |name: &str| {
        let rows = store.inbox_events();
        rows.iter().find(|row| row.event_type() == name).map(|row| row.lifecycle().status())
    };
    eventually(LONG, async || status("good") == Some(EventStatus::Completed)).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(status("bad"), Some(EventStatus::Failed));
    let letters = letters.0.lock().unwrap();
    assert_eq!(letters.1.len(), 1, "{:?}", letters.1);
    assert_eq!(letters.1[0].0, "bad");
    assert!(letters.1[0].1.contains("no such order"), "{:?}", letters.1);
}

#[tokio::test]
async fn of_two_messages_with_one_idempotency_key_the_first_is_handled() {
    let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
    broker.create_topic("events", 1);
    let calls: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = calls.clone();
    let note = move |cx: InboxContext<'_, MemoryStore>| {
        noted.lock().unwrap().push(cx.event.message_id().to_owned());
        async {}
    };
    for (id, key) in [("m1", "order-7"), ("m2", "order-7"), ("m3", "order-8")] {
        broker.send(
            NewMessage::to("events")
                .key("k")
                .header("event_type", "any")
                .header("message_id", id)
                .header("idempotency_key", key)
                .value("{}"),
        );
    }
    let decoder = decoder_fn(|message, group| {
        let event = DefaultMessageDecoder::new().decode(message, group)?;
        let mut record = event.record().clone();
        record.content.idempotency_key = event.headers().get("idempotency_key").map(str::to_owned);
        Ok(InboxEvent::restore(record, event.lifecycle().clone()))
    });
    let runner = InboxConsumerRunner::builder(broker.consumer(&group(), ["events"]), store.clone())
        .decoder(decoder)
        .group_size(1)
        .step(SiblingDeduplicationStep::new())
        .handler(omni_box_pipeline::on("any", note));
    let (runner, stop) = (runner.build().unwrap(), CancellationToken::new());
    let running = tokio::spawn(runner.run(stop.clone()));
    eventually(LONG, async || {
        store.inbox_events().iter().filter(|row| row.status() == EventStatus::Completed).count() == 3
    })
    .await;
    stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(*calls.lock().unwrap(), ["m1", "m3"]);
}
