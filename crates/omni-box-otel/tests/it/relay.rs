//! Spans of relays and handlers over several attempts, and over several relays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::retry::Jitter;
use omni_box_core::{
    ConsumerGroup, EnvelopeEventConverter, ErrorKind, EventPublisher, HandlerError, InboxContext,
    OutboxEvent, Reporter, Result, RetryPolicy, SendOrder,
};
use omni_box_otel::{TraceLayer, TracedPublisher};
use omni_box_pipeline::{EventRouter, InboxConsumerRunner, OutboxRelay, Workers};
use omni_box_testkit::{FaultPlan, FaultyPublisher, MemoryStore, Operation};
use opentelemetry::trace::{Status, TracerProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SpanData};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{SOON, Shop, Traces, attribute, order, ship};

/// A publisher whose broker knows it by a name.
struct Named<P>(P);

#[async_trait]
impl<P: EventPublisher> EventPublisher for Named<P> {
    fn send_order(&self) -> SendOrder {
        self.0.send_order()
    }

    fn client_id(&self) -> Option<&str> {
        Some("relay-7")
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        self.0.submit(events, reporter).await;
    }

    async fn purge(&self) {
        self.0.purge().await;
    }

    async fn check(&self) -> Result<()> {
        self.0.check().await
    }
}

fn traced(traces: &Traces, shop: &Shop, plan: &FaultPlan) -> TracedPublisher<impl EventPublisher, SdkTracer> {
    let publisher = Named(shop.broker.publisher(EnvelopeEventConverter));
    TracedPublisher::new(FaultyPublisher::new(publisher, plan), traces.provider.tracer("relay"))
}

fn shortly() -> RetryPolicy {
    RetryPolicy::new(Duration::from_millis(5), Duration::from_millis(50), Jitter::Equal).unwrap()
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.expect("it is so in time");
}

impl Traces {
    /// The spans of a name, in the order of their ends.
    fn all(&self, name: &str) -> Vec<SpanData> {
        self.spans().into_iter().filter(|span| span.name == name).collect()
    }
}

#[tokio::test]
async fn an_event_that_is_tried_again_has_its_lane_its_hold_and_its_place() {
    let traces = Traces::start(Sampler::AlwaysOn);
    let (shop, plan) = (Shop::new(), FaultPlan::new());
    plan.on(Operation::Deliver).nth(1).fail_before(ErrorKind::Handler);
    shop.enqueue(order()).instrument(tracing::info_span!("place order")).await;
    let relay = OutboxRelay::builder(shop.store.clone(), traced(&traces, &shop, &plan)).retry(shortly());
    let sent = until(|| !shop.broker.records("orders").is_empty() && traces.all("send orders").len() == 2);
    Workers::new().relay(relay.build().unwrap()).run_until(sent).await.unwrap();

    let created = traces.one("create orders").span_context;
    let (waits, sends) = (traces.all("wait orders"), traces.all("send orders"));
    for span in waits.iter().chain(&sends) {
        assert_eq!(
            (span.span_context.trace_id(), span.parent_span_id),
            (created.trace_id(), created.span_id())
        );
    }
    let of = |spans: &[SpanData], name: &str| -> Vec<_> {
        spans.iter().map(|span| attribute(span, name)).collect()
    };
    assert_eq!(of(&waits, "omni_box.attempt"), [Some(1.into()), Some(2.into())]);
    assert_eq!(of(&waits, "omni_box.held"), [Some(false.into()), Some(true.into())]);
    let lanes = of(&waits, "omni_box.lane");
    assert!(lanes[0].is_some() && lanes[0] == lanes[1], "{lanes:?}");
    assert_eq!(of(&sends, "messaging.client.id"), [Some("relay-7".into()), Some("relay-7".into())]);
    assert_eq!(of(&sends, "messaging.destination.partition.id"), [None, Some("0".into())]);
    assert_eq!(of(&sends, "messaging.kafka.offset"), [None, Some(0.into())]);
    assert_eq!(of(&sends, "error.type"), [Some("Handler".into()), None]);
    assert_eq!([&sends[0].status, &sends[1].status], [&Status::error(""), &Status::Unset]);
}

