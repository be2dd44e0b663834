//! Baggage that events carry.

use omni_box_core::message::InboundMessage;
use omni_box_core::{Event, NewOutboxEvent};
use omni_box_otel::{ContextMode, TraceLayer};
use omni_box_testkit::NewMessage;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::FutureExt as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Sampler;
use tracing::Instrument;

use super::{Shop, Traces, order};

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
