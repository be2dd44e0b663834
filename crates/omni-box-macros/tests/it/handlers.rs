//! Methods of one type, called by a router.

#![allow(clippy::unwrap_used, reason = "helpers outside of test functions may fail a test too")]

use std::sync::Arc;
use std::sync::Mutex;

use omni_box::event::{EventContent, NewInboxEvent, Payload};
use omni_box::{
    ConsumerGroup, Error, ErrorKind, EventRouter, HandlerError, HandlerOutcome, InboxContext, InboxEvent,
    InboxHandler, OmniBoxDomainService, Store, WorkerId,
};
use omni_box_macros::event_handlers;
use omni_box_testkit::MemoryStore;
use serde::Deserialize;
use serde_json::json;

const CANCELLED: &str = "order.cancelled";

#[derive(Deserialize)]
struct Order {
    id: u64,
}

#[derive(Clone, Default)]
struct Shipping {
    calls: Arc<Mutex<Vec<String>>>,
}

impl Shipping {
    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }
}

#[event_handlers(source = "orders")]
impl Shipping {
    #[event_handler("order.placed")]
    async fn ship(&self, mut cx: InboxContext<'_, MemoryStore>, order: Order) -> Result<(), Error> {
        cx.conn().insert("shipments", &order.id.to_string(), &order.id).await?;
        self.note(format!("ship {}", order.id));
        Ok(())
    }

    #[event_handler(CANCELLED, version = "2")]
    async fn cancel(&self, cx: InboxContext<'_, MemoryStore>) -> HandlerOutcome {
        self.note(format!("cancel {}", cx.event.message_id()));
        HandlerOutcome::Skipped
    }
}

struct Twice;

#[event_handlers(source = "orders")]
impl Twice {
    #[event_handler("order.placed")]
    async fn first(&self, _cx: InboxContext<'_, MemoryStore>) {}

    #[event_handler("order.placed")]
    async fn second(&self, _cx: InboxContext<'_, MemoryStore>) {}
}

fn message(event_type: &str, version: Option<&str>, body: &serde_json::Value) -> InboxEvent {
    let mut content = EventContent::new(event_type, Payload::new(body).unwrap());
    content.schema_version = version.map(str::to_owned);
    let group = ConsumerGroup::new("shipping").unwrap();
    let message = NewInboxEvent::new("message-1", group, "orders", content);
    OmniBoxDomainService::default().create_inbox_event(message).unwrap()
}

async fn handle(
    router: &EventRouter<MemoryStore>,
    event: InboxEvent,
) -> Result<HandlerOutcome, HandlerError> {
    let store = MemoryStore::new();
    let worker = WorkerId::new("w").unwrap();
    let mut tx = store.begin().await.unwrap();
    router.handle(InboxContext::new(&event, &mut *tx, &store, &worker)).await
}

#[tokio::test]
async fn each_method_gets_the_events_of_its_type_and_version() {
    let shipping = Shipping::default();
    let router = EventRouter::new().handlers(shipping.clone());
    router.validate().unwrap();
    assert_eq!(router.event_types("orders"), ["order.cancelled", "order.placed"]);

    let body = json!({"id": 7});
    let outcome = handle(&router, message("order.placed", None, &body)).await.unwrap();
    assert_eq!(outcome, HandlerOutcome::Completed);
    let outcome = handle(&router, message(CANCELLED, Some("2.1"), &body)).await.unwrap();
    assert_eq!(outcome, HandlerOutcome::Skipped);
    assert_eq!(*shipping.calls.lock().unwrap(), ["ship 7", "cancel message-1"]);

    let outcome = handle(&router, message(CANCELLED, Some("1"), &body)).await;
    assert!(!matches!(outcome, Ok(HandlerOutcome::Completed | HandlerOutcome::Skipped)), "{outcome:?}");
    assert_eq!(shipping.calls.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_payload_that_does_not_fit_fails_before_the_method_runs() {
    let shipping = Shipping::default();
    let router = EventRouter::new().handlers(shipping.clone());
    let result = handle(&router, message("order.placed", None, &json!({"id": "s3cret"}))).await;
    let error = result.unwrap_err().into_error(|_| None);
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(!error.chain().contains("s3cret"), "{error:?}");
    assert!(shipping.calls.lock().unwrap().is_empty());
}

#[test]
fn two_methods_for_one_type_are_refused() {
    let error = EventRouter::new().handlers(Twice).validate().unwrap_err();
    assert!(error.to_string().contains("order.placed"), "{error}");
}
