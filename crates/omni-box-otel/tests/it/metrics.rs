//! Metrics as an exporter sees them.

use std::collections::BTreeMap;
use std::time::Duration;

use omni_box_core::store::DeliveryMode;
use omni_box_core::{
    ConsumerGroup, EnvelopeEventConverter, ErrorKind, HandlerError, InboxContext, InboxMetrics, OutboxExt,
    OutboxMetrics, Store, message::TopicPartition,
};
use omni_box_otel::OtelMetrics;
use omni_box_pipeline::{EventRouter, InboxConsumerRunner, OutboxRelay, Workers};
use omni_box_testkit::{FaultPlan, Faulty, MemoryBroker, MemoryStore, Operation};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{SOON, order};

/// A meter, and what it exports.
struct Meter {
    exporter: InMemoryMetricExporter,
    provider: SdkMeterProvider,
}

/// What was exported of a metric: its kind and unit, and each series with its value or the number of its measures.
#[derive(Debug, Default, PartialEq)]
struct Shown {
    kind: String,
    series: BTreeMap<String, f64>,
    bounds: Vec<f64>,
}

impl Meter {
    fn new() -> (Self, OtelMetrics) {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder()
            .with_reader(PeriodicReader::builder(exporter.clone()).build())
            .build();
        let metrics = OtelMetrics::new(&provider.meter("test"));
        (Self { exporter, provider }, metrics)
    }

    /// All metrics that have a series.
    fn collect(&self) -> BTreeMap<String, Shown> {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        let mut shown = BTreeMap::new();
        for resource in self.exporter.get_finished_metrics().unwrap() {
            for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
                let mut data = match metric.data() {
                    AggregatedMetrics::F64(data) => read(data, |value| value),
                    AggregatedMetrics::U64(data) => read(data, |value| value as f64),
                    AggregatedMetrics::I64(data) => read(data, |value| value as f64),
                };
                assert!(metric.description().ends_with('.'), "{}", metric.name());
                data.kind = format!("{} {}", data.kind, metric.unit()).trim_end().to_owned();
                if !data.series.is_empty() {
                    shown.insert(metric.name().to_owned(), data);
                }
            }
        }
        shown
    }

    /// The value of a series.
    fn value(&self, name: &str, series: &str) -> Option<f64> {
        self.collect().get(name)?.series.get(series).copied()
    }
}

fn read<T: Copy>(data: &MetricData<T>, number: impl Fn(T) -> f64) -> Shown {
    let mut shown = Shown::default();
    match data {
        MetricData::Gauge(gauge) => {
            shown.kind = "gauge".to_owned();
            shown.series.extend(gauge.data_points().map(|p| (text(p.attributes()), number(p.value()))));
        }
        MetricData::Sum(sum) => {
            shown.kind = if sum.is_monotonic() { "counter" } else { "sum" }.to_owned();
            shown.series.extend(sum.data_points().map(|p| (text(p.attributes()), number(p.value()))));
        }
        MetricData::Histogram(histogram) => {
            shown.kind = "histogram".to_owned();
            shown.series.extend(histogram.data_points().map(|p| (text(p.attributes()), p.count() as f64)));
            shown.bounds = histogram.data_points().flat_map(|p| p.bounds().collect::<Vec<_>>()).collect();
        }
        MetricData::ExponentialHistogram(_) => unreachable!("none is asked for"),
    }
    shown
}

/// Attributes by name, without the prefix that all share.
fn text<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> String {
    let mut attributes: Vec<String> =
        attributes.map(|pair| format!("{}={}", pair.key, pair.value.as_str())).collect();
    attributes.sort();
    attributes.join(" ").replace("messaging.", "").replace("omni_box.", "")
}

