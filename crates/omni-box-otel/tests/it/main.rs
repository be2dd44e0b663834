//! Traces as an exporter sees them: from the code that enqueues to the handler.

#![allow(clippy::unwrap_used, reason = "helpers outside of test functions may fail a test too")]

mod baggage;
mod metrics;
mod relay;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use omni_box_core::{
    BatchSize, ConsumerGroup, EnvelopeEventConverter, ErrorKind, Event, EventPublisher, FetchFilters,
    HandlerError, InboundMessage, InboxContext, NewOutboxEvent, OutboxEvent, OutboxExt, Reporter, Store,
    WorkerId,
};
use omni_box_otel::{ContextMode, OpenTelemetryStep, TraceLayer, TracedPublisher};
use omni_box_pipeline::{
    EventProcessorBuilder, EventRouter, HandlerExecutionStep, InboxConsumerRunner, OutboxRelay,
    PublisherExecutionStep, Workers, on,
};
use omni_box_testkit::{MemoryBroker, MemoryStore, NewMessage};
use opentelemetry::trace::{
    FutureExt as _, Span as _, SpanId, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider,
};
use opentelemetry::{Context, Value};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;

const SOON: Duration = Duration::from_secs(30);

/// One propagation for all tests: the first stays.
fn installed() {
    omni_box_otel::install_with_baggage(["tenant", "tier"]);
}

/// The spans of one test, which are those of its thread.
struct Traces {
    exporter: InMemorySpanExporter,
    provider: SdkTracerProvider,
    _guard: DefaultGuard,
}

impl Traces {
    fn start(sampler: Sampler) -> Self {
        installed();
        let exporter = InMemorySpanExporter::default();
        let provider =
            SdkTracerProvider::builder().with_sampler(sampler).with_simple_exporter(exporter.clone()).build();
        let traces = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(traces));
        Self { exporter, provider, _guard: guard }
    }

    fn spans(&self) -> Vec<SpanData> {
        self.exporter.get_finished_spans().unwrap()
    }

    /// The one span of a name.
    fn one(&self, name: &str) -> SpanData {
        let mut spans: Vec<_> = self.spans().into_iter().filter(|span| span.name == name).collect();
        assert_eq!(spans.len(), 1, "{name}: {:?}", self.spans());
        spans.remove(0)
    }
}

