//! Each event reaches the function that is for it, and no other.

#![allow(clippy::unwrap_used, reason = "helpers outside of test functions may fail a test too")]

use std::time::Duration;

use omni_box_core::{
    Attempt, BatchSize, ConsumerGroup, ErrorKind, Event, EventContent, EventSchema, FetchFilters,
    HandlerError, HandlerOutcome, InboxContext, InboxEvent, InboxHandler, NewInboxEvent, NewOutboxEvent,
    OmniBoxDomainService, OutboxEvent, OutboxExt, Payload, Result, State, Store, Upcast, WorkerId,
};
use omni_box_pipeline::{ANY_SOURCE, EventRouter, Next, Unhandled, on};
use omni_box_testkit::MemoryStore;
use serde::{Deserialize, Serialize};

type Context<'a> = InboxContext<'a, MemoryStore>;

#[derive(Deserialize)]
struct Order {
    order: u32,
}

fn event(source: &str, event_type: &str, version: Option<&str>, json: &str) -> InboxEvent {
    let content = EventContent {
        schema_version: version.map(str::to_owned),
        correlation_id: Some("conversation".to_owned()),
        ..EventContent::new(event_type, Payload::from_text(json).unwrap())
    };
    let event = NewInboxEvent::new("message-1", ConsumerGroup::new("shipping").unwrap(), source, content);
    OmniBoxDomainService::default().create_inbox_event(event).unwrap()
}