/// Names with kind and unit, as the tables of the crate's page have them.
fn documented() -> BTreeMap<String, String> {
    let rows = include_str!("../../src/lib.rs").lines().filter_map(|line| line.strip_prefix("//! | `"));
    rows.filter(|row| row.starts_with("messaging.") || row.starts_with("omni_box."))
        .map(|row| {
            let (name, rest) = row.split_once("` | ").unwrap();
            (name.to_owned(), rest.split(" | ").next().unwrap().to_owned())
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn names_kinds_and_units_are_those_of_the_page() {
    let (meter, metrics) = Meter::new();
    metrics.delivery_mode(DeliveryMode::Lanes);
    metrics.batch_locked(7);
    metrics.event_published("order.placed", "published");
    metrics.event_answered("orders", "order.placed", "published", SOON);
    metrics.publish_delay("orders", SOON);
    metrics.events_in_flight(2);
    metrics.owned_lanes(16);
    metrics.gate("broker", true);
    metrics.progressed();
    metrics.lease_lost();
    metrics.key_held("topic");
    metrics.message_received("shipping", "orders");
    metrics.message_duplicate();
    metrics.event_processed("order.placed", "completed");
    metrics.message_quarantined("decode");
    metrics.messages_committed(3);
    metrics.commit_failed();
    metrics.message_handled("shipping", "orders", "order.placed", true, SOON);
    metrics.delivery_delay("orders", SOON);
    metrics.group_committed(60);
    metrics.assigned_partitions(4);
    metrics.messages_in_flight(8);
    let partition = TopicPartition { topic: "orders".to_owned(), partition: 0 };
    // the exporter has a thread of its own, where time is not paused
    metrics.watermark("shipping", &partition, Some(Instant::now() - SOON));
    let age =
        meter.value("omni_box.inbox.watermark.age", "consumer.group.name=shipping destination.name=orders");
    assert!(age.unwrap() >= SOON.as_secs_f64(), "{age:?}");

    let plan = FaultPlan::new();
    let store = MemoryStore::new();
    let mut tx = store.begin().await.unwrap();
    store.enqueue(&mut tx, order()).await.unwrap();
    store.commit(tx).await.unwrap();
    let stop = CancellationToken::new();
    let sampler = metrics.sampler(Faulty::new(store, &plan)).unwrap();
    let sampling = tokio::spawn(sampler.run(stop.clone()));
    let sample = "omni_box.outbox.backlog";
    // in paused time this lasts until the sampler has looked
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(meter.value(sample, ""), Some(1.0));
    plan.on(Operation::Sample).fail_before(ErrorKind::Unavailable);
    tokio::time::sleep(Duration::from_secs(17)).await;
    assert_eq!(meter.value(sample, ""), None, "what was true before may be true no longer");
    tokio::time::sleep(Duration::from_secs(17)).await;
    let shown = meter.collect();
    let kinds: BTreeMap<String, String> =
        shown.iter().map(|(name, shown)| (name.clone(), shown.kind.clone())).collect();
    let mut documented = documented();
    // no group has stored a message
    documented.retain(|name, _| {
        !["failed", "in_quarantine", "pending", "oldest_pending.age"]
            .contains(&name.strip_prefix("omni_box.inbox.").unwrap_or_default())
    });
    assert_eq!(kinds, documented);
    for name in ["messaging.client.operation.duration", "messaging.process.duration"] {
        let advised = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
        assert_eq!(shown[name].bounds, advised, "{name}");
    }
    stop.cancel();
    sampling.await.unwrap().unwrap();
    assert_eq!(meter.value(sample, ""), None, "no sampler looks any more");
}

#[tokio::test]
async fn a_relay_and_a_runner_tell_what_happened() {
    let (meter, metrics) = Meter::new();
    let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
    broker.create_topic("orders", 1);
    broker.fail_deliveries([ErrorKind::Rejected]);
    let mut tx = store.begin().await.unwrap();
    for _ in 0..3 {
        store.enqueue(&mut tx, order()).await.unwrap();
    }
    store.commit(tx).await.unwrap();
    let relay = OutboxRelay::builder(store.clone(), broker.publisher(EnvelopeEventConverter));
    let relay = relay.metrics(metrics.clone()).build().unwrap();
    let group = ConsumerGroup::new("shipping").unwrap();
    async fn refuse_one(cx: InboxContext<'_, MemoryStore>) -> Result<(), HandlerError> {
        match cx.event.position().map(|position| position.offset) {
            Some(0) => Err(HandlerError::permanent("hush")),
            _ => Ok(()),
        }
    }
    let router = EventRouter::new().on("orders", "order.placed", refuse_one);
    let inbox = InboxConsumerRunner::builder(broker.consumer(&group, ["orders"]), store.clone());
    let inbox = inbox.handler(router).metrics(metrics).build().unwrap();
    let committed = || meter.value("omni_box.inbox.committed", "");
    let done = async {
        while committed() != Some(2.0) {
            tokio::task::yield_now().await;
        }
    };
    let workers = Workers::new().relay(relay).inbox(inbox).run_until(done);
    tokio::time::timeout(SOON, workers).await.expect("all is handled").unwrap();

    let send = "client.sent.messages";
    let of = |operation: &str, rest: &str| {
        format!("{rest} operation.name={operation} system=kafka").trim_start().to_owned()
    };
    let shown = meter.collect();
    let series = |name: &str| shown[name].series.iter().map(|(k, v)| (k.as_str(), *v)).collect::<Vec<_>>();
    assert_eq!(
        series(&format!("messaging.{send}")),
        [
            (of("send", "destination.name=orders").as_str(), 2.0),
            (of("send", "error.type=failed destination.name=orders").as_str(), 1.0)
        ]
    );
    let consumed = of("poll", "consumer.group.name=shipping destination.name=orders");
    assert_eq!(series("messaging.client.consumed.messages"), [(consumed.as_str(), 2.0)]);
    let handled: f64 = shown["messaging.process.duration"].series.values().sum();
    assert_eq!(handled, 2.0);
    assert!(
        shown["messaging.process.duration"].series.keys().any(|series| series.contains("error.type=handler"))
    );
    assert_eq!(
        series("omni_box.inbox.processed"),
        [("event_type=order.placed status=completed", 1.0), ("event_type=order.placed status=failed", 1.0)]
    );
    assert_eq!(series("omni_box.outbox.in_flight"), [("", 0.0)], "what ends takes back what it has added");
}

#[test]
fn values_of_attributes_are_bounded() {
    let (meter, metrics) = Meter::new();
    for number in 0..500 {
        metrics.event_published(&format!("type-{number}"), "published");
        metrics.publish_delay(&format!("topic-{number}"), SOON);
    }
    let shown = meter.collect();
    let published = &shown["omni_box.outbox.published"].series;
    assert_eq!(published.len(), 201);
    assert_eq!(published["event_type=other status=published"], 300.0);
    assert_eq!(shown["omni_box.outbox.publish.delay"].series.len(), 101);
}