#[tokio::test]
async fn what_another_relay_takes_over_stays_in_its_trace() {
    let traces = Traces::start(Sampler::AlwaysOn);
    let (shop, frozen) = (Shop::new(), FaultPlan::new());
    frozen.on(Operation::Deliver).freeze_before();
    shop.enqueue(order()).instrument(tracing::info_span!("place order")).await;
    let first = OutboxRelay::builder(shop.store.clone(), traced(&traces, &shop, &frozen)).build().unwrap();
    let first = tokio::spawn(first.run(CancellationToken::new()));
    until(|| frozen.calls(Operation::Deliver) > 0).await;
    // as a process that is killed: it hands nothing over, and its lease runs out
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    shop.store.clock().advance(Duration::from_secs(60));

    let publisher = traced(&traces, &shop, &FaultPlan::new());
    let second = OutboxRelay::builder(shop.store.clone(), publisher).build().unwrap();
    let group = ConsumerGroup::new("shipping").unwrap();
    let router = EventRouter::new().on("orders", "order.placed", ship).layer(TraceLayer::new());
    let inbox = InboxConsumerRunner::builder(shop.broker.consumer(&group, ["orders"]), shop.store.clone());
    let shipped = until(|| !traces.all("process orders").is_empty());
    let inbox = inbox.handler(router).build().unwrap();
    Workers::new().relay(second).inbox(inbox).run_until(shipped).await.unwrap();
    let created = traces.one("create orders").span_context;
    for name in ["wait orders", "send orders", "process orders"] {
        let spans = traces.all(name);
        assert_eq!(spans.len(), if name == "process orders" { 1 } else { 2 }, "{name}");
        for span in spans {
            let own = (span.span_context.trace_id(), span.parent_span_id);
            assert_eq!(own, (created.trace_id(), created.span_id()), "{name}");
        }
    }
}

#[tokio::test]
async fn each_attempt_of_a_handler_has_its_own_span() {
    static FAILED: AtomicBool = AtomicBool::new(false);
    async fn fails_once(_cx: InboxContext<'_, MemoryStore>) -> Result<(), HandlerError> {
        if FAILED.swap(true, Ordering::SeqCst) {
            Ok(())
        } else {
            Err(HandlerError::new("the first one fails"))
        }
    }
    let traces = Traces::start(Sampler::AlwaysOn);
    let shop = Shop::new();
    shop.enqueue(order()).instrument(tracing::info_span!("place order")).await;
    let publisher = shop.broker.publisher(EnvelopeEventConverter);
    let relay = OutboxRelay::builder(shop.store.clone(), publisher).build().unwrap();
    let group = ConsumerGroup::new("shipping").unwrap();
    let router = EventRouter::new().on("orders", "order.placed", fails_once).layer(TraceLayer::new());
    let inbox = InboxConsumerRunner::builder(shop.broker.consumer(&group, ["orders"]), shop.store.clone());
    let inbox = inbox.handler(router).retry(shortly()).build().unwrap();
    let handled = until(|| traces.all("process orders").iter().any(|span| span.status == Status::Unset));
    Workers::new().relay(relay).inbox(inbox).run_until(handled).await.unwrap();
    let spans = traces.all("process orders");
    let created = traces.one("create orders").span_context;
    assert!(spans.iter().all(|span| span.parent_span_id == created.span_id()), "{spans:?}");
    let (first, last) = (&spans[0], &spans[spans.len() - 1]);
    for (span, attempt, outcome) in [(first, 1, "failed"), (last, 2, "completed")] {
        assert_eq!(attribute(span, "omni_box.attempt"), Some(attempt.into()), "{spans:?}");
        assert_eq!(attribute(span, "omni_box.outcome"), Some(outcome.into()), "{spans:?}");
    }
}

/// Polls, fetches and commits leave none.
#[tokio::test(start_paused = true)]
async fn idle_relays_and_runners_leave_no_span() {
    let traces = Traces::start(Sampler::AlwaysOn);
    let (shop, plan) = (Shop::new(), FaultPlan::new());
    let relay = OutboxRelay::builder(shop.store.clone(), traced(&traces, &shop, &plan)).build().unwrap();
    let group = ConsumerGroup::new("shipping").unwrap();
    let router = EventRouter::new().on("orders", "order.placed", ship).layer(TraceLayer::new());
    let inbox = InboxConsumerRunner::builder(shop.broker.consumer(&group, ["orders"]), shop.store.clone());
    let inbox = inbox.handler(router).build().unwrap();
    let minute = tokio::time::sleep(Duration::from_secs(60));
    Workers::new().relay(relay).inbox(inbox).run_until(minute).await.unwrap();
    assert!(traces.spans().is_empty(), "{:?}", traces.spans());
}
