//! Baggage that events carry.

use std::sync::Mutex;

use omni_box_core::message::InboundMessage;
use omni_box_core::{ConsumerGroup, Event, InboxContext, NewOutboxEvent};
use omni_box_otel::{ContextMode, TraceLayer};
use omni_box_pipeline::{EventRouter, InboxConsumerRunner, Workers};
use omni_box_testkit::{MemoryStore, NewMessage};
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::FutureExt as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Sampler;
use tracing::Instrument;

use super::{SOON, Shop, Traces, order};

/// What the code has that enqueues: one entry is not for others.
fn context() -> Context {
    let entries = [("secret", "hush"), ("tier", "gold"), ("tenant", "blue, green %")];
    Context::new().with_baggage(entries.map(|(name, value)| KeyValue::new(name, value)))
}

const KEPT: &str = "tenant=blue%2C%20green%20%25,tier=gold";

fn baggage(message: &InboundMessage) -> Option<&str> {
    message.header("baggage")
}

#[tokio::test]
async fn allowed_entries_leave_with_an_event_and_a_handler_carries_them_on() {
    for (sampler, mode) in [
        (Sampler::AlwaysOn, ContextMode::Continue),
        (Sampler::AlwaysOn, ContextMode::Link),
        (Sampler::AlwaysOff, ContextMode::Continue),
        (Sampler::AlwaysOff, ContextMode::Link),
    ] {
        let case = format!("{sampler:?}, {mode:?}");
        let _traces = Traces::start(sampler);
        let shop = Shop::new();
        let placing = shop.enqueue(order()).with_context(context());
        placing.instrument(tracing::info_span!("place order")).await;
        shop.run(TraceLayer::new().mode(mode), 1).await;
        assert_eq!(baggage(&shop.broker.records("orders")[0]), Some(KEPT), "{case}");
        assert_eq!(baggage(&shop.broker.records("shipments")[0]), Some(KEPT), "{case}");
    }
}

/// A span made from a context with baggage has it, where none is current.
#[tokio::test]
async fn the_baggage_of_a_span_counts() {
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;
    let _traces = Traces::start(Sampler::AlwaysOn);
    let shop = Shop::new();
    let span = tracing::info_span!("place order");
    span.set_parent(context()).unwrap();
    let event = shop.enqueue(order()).instrument(span).await;
    assert_eq!(event.content().headers.get("baggage"), Some(KEPT));
}

#[tokio::test]
async fn an_event_without_baggage_or_with_its_own_is_left_alone() {
    let _traces = Traces::start(Sampler::AlwaysOn);
    let shop = Shop::new();
    let kept = async |event: NewOutboxEvent, context: Context| {
        let event = shop.enqueue(event).with_context(context).await;
        event.content().headers.get("baggage").map(str::to_owned)
    };
    let alone = Context::new().with_baggage([KeyValue::new("secret", "hush")]);
    assert_eq!(kept(order(), Context::new()).await, None);
    assert_eq!(kept(order(), alone).await, None);
    assert_eq!(kept(order().header("baggage", "own=1"), context()).await.as_deref(), Some("own=1"));
    let foreign = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(kept(order().header("traceparent", foreign), context()).await, None);
    let long = Context::new().with_baggage([KeyValue::new("tenant", "x".repeat(600))]);
    assert_eq!(kept(order(), long).await, None, "a value has its limit, and costs no event");
}

#[tokio::test]
async fn foreign_and_malformed_baggage_costs_no_message() {
    let _traces = Traces::start(Sampler::AlwaysOn);
    let shop = Shop::new();
    let long = format!("tenant={}", "x".repeat(9_000));
    let headers: [&[u8]; 5] = [
        b"tenant=a%20b;ttl=1, secret=hush,,=,tier",
        b"tenant=%ff%zz,tier",
        b"\xff\xfe=\xff",
        long.as_bytes(),
        b"",
    ];
    for header in headers {
        let message =
            NewMessage::to("orders").key("7").value(r#"{"id": 7}"#).header("event_type", "order.placed");
        shop.broker.send(message.header("baggage", header));
    }
    shop.run(TraceLayer::new(), headers.len()).await;
    let sent = shop.broker.records("shipments");
    let carried: Vec<_> = sent.iter().filter_map(baggage).collect();
    assert_eq!(carried, ["tenant=a%20b"], "by the same list, and without properties");
}

/// What a handler's own code sees: it may send it on to other services.
#[tokio::test]
async fn a_handler_has_the_allowed_entries_of_its_message_and_no_others() {
    static SEEN: Mutex<Vec<Vec<String>>> = Mutex::new(Vec::new());
    async fn look(_cx: InboxContext<'_, MemoryStore>) {
        let context = Context::current();
        let entries = context.baggage().iter().map(|(name, (value, _))| format!("{name}={value}"));
        SEEN.lock().unwrap().push(entries.collect());
    }
    let _traces = Traces::start(Sampler::AlwaysOn);
    let shop = Shop::new();
    let sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for traceparent in ["", sampled, &sampled.replace("-01", "-00")] {
        let message = NewMessage::to("orders").key("7").value(r#"{"id": 7}"#);
        let message = message.header("event_type", "order.placed").header("traceparent", traceparent);
        shop.broker.send(message.header("baggage", "secret=hush,tenant=a%20b;ttl=1"));
    }
    let group = ConsumerGroup::new("shipping").unwrap();
    let router = EventRouter::new().on("orders", "order.placed", look).layer(TraceLayer::new());
    let consumer = shop.broker.consumer(&group, ["orders"]);
    let inbox = InboxConsumerRunner::builder(consumer, shop.store.clone()).handler(router).build().unwrap();
    let handled = async {
        while SEEN.lock().unwrap().len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, Workers::new().inbox(inbox).run_until(handled)).await.unwrap().unwrap();
    assert_eq!(*SEEN.lock().unwrap(), [["tenant=a b"], ["tenant=a b"], ["tenant=a b"]]);
}
