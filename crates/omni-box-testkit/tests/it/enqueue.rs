//! Enqueuing in one call, and the views of a store that keeps both kinds of events.

use std::borrow::Cow;

use chrono::{TimeDelta, Utc};
use omni_box_core::{
    BatchSize, ClaimToken, Created, ErrorKind, Event, EventSchema, FetchFilters, InboxExt, NewOutboxEvent,
    OmniBoxDomainService, OutboxExt, OwnerId, Store, WorkerId,
};
use omni_box_testkit::MemoryStore;
use serde::Serialize;

#[derive(Serialize)]
struct OrderPlaced {
    id: u64,
    customer: String,
}

impl EventSchema for OrderPlaced {
    const EVENT_TYPE: &'static str = "order.placed";
    const VERSION: &'static str = "2";
    const TOPIC: Option<&'static str> = Some("orders");

    fn partition_key(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.customer))
    }
}

fn placed(id: u64) -> OrderPlaced {
    OrderPlaced { id, customer: "Ada".to_owned() }
}

async fn ids(store: &MemoryStore) -> Vec<u64> {
    let pending = store.outbox().fetch_pending(BatchSize::new(100).unwrap(), &FetchFilters::new()).await;
    let id = |payload: serde_json::Value| payload["id"].as_u64().unwrap();
    pending.unwrap().iter().map(|event| id(event.payload().deserialize().unwrap())).collect()
}

#[tokio::test]
async fn a_value_of_an_event_type_is_stored_with_all_that_its_type_says() {
    let store = MemoryStore::new();
    let mut tx = store.begin().await.unwrap();
    let event = store.enqueue(&mut tx, &placed(7)).await.unwrap().into_event();
    assert_eq!(store.outbox().get_by_id(&mut tx, event.id()).await.unwrap(), Some(event.clone()));
    store.commit(tx).await.unwrap();

    assert_eq!(
        (event.event_type(), event.topic(), event.partition_key()),
        ("order.placed", "orders", Some("Ada"))
    );
    assert_eq!(event.content().schema_version.as_deref(), Some("2"));
    assert_eq!(ids(&store).await, [7]);
}

#[tokio::test]
async fn what_is_said_of_one_event_is_stored_too() {
    let store = MemoryStore::new();
    let tomorrow = Utc::now() + TimeDelta::days(1);
    let mut tx = store.begin().await.unwrap();
    let event = placed(7).event().scheduled_at(tomorrow).idempotency_key("order-7");
    let first = store.enqueue(&mut tx, event).await.unwrap();
    assert!(first.is_new());
    let again = store.enqueue(&mut tx, placed(7).event().idempotency_key("order-7")).await.unwrap();
    assert_eq!(again, Created::Existing(first.into_event()));
    store.commit(tx).await.unwrap();
    assert!(ids(&store).await.is_empty(), "it is due tomorrow");
}

#[tokio::test]
async fn several_are_stored_in_order_or_none() {
    let store = MemoryStore::new();
    let no_key = |id| NewOutboxEvent::new("order.placed", "orders", &serde_json::json!({"id": id}));
    let mut tx = store.begin().await.unwrap();
    let error = store.enqueue_many(&mut tx, [no_key(1), no_key(2).topic("")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.chain(), "event 1 (from 0) of a batch: topic is empty, needs 1 to 255 characters");
    store.commit(tx).await.unwrap();
    assert!(ids(&store).await.is_empty());

    let mut tx = store.begin().await.unwrap();
    let built = OmniBoxDomainService::default().create_outbox_event(no_key(1)).unwrap();
    store.enqueue(&mut tx, &built).await.unwrap();
    store.enqueue_many(&mut tx, [no_key(2), no_key(3)]).await.unwrap();
    store.enqueue_many(&mut tx, &[placed(4)]).await.unwrap();
    store.commit(tx).await.unwrap();
    assert_eq!(ids(&store).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_view_speaks_of_its_kind_only() {
    let store = MemoryStore::new();
    let mut tx = store.begin().await.unwrap();
    let id = store.enqueue(&mut tx, &placed(7)).await.unwrap().into_event().id();
    assert!(store.inbox().get_by_id(&mut tx, id).await.unwrap().is_none());
    store.commit(tx).await.unwrap();

    let token = ClaimToken::new(&WorkerId::new("w").unwrap(), OwnerId::generate());
    assert!(!store.inbox().mark_processing(id, &token).await.unwrap());
    assert!(store.outbox().mark_processing(id, &token).await.unwrap());
    assert!(store.outbox().mark_completed(id, &token).await.unwrap());
    assert!(store.outbox().retention().is_some() && store.inbox().retention().is_some());
}

#[tokio::test]
async fn an_enqueue_may_be_spawned() {
    let store = MemoryStore::new();
    let other = store.clone();
    let task = async move {
        let mut tx = other.begin().await?;
        other.enqueue(&mut tx, &placed(7)).await?;
        other.enqueue_many(&mut tx, &[placed(8)]).await?;
        other.commit(tx).await
    };
    tokio::spawn(task).await.unwrap().unwrap();
    assert_eq!(ids(&store).await, [7]);
}