/// Counts lines of level WARN.
struct Warnings(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if *event.metadata().level() == tracing::Level::WARN
            && event.metadata().target().starts_with("omni_box_otel")
        {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn order() -> NewOutboxEvent {
    NewOutboxEvent::new("order.placed", "orders", &serde_json::json!({"id": 7})).partition_key("7")
}

struct Shop {
    store: MemoryStore,
    broker: MemoryBroker,
}

impl Shop {
    fn new() -> Self {
        let shop = Self { store: MemoryStore::new(), broker: MemoryBroker::new() };
        shop.broker.create_topic("orders", 1);
        shop.broker.create_topic("shipments", 1);
        shop
    }

    async fn enqueue(&self, event: NewOutboxEvent) -> OutboxEvent {
        let mut tx = self.store.begin().await.unwrap();
        let created = self.store.enqueue(&mut tx, event).await.unwrap();
        self.store.commit(tx).await.unwrap();
        created.into_event()
    }

    /// Publishes and handles until `count` messages are on the topic of shipments.
    async fn run(&self, layer: TraceLayer, count: usize) {
        let publisher = self.broker.publisher(EnvelopeEventConverter);
        let relay = OutboxRelay::builder(self.store.clone(), publisher).build().unwrap();
        let group = ConsumerGroup::new("shipping").unwrap();
        let router = EventRouter::new().on("orders", "order.placed", ship).layer(layer);
        let inbox =
            InboxConsumerRunner::builder(self.broker.consumer(&group, ["orders"]), self.store.clone())
                .handler(router)
                .build()
                .unwrap();
        let done = async {
            while self.broker.records("shipments").len() < count {
                tokio::task::yield_now().await;
            }
        };
        let workers = Workers::new().relay(relay).inbox(inbox).run_until(done);
        tokio::time::timeout(SOON, workers).await.expect("all is handled").unwrap();
    }
}

async fn ship(mut cx: InboxContext<'_, MemoryStore>) -> Result<(), HandlerError> {
    let shipped = NewOutboxEvent::new("order.shipped", "shipments", &serde_json::json!({"id": 7}));
    cx.enqueue(shipped).instrument(tracing::info_span!("ship")).await?;
    Ok(())
}

fn traceparent(message: &InboundMessage) -> String {
    message.header("traceparent").unwrap_or_default().to_owned()
}

fn attribute(span: &SpanData, name: &str) -> Option<Value> {
    span.attributes.iter().find(|pair| pair.key.as_str() == name).map(|pair| pair.value.clone())
}

#[tokio::test]
async fn one_trace_leads_from_the_code_that_enqueues_to_what_the_handler_enqueues() {
    let traces = Traces::start(Sampler::AlwaysOn);
    let shop = Shop::new();
    shop.enqueue(order().correlation_id("c-1")).instrument(tracing::info_span!("place order")).await;
    shop.run(TraceLayer::new(), 1).await;

    let (placed, created) = (traces.one("place order"), traces.one("create orders"));
    let (process, shipped, followed) =
        (traces.one("process orders"), traces.one("ship"), traces.one("create shipments"));
    let trace = placed.span_context.trace_id();
    assert_eq!(placed.parent_span_id, SpanId::INVALID);
    for (span, parent) in
        [(&created, &placed), (&process, &created), (&shipped, &process), (&followed, &shipped)]
    {
        assert_eq!(
            (span.span_context.trace_id(), span.parent_span_id),
            (trace, parent.span_context.span_id()),
            "{}",
            span.name
        );
    }
    assert!(process.parent_span_is_remote && !created.parent_span_is_remote);
    assert_eq!(process.links.links[0].span_context.span_id(), created.span_context.span_id());
    let sent = |topic: &str, span: &SpanData| {
        let record = &shop.broker.records(topic)[0];
        assert_eq!(traceparent(record), format!("00-{trace}-{}-01", span.span_context.span_id()));
        assert_eq!(record.header("trace_id"), Some(trace.to_string().as_str()));
    };
    sent("orders", &created);
    sent("shipments", &followed);

    assert_eq!((&created.span_kind, &process.span_kind), (&SpanKind::Producer, &SpanKind::Consumer));
    assert_eq!(process.status, Status::Unset);
    let id = shop.broker.records("orders")[0].header("event_id").unwrap().to_owned();
    for (name, value) in [
        ("messaging.system", Value::from("kafka")),
        ("messaging.operation.name", "create".into()),
        ("messaging.operation.type", "create".into()),
        ("messaging.destination.name", "orders".into()),
        ("messaging.message.id", id.clone().into()),
        ("messaging.message.conversation_id", "c-1".into()),
        ("omni_box.event_type", "order.placed".into()),
    ] {
        assert_eq!(attribute(&created, name), Some(value), "{name}");
    }
    for (name, value) in [
        ("messaging.system", Value::from("kafka")),
        ("messaging.operation.name", "process".into()),
        ("messaging.destination.name", "orders".into()),
        ("messaging.destination.partition.id", "0".into()),
        ("messaging.kafka.offset", 0.into()),
        ("messaging.consumer.group.name", "shipping".into()),
        ("messaging.message.id", id.into()),
        ("messaging.message.conversation_id", "c-1".into()),
        ("omni_box.event_type", "order.placed".into()),
        ("omni_box.attempt", 1.into()),
        ("omni_box.outcome", "completed".into()),
    ] {
        assert_eq!(attribute(&process, name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn the_time_in_the_outbox_and_the_way_to_the_broker_are_spans_of_the_same_trace() {
    let traces = Traces::start(Sampler::AlwaysOn);
    let shop = Shop::new();
    let before = SystemTime::now();
    let created = shop.enqueue(order()).instrument(tracing::info_span!("place order")).await;
    let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    shop.enqueue(order().header("traceparent", unsampled)).await;
    shop.enqueue(order()).await;

    let publisher = shop.broker.publisher(EnvelopeEventConverter);
    let publisher = TracedPublisher::new(publisher, traces.provider.tracer("relay"));
    let relay = OutboxRelay::builder(shop.store.clone(), publisher).build().unwrap();
    let sent = async {
        while shop.broker.records("orders").len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    let workers = Workers::new().relay(relay).run_until(sent);
    tokio::time::timeout(SOON, workers).await.expect("all is sent").unwrap();

    // the other two have a context of their own, and no current one
    let (origin, wait) = (traces.one("create orders"), traces.one("wait orders"));
    assert_eq!(wait.span_context.trace_id(), origin.span_context.trace_id());
    assert_eq!(wait.parent_span_id, origin.span_context.span_id());
    assert_eq!(wait.start_time, SystemTime::from(created.lifecycle().created_at()));
    assert!(
        wait.start_time >= before && wait.end_time >= wait.start_time && wait.end_time <= SystemTime::now()
    );
    assert_eq!(attribute(&wait, "messaging.message.id"), Some(created.id().to_string().into()));
    assert_eq!(attribute(&wait, "omni_box.attempt"), Some(1.into()));

    let send = traces.one("send orders");
    assert_eq!(send.span_context.trace_id(), origin.span_context.trace_id());
    assert_eq!(send.parent_span_id, origin.span_context.span_id());
    assert_eq!(send.links.links[0].span_context.span_id(), origin.span_context.span_id());
    assert_eq!(
        (send.start_time, &send.status, &send.span_kind),
        (wait.end_time, &Status::Unset, &SpanKind::Client)
    );
    assert_eq!(attribute(&send, "messaging.operation.name"), Some("send".into()));
    assert_eq!(attribute(&send, "messaging.system"), Some("kafka".into()));
}

#[tokio::test]
async fn an_answer_that_is_an_error_is_one_in_its_span() {
    let traces = Traces::start(Sampler::AlwaysOn);
    let shop = Shop::new();
    let event = shop.enqueue(order()).instrument(tracing::info_span!("place order")).await;
    shop.broker.fail_deliveries([ErrorKind::TooLarge]);
    let publisher = shop.broker.publisher(EnvelopeEventConverter);
    let publisher = TracedPublisher::new(publisher, traces.provider.tracer("relay"));
    let (reporter, mut reports) = Reporter::channel();
    publisher.submit(vec![Arc::new(event)], &reporter).await;
    let report = tokio::time::timeout(SOON, reports.recv()).await.expect("it is reported").unwrap();
    assert_eq!(report.result.unwrap_err().kind(), ErrorKind::TooLarge);
    let send = traces.one("send orders");
    assert_eq!(send.status, Status::error(""));
    assert_eq!(attribute(&send, "error.type"), Some("TooLarge".into()));
}

#[tokio::test]
async fn a_linked_handler_begins_a_trace_of_its_own() {
    let traces = Traces::start(Sampler::AlwaysOn);
    let shop = Shop::new();
    shop.enqueue(order()).instrument(tracing::info_span!("place order")).await;
    shop.run(TraceLayer::new().mode(ContextMode::Link).system("memory"), 1).await;

    let (placed, process, shipped) =
        (traces.one("create orders"), traces.one("process orders"), traces.one("ship"));
    assert_ne!(process.span_context.trace_id(), placed.span_context.trace_id());
    assert_eq!(process.parent_span_id, SpanId::INVALID);
    assert_eq!(process.links.links[0].span_context.trace_id(), placed.span_context.trace_id());
    assert_eq!(process.links.links[0].span_context.span_id(), placed.span_context.span_id());
    assert_eq!(shipped.span_context.trace_id(), process.span_context.trace_id());
    assert_eq!(attribute(&process, "messaging.system"), Some("memory".into()));
}

#[tokio::test]
async fn a_trace_that_is_not_sampled_leaves_no_header_and_no_span() {
    let traces = Traces::start(Sampler::AlwaysOff);
    let shop = Shop::new();
    shop.enqueue(order()).instrument(tracing::info_span!("place order")).await;
    shop.run(TraceLayer::new(), 1).await;
    for topic in ["orders", "shipments"] {
        assert_eq!(traceparent(&shop.broker.records(topic)[0]), "");
    }
    assert!(traces.spans().is_empty(), "{:?}", traces.spans());
}

#[tokio::test]
async fn a_foreign_context_is_continued_and_a_malformed_one_is_ignored() {
    let traces = Traces::start(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
    let shop = Shop::new();
    let foreign = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let unsampled = foreign.replace("-01", "-00");
    for traceparent in ["00-zz-01", &unsampled, foreign] {
        let message = NewMessage::to("orders").key("7").value(r#"{"id": 7}"#);
        let message = message.header("event_type", "order.placed").header("traceparent", traceparent);
        shop.broker.send(message.header("tracestate", "congo=t61rcWkgMzE"));
    }
    shop.run(TraceLayer::new(), 3).await;
    let process = traces.one("process orders");
    assert_eq!(process.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(process.parent_span_id.to_string(), "b7ad6b7169203331");
    assert_eq!(process.span_context.trace_state().header(), "congo=t61rcWkgMzE");
    let ships: Vec<_> = traces.spans().into_iter().filter(|span| span.name == "ship").collect();
    assert_eq!(ships.len(), 2, "one of a trace of its own, one of the foreign trace: {ships:?}");

    let sent = shop.broker.records("shipments");
    let traced =
        |trace: &str| sent.iter().filter(|message| traceparent(message).contains(trace)).collect::<Vec<_>>();
    let continued = traced("0af7651916cd43dd8448eb211c80319c");
    assert_eq!(continued.len(), 1, "what is not sampled is not kept");
    assert_eq!(continued[0].header("tracestate"), Some("congo=t61rcWkgMzE"));
    assert_eq!(traced("00-").len(), 2);
}

#[tokio::test]
async fn a_handler_that_fails_is_an_error_without_its_text() {
    let traces = Traces::start(Sampler::AlwaysOn);
    let shop = Shop::new();
    shop.enqueue(order()).instrument(tracing::info_span!("place order")).await;
    let group = ConsumerGroup::new("shipping").unwrap();
    let store = shop.store.clone();
    let publisher = shop.broker.publisher(EnvelopeEventConverter);
    let relay = OutboxRelay::builder(store.clone(), publisher).build().unwrap();
    async fn refuse(_cx: InboxContext<'_, MemoryStore>) -> Result<(), HandlerError> {
        Err(HandlerError::permanent("hush"))
    }
    let router = EventRouter::new().on("orders", "order.placed", refuse).layer(TraceLayer::new());
    let inbox = InboxConsumerRunner::builder(shop.broker.consumer(&group, ["orders"]), store)
        .handler(router)
        .build()
        .unwrap();
    let done = async {
        while !traces.spans().iter().any(|span| span.name == "process orders") {
            tokio::task::yield_now().await;
        }
    };
    let workers = Workers::new().relay(relay).inbox(inbox).run_until(done);
    tokio::time::timeout(SOON, workers).await.expect("it is handled").unwrap();
    let process = traces.one("process orders");
    assert_eq!(process.status, Status::error(""));
    assert_eq!(attribute(&process, "omni_box.outcome"), Some("failed".into()));
    assert!(!format!("{process:?}").contains("hush"));
}

#[tokio::test]
async fn a_subscriber_without_the_layer_is_told_of_once() {
    installed();
    let warnings = Arc::new(AtomicUsize::new(0));
    let subscriber = tracing_subscriber::registry().with(Warnings(Arc::clone(&warnings)));
    let _guard = tracing::subscriber::set_default(subscriber);
    let shop = Shop::new();
    shop.enqueue(order()).await;
    assert_eq!(warnings.load(Ordering::SeqCst), 0, "without a span there is nothing to keep");
    for _ in 0..2 {
        shop.enqueue(order()).instrument(tracing::info_span!("place order")).await;
    }
    assert_eq!(warnings.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_event_with_a_context_of_its_own_is_left_alone() {
    let traces = Traces::start(Sampler::AlwaysOn);
    let shop = Shop::new();
    let foreign = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let enqueued = shop.enqueue(order().header("traceparent", foreign));
    let event = enqueued.instrument(tracing::info_span!("place order")).await;
    assert_eq!(event.content().headers.get("traceparent"), Some(foreign));
    assert_eq!(event.content().trace_id, None);
    assert_eq!(traces.spans().len(), 1, "only that of the code: {:?}", traces.spans());
}

#[tokio::test]
async fn an_event_that_is_refused_leaves_no_span() {
    let traces = Traces::start(Sampler::AlwaysOn);
    let shop = Shop::new();
    let span = tracing::info_span!("place order");
    let placing = async {
        let mut tx = shop.store.begin().await.unwrap();
        let nameless = NewOutboxEvent::new("order.placed", "", &serde_json::json!({"id": 7}));
        shop.store.enqueue(&mut tx, nameless).await.unwrap_err();
        shop.store.rollback(tx).await.unwrap();
    };
    placing.instrument(span).await;
    assert_eq!(traces.spans().len(), 1, "{:?}", traces.spans());
}

/// A program may trace by OpenTelemetry alone, without spans of `tracing`.
#[tokio::test]
async fn a_current_context_of_opentelemetry_itself_counts() {
    let traces = Traces::start(Sampler::AlwaysOn);
    let shop = Shop::new();
    let tracer = traces.provider.tracer("shop");
    let outer = tracer.start("place order");
    let span = outer.span_context().span_id();
    shop.enqueue(order()).with_context(Context::current_with_span(outer)).await;
    assert_eq!(traces.one("create orders").parent_span_id, span);
}

#[tokio::test]
async fn a_step_traces_both_kinds_of_pipelines() {
    let traces = Traces::start(Sampler::AlwaysOn);
    opentelemetry::global::set_tracer_provider(traces.provider.clone());
    let shop = Shop::new();
    shop.enqueue(order()).instrument(tracing::info_span!("place order")).await;
    let publisher = EventProcessorBuilder::outbox(shop.store.clone())
        .add_step(OpenTelemetryStep::new("warehouse"))
        .add_step(PublisherExecutionStep::new(shop.broker.publisher(EnvelopeEventConverter)))
        .build()
        .unwrap();
    let (worker, batch, stop) =
        (WorkerId::new("w").unwrap(), BatchSize::new(10).unwrap(), CancellationToken::new());
    let sent = publisher.publish_batch(&worker, batch, &FetchFilters::new(), &stop).await.unwrap();
    assert_eq!(sent.processed_event_ids.len(), 1);

    let group = ConsumerGroup::new("shipping").unwrap();
    let consumer = shop.broker.consumer(&group, ["orders"]);
    let mut runner = InboxConsumerRunner::builder(consumer, shop.store.clone()).build().unwrap();
    runner.process_one(tokio::time::Instant::now() + SOON).await.unwrap().unwrap();
    runner.stop().await.unwrap();
    let processor = EventProcessorBuilder::inbox(shop.store.clone(), group)
        .add_step(OpenTelemetryStep::new("warehouse"))
        .add_step(HandlerExecutionStep::new(on("order.placed", ship)))
        .build()
        .unwrap();
    assert_eq!(processor.process_batch(batch).await.unwrap().processed_event_ids.len(), 1);

    let created = traces.one("create orders").span_context;
    for name in ["wait orders", "send orders", "process orders"] {
        let span = traces.one(name);
        assert_eq!(span.parent_span_id, created.span_id(), "{name}");
        assert_eq!(attribute(&span, "service.name"), Some("warehouse".into()), "{name}");
    }
    assert_eq!(traces.one("send orders").instrumentation_scope.name(), "warehouse");
    let process = traces.one("process orders").span_context.span_id();
    assert_eq!(traces.one("ship").parent_span_id, process, "the handler's spans nest");
}

#[test]
fn the_first_propagation_stays() {
    installed();
    assert!(!omni_box_otel::install());
    assert!(!omni_box_otel::install_with_baggage(["other"]));
}
