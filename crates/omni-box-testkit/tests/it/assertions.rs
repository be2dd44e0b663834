//! The helpers for applications: what they pass, and what they say.

use std::sync::Mutex;

use omni_box_core::{
    ConsumerGroup, Error, ErrorKind, EventContent, EventRepository, HandlerError, HandlerOutcome,
    InboxContext, InboxEvent, NewInboxEvent, NewOutboxEvent, OmniBoxDomainService, Payload, Result, Store,
};
use omni_box_testkit::{ExpectedEvent, FaultPlan, Faulty, MemoryStore, assert_enqueued, assert_one_effect};
use serde_json::json;
use tokio::task::JoinHandle;

async fn place(store: &MemoryStore, orders: &[u32]) -> Result<usize> {
    let mut tx = store.begin().await?;
    for id in orders {
        let event = NewOutboxEvent::new("order.placed", "orders", &json!({"order": id, "lines": []}))
            .partition_key(id.to_string())
            .header("tenant", "blue");
        store.create(&mut tx, &OmniBoxDomainService::default().create_outbox_event(event)?).await?;
    }
    store.commit(tx).await?;
    Ok(orders.len())
}

/// The text with which a task panics.
async fn panic_of(task: JoinHandle<()>) -> String {
    let panic = task.await.expect_err("it panics").into_panic();
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| (*panic.downcast::<&str>().unwrap()).to_owned())
}

fn order(id: u32) -> ExpectedEvent {
    ExpectedEvent::new("order.placed").key(id.to_string()).payload(&json!({"lines": [], "order": id}))
}

#[tokio::test]
async fn exactly_the_expected_events_pass() {
    let store = MemoryStore::new();
    place(&store, &[1]).await.unwrap();
    let expected = [order(7).topic("orders").header("Tenant", "blue"), order(8)];
    assert_eq!(assert_enqueued(&store, place(&store, &[7, 8]), &expected).await.unwrap(), 2);
    assert_enqueued(&store, async {}, &[]).await;
}

#[tokio::test]
async fn other_events_are_named() {
    for (expected, text) in [
        (
            vec![order(7)],
            "2 events were enqueued, 1 were expected:\n  not expected: order.placed to orders, key 8",
        ),
        (vec![order(7), order(8), order(9)], "missing: order.placed to any topic, key 9"),
        (vec![order(8), order(7)], "event 1: key: \"8\" was expected, \"7\" was enqueued"),
        (
            vec![order(7), order(8).topic("other")],
            "event 2: topic: \"other\" was expected, \"orders\" was enqueued",
        ),
        (
            vec![order(7), order(8).header("tenant", "red")],
            "header \"tenant\": \"red\" was expected, \"blue\"",
        ),
        (
            vec![order(7), order(8).header("none", "red")],
            "header \"none\": \"red\" was expected, it has none",
        ),
        (
            vec![order(7), order(8).payload(&json!({"order": 8}))],
            r#"payload: {"order":8} was expected, {"lines":[],"order":8}"#,
        ),
        (
            vec![ExpectedEvent::new("order.cancelled"), order(8)],
            "event type: \"order.cancelled\" was expected",
        ),
    ] {
        let task = tokio::spawn(async move {
            let store = MemoryStore::new();
            assert_enqueued(&store, place(&store, &[7, 8]), &expected).await.unwrap();
        });
        let panic = panic_of(task).await;
        assert!(panic.contains(text), "{panic}");
    }
}

fn message() -> InboxEvent {
    let content = EventContent::new("order.placed", Payload::new(&json!({"order": 7})).unwrap());
    let message = NewInboxEvent::new("message", ConsumerGroup::new("shipping").unwrap(), "shop", content);
    OmniBoxDomainService::default().create_inbox_event(message).unwrap()
}

async fn count(mut cx: InboxContext<'_, Faulty<MemoryStore>>) -> Result<(), HandlerError> {
    let shipped: u32 = cx.conn().get("totals", "shipped")?.unwrap_or(0);
    cx.conn().put("totals", "shipped", &(shipped + 1)).await?;
    Ok(())
}

#[tokio::test]
async fn an_effect_inside_the_transaction_passes_on_any_store() {
    let memory = MemoryStore::new();
    let store = Faulty::new(memory.clone(), &FaultPlan::new());
    let state = async || memory.scan::<u32>("totals").unwrap();
    assert_one_effect(&store, &count, &message(), state).await;
    assert_eq!(memory.scan::<u32>("totals").unwrap(), [("shipped".to_owned(), 1)]);
}

static OUTSIDE: Mutex<u32> = Mutex::new(0);

async fn outside(_: InboxContext<'_, MemoryStore>) {
    *OUTSIDE.lock().unwrap() += 1;
}

async fn nothing(_: InboxContext<'_, MemoryStore>) -> HandlerOutcome {
    HandlerOutcome::Skipped
}

async fn failing(_: InboxContext<'_, MemoryStore>) -> Result<(), Error> {
    Err(Error::new(ErrorKind::Handler, "no stock"))
}

#[tokio::test]
async fn other_handlers_are_told_apart() {
    let outside = tokio::spawn(async {
        let state = async || *OUTSIDE.lock().unwrap();
        assert_one_effect(&MemoryStore::new(), &outside, &message(), state).await;
    });
    let nothing = tokio::spawn(async {
        assert_one_effect(&MemoryStore::new(), &nothing, &message(), async || 7).await;
    });
    let failing = tokio::spawn(async {
        assert_one_effect(&MemoryStore::new(), &failing, &message(), async || 7).await;
    });
    let panics = [panic_of(outside).await, panic_of(nothing).await, panic_of(failing).await];
    let texts = [
        "outside of its transaction",
        "no effect that `state` sees",
        "the handler failed: handler failed: no stock",
    ];
    for (panic, text) in panics.iter().zip(texts) {
        assert!(panic.contains(text), "{panic}");
    }
}