fn placed(version: Option<&str>) -> InboxEvent {
    event("orders", "order.placed", version, r#"{"order":7}"#)
}

/// What a handler answers, and which notes it wrote.
async fn give(
    router: &impl InboxHandler<MemoryStore>,
    event: &InboxEvent,
) -> (Result<HandlerOutcome, HandlerError>, Vec<String>) {
    router.validate().unwrap();
    let store = MemoryStore::new();
    let worker_id = WorkerId::new("w").unwrap();
    let mut tx = store.begin().await.unwrap();
    let result = router.handle(InboxContext::new(event, &mut *tx, &store, &worker_id)).await;
    store.commit(tx).await.unwrap();
    let notes = store.scan::<String>("notes").unwrap();
    (result, notes.into_iter().map(|(_, note)| note).collect())
}

async fn notes(router: &impl InboxHandler<MemoryStore>, event: &InboxEvent) -> Vec<String> {
    let (result, notes) = give(router, event).await;
    assert_eq!(result.unwrap(), HandlerOutcome::Completed);
    notes
}

async fn note(cx: &mut Context<'_>, text: impl Into<String>) {
    let text = text.into();
    let key = format!("{:03}", text.len());
    cx.conn().insert("notes", &key, &text).await.unwrap();
}

async fn ship(mut cx: Context<'_>, order: Order) {
    note(&mut cx, format!("shipped {}", order.order)).await;
}

async fn cancel(mut cx: Context<'_>, order: Order) {
    note(&mut cx, format!("cancelled {}", order.order)).await;
}

fn saying(text: &'static str) -> EventRouter<MemoryStore> {
    async fn say(mut cx: Context<'_>, _: serde_json::Value, State(text): State<&'static str>) {
        note(&mut cx, text).await;
    }
    EventRouter::new().on(ANY_SOURCE, "order.placed", say).with_state(text)
}

#[tokio::test]
async fn two_types_with_the_same_fields_reach_their_own_handlers_only() {
    let router =
        EventRouter::new().on("orders", "order.placed", ship).on("orders", "order.cancelled", cancel);
    assert_eq!(notes(&router, &placed(None)).await, ["shipped 7"]);
    let cancelled = event("orders", "order.cancelled", None, r#"{"order":7}"#);
    assert_eq!(notes(&router, &cancelled).await, ["cancelled 7"]);

    let single = on("order.placed", ship);
    assert_eq!(notes(&single, &placed(None)).await, ["shipped 7"]);
    let (result, written) = give(&single, &cancelled).await;
    assert!(matches!(result.unwrap(), HandlerOutcome::Retry { attempt: Attempt::Free, .. }));
    assert!(written.is_empty());
}

#[tokio::test]
async fn a_payload_that_does_not_fit_fails_at_once_and_runs_nothing() {
    let (result, written) =
        give(&on("order.placed", ship), &event("orders", "order.placed", None, r#"{"s3cret":1}"#)).await;
    let error = result.unwrap_err().into_error(|_| None);
    assert_eq!((error.kind(), written.len()), (ErrorKind::Decode, 0));
    assert!(!error.chain().contains("s3cret"));
}

#[tokio::test]
async fn the_best_version_and_the_own_source_win() {
    async fn any(mut cx: Context<'_>) {
        note(&mut cx, "any").await;
    }
    async fn two(mut cx: Context<'_>) {
        note(&mut cx, "two").await;
    }
    async fn two_one(mut cx: Context<'_>) {
        note(&mut cx, "two.one").await;
    }
    async fn elsewhere(mut cx: Context<'_>) {
        note(&mut cx, "elsewhere").await;
    }
    let router = EventRouter::new()
        .on(ANY_SOURCE, "order.placed", elsewhere)
        .on_version("orders", "order.placed", "2", two)
        .on_version("orders", "order.placed", "2.1", two_one);
    for (version, expected) in [
        (Some("2"), "two"),
        (Some("2.0.3"), "two"),
        (Some("2.1"), "two.one"),
        (Some("2.1.9"), "two.one"),
        (Some("20"), "elsewhere"),
        (None, "elsewhere"),
    ] {
        assert_eq!(notes(&router, &placed(version)).await, [expected], "{version:?}");
    }
    let router = router.on("orders", "order.placed", any);
    assert_eq!(notes(&router, &placed(None)).await, ["any"]);
    assert_eq!(notes(&router, &placed(Some("20"))).await, ["any"]);
    let router = router.on_version("orders", "order.placed", "1", two);
    assert_eq!(notes(&router, &placed(None)).await, ["two"], "a message without a version is of 1.0.0");
    let other = event("web", "order.placed", Some("2"), r#"{"order":7}"#);
    assert_eq!(notes(&router, &other).await, ["elsewhere"]);
}

#[derive(Serialize, Deserialize)]
struct PlacedV1 {
    order: u32,
}

impl EventSchema for PlacedV1 {
    const EVENT_TYPE: &'static str = "order.placed";
}

#[derive(Serialize, Deserialize)]
struct Placed {
    order: u32,
    customer: String,
}

impl EventSchema for Placed {
    const EVENT_TYPE: &'static str = "order.placed";
    const VERSION: &'static str = "2";
    const TOPIC: Option<&'static str> = Some("orders");
    const UPCAST: Upcast<Self> = Upcast::from_older::<PlacedV1>();
}

impl From<PlacedV1> for Placed {
    fn from(old: PlacedV1) -> Self {
        Self { order: old.order, customer: "unknown".to_owned() }
    }
}

#[tokio::test]
async fn older_versions_of_a_type_of_event_are_upcast() {
    async fn typed(mut cx: Context<'_>, placed: Placed) {
        note(&mut cx, format!("{} for {}", placed.order, placed.customer)).await;
    }
    let router = EventRouter::new().on_event("orders", typed);
    assert_eq!(notes(&router, &placed(Some("1.0.0"))).await, ["7 for unknown"]);
    let new = event("orders", "order.placed", Some("2.1"), r#"{"order":7,"customer":"ada"}"#);
    assert_eq!(notes(&router, &new).await, ["7 for ada"]);

    let (result, _) = give(&router, &placed(Some("3"))).await;
    let HandlerOutcome::Retry { reason, attempt: Attempt::Free, .. } = result.unwrap() else {
        panic!("an unknown version waits for a process that knows it");
    };
    assert_eq!(
        reason,
        r#"no handler for "order.placed" of version "3" from "orders"; there are: "order.placed" of the versions 2, 1.0.0 from "orders""#
    );
}

#[tokio::test]
async fn an_event_without_a_route_waits_is_skipped_or_fails() {
    let unknown = event("orders", "order.paid", None, r#"{"order":7}"#);
    let router = || on("order.placed", ship);
    let retry = |free_for| Unhandled::Retry { free_for };

    let waits = |attempt: Attempt| move |outcome: HandlerOutcome| matches!(outcome, HandlerOutcome::Retry { attempt: found, after: None, .. } if found == attempt);
    let (result, _) = give(&router(), &unknown).await;
    assert!(waits(Attempt::Free)(result.unwrap()));
    let (result, _) = give(&router().unhandled(retry(Duration::ZERO)), &unknown).await;
    assert!(waits(Attempt::Counted)(result.unwrap()));
    let (result, _) = give(&router().unhandled(Unhandled::Skip), &unknown).await;
    assert_eq!(result.unwrap(), HandlerOutcome::Skipped);
    let (result, _) = give(&router().unhandled(Unhandled::Fail), &unknown).await;
    let error = result.unwrap_err().into_error(|_| None);
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(error.chain().contains(r#"no handler for "order.paid""#), "{}", error.chain());
    assert_eq!(notes(&router().fallback(cancel), &unknown).await, ["cancelled 7"]);
}

#[tokio::test]
async fn all_duplicates_and_empty_names_are_named() {
    let router = EventRouter::new()
        .on("orders", "order.placed", ship)
        .on("orders", "order.placed", cancel)
        .on_version("orders", "order.placed", "2", ship)
        .on_version("web", "order.placed", "2", ship)
        .on_version("web", "order.placed", "2", ship)
        .on("orders", "", cancel);
    let error = router.validate().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    for mistake in [
        r#"two handlers for "order.placed" of any version from "orders""#,
        r#"two handlers for "order.placed" of version "2" from "web""#,
        r#"a handler for "" of any version from "orders", which has an empty name"#,
    ] {
        assert!(error.to_string().contains(mistake), "{error}");
    }
    assert_eq!(error.to_string().matches("two handlers").count(), 2);

    let merged = on("order.placed", ship).merge(on("order.placed", cancel));
    assert!(merged.validate().unwrap_err().to_string().contains("two handlers"));
}

#[tokio::test]
async fn layers_run_around_handlers_and_may_answer_for_them() {
    async fn outer(mut cx: Context<'_>, next: Next<'_, MemoryStore>) -> Result<HandlerOutcome, HandlerError> {
        note(&mut cx, "outer is begun").await;
        next.run(cx).await
    }
    async fn inner(mut cx: Context<'_>, next: Next<'_, MemoryStore>) -> Result<HandlerOutcome, HandlerError> {
        assert!(cx.conn().get::<String>("notes", "014")?.is_some(), "the outer layer ran first");
        let outcome = next.run(cx.reborrow()).await?;
        note(&mut cx, "inner has ended: done").await;
        Ok(outcome)
    }
    async fn skip(_cx: Context<'_>, _next: Next<'_, MemoryStore>) -> HandlerOutcome {
        HandlerOutcome::Skipped
    }
    let router = || on("order.placed", ship).layer(inner).layer(outer);
    let expected = ["shipped 7", "outer is begun", "inner has ended: done"];
    assert_eq!(notes(&router(), &placed(None)).await, expected);
    // layers of a merged router stay with its routes
    let merged = on("order.cancelled", cancel).merge(router());
    assert_eq!(notes(&merged, &placed(None)).await, expected);
    let cancelled = event("orders", "order.cancelled", None, r#"{"order":7}"#);
    assert_eq!(notes(&merged, &cancelled).await, ["cancelled 7"]);

    let (result, written) = give(&router().layer(skip), &placed(None)).await;
    assert_eq!((result.unwrap(), written.len()), (HandlerOutcome::Skipped, 0));
}

#[tokio::test]
async fn a_router_tells_what_it_handles() {
    let router: EventRouter<MemoryStore> = EventRouter::new()
        .on("orders", "order.placed", ship)
        .on("web", "order.cancelled", cancel)
        .on(ANY_SOURCE, "order.paid", cancel);
    assert_eq!(router.sources(), [ANY_SOURCE, "orders", "web"]);
    assert_eq!(router.event_types("orders"), ["order.paid", "order.placed"]);
    assert_eq!(router.event_types("elsewhere"), ["order.paid"]);
    let normalized =
        saying("found").normalize_source(|source| source.trim_start_matches("staging.").to_owned());
    let router = EventRouter::new()
        .on("orders", "order.placed", ship)
        .normalize_source(|source| source.trim_start_matches("staging.").to_owned());
    let staged = event("staging.orders", "order.placed", None, r#"{"order":7}"#);
    assert_eq!(notes(&router, &staged).await, ["shipped 7"]);
    assert_eq!(notes(&normalized, &staged).await, ["found"]);
}

#[tokio::test]
async fn an_event_enqueued_by_a_handler_names_its_cause() {
    #[derive(Serialize)]
    struct Shipped {
        order: u32,
    }
    impl EventSchema for Shipped {
        const EVENT_TYPE: &'static str = "order.shipped";
        const TOPIC: Option<&'static str> = Some("shipments");
    }
    async fn tell(mut cx: Context<'_>, order: Order) -> anyhow::Result<()> {
        cx.enqueue(&Shipped { order: order.order }).await?;
        cx.enqueue(
            NewOutboxEvent::new("order.shipped", "shipments", &Shipped { order: 8 }).causation_id("other"),
        )
        .await?;
        Ok(())
    }
    let store = MemoryStore::new();
    let worker_id = WorkerId::new("w").unwrap();
    let message = placed(None);
    let mut tx = store.begin().await.unwrap();
    let router = on("order.placed", tell);
    router.handle(InboxContext::new(&message, &mut *tx, &store, &worker_id)).await.unwrap();
    store.commit(tx).await.unwrap();
    let events: Vec<OutboxEvent> =
        store.outbox().fetch_pending(BatchSize::new(10).unwrap(), &FetchFilters::new()).await.unwrap();
    let causes: Vec<_> = events.iter().map(|event| event.content().causation_id.as_deref()).collect();
    assert_eq!(causes, [Some("message-1"), Some("other")]);
    assert_eq!(events[0].content().correlation_id.as_deref(), Some("conversation"));
}
