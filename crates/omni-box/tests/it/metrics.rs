//! A relay and a runner on one registry: each number that a scrape shows is what happened.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use omni_box::event::EventStatus;
use omni_box::handler::HandlerOutcome;
use omni_box::prelude::*;
use omni_box::prometheus::PrometheusMetrics;
use omni_box::prometheus::prometheus::{Registry, TextEncoder};
use omni_box::retry::Jitter;
use omni_box::{CancellationToken, ErrorKind, RetryPolicy};
use omni_box_harness::eventually;
use omni_box_testkit::{FaultPlan, FaultyPublisher, MemoryBroker, MemoryStore, NewMessage, Operation};

const LONG: Duration = Duration::from_secs(30);
const TOPIC: &str = "orders";

/// How often the handler was called.
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// Fails at its first call.
async fn ship(_: InboxContext<'_, MemoryStore>) -> Result<HandlerOutcome, HandlerError> {
    match CALLS.fetch_add(1, Ordering::SeqCst) {
        0 => Err(HandlerError::new("the first one fails")),
        _ => Ok(HandlerOutcome::Completed),
    }
}

/// Series and their values, but for the bounds of histograms.
fn scrape(registry: &Registry) -> BTreeMap<String, f64> {
    let page = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let series = page.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket{"));
    series
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

fn shortly() -> RetryPolicy {
    RetryPolicy::new(Duration::from_millis(5), Duration::from_millis(50), Jitter::Equal).unwrap()
}

/// A store with seven events and a broker; the plan fails one delivery for good and one for once.
async fn enqueued() -> (MemoryStore, MemoryBroker, FaultPlan) {
    let (store, broker, plan) = (MemoryStore::new(), MemoryBroker::new(), FaultPlan::new());
    broker.create_topic(TOPIC, 1);
    plan.on(Operation::Deliver).nth(2).fail_before(ErrorKind::Rejected);
    plan.on(Operation::Deliver).nth(3).fail_before(ErrorKind::Handler);
    let mut tx = store.begin().await.unwrap();
    for key in 0..7 {
        let event = NewOutboxEvent::new("order.placed", TOPIC, &serde_json::json!({ "order": key }));
        store.enqueue(&mut tx, event.partition_key(key.to_string())).await.unwrap();
    }
    store.commit(tx).await.unwrap();
    (store, broker, plan)
}

/// Says a number for each name, in a test's own words.
fn check(page: &BTreeMap<String, f64>, expected: &[(&str, usize)]) {
    for (series, expected) in expected {
        assert_eq!(page.get(*series).copied(), Some(*expected as f64), "{series}");
    }
}

#[tokio::test]
async fn numbers_are_what_happened() {
    let registry = Registry::new();
    let metrics = PrometheusMetrics::new(&registry).unwrap();
    let (store, broker, plan) = enqueued().await;
    let rows = |status| {
        let rows = store.outbox_events();
        rows.iter().filter(|row| row.lifecycle().status() == status).count()
    };

    let publisher = FaultyPublisher::new(broker.publisher(EnvelopeEventConverter), &plan);
    let relay = OutboxRelay::builder(store.clone(), publisher).retry(shortly()).metrics(metrics.clone());
    let stop = CancellationToken::new();
    let relay = tokio::spawn(relay.build().unwrap().run(stop.clone()));
    let idle = || scrape(&registry)["outbox_in_flight_events"] == 0.0;
    eventually(LONG, async || rows(EventStatus::Pending) == 0 && idle()).await;
    let (completed, failed) = (rows(EventStatus::Completed), rows(EventStatus::Failed));
    assert_eq!((completed, failed, broker.records(TOPIC).len()), (6, 1, 6), "what happened");
    let page = scrape(&registry);
    check(
        &page,
        &[
            (r#"outbox_events_published_total{event_type="order.placed",status="published"}"#, completed),
            (r#"outbox_events_published_total{event_type="order.placed",status="failed"}"#, failed),
            (r#"outbox_events_published_total{event_type="order.placed",status="retried"}"#, 1),
            (r#"outbox_handler_duration_seconds_count{event_type="order.placed"}"#, completed),
            (r#"outbox_publish_delay_seconds_count{topic="orders"}"#, completed),
            (r#"outbox_keys_held_total{reason="retry"}"#, 1),
            (r#"outbox_keys_held_total{reason="topic"}"#, 0),
            (r#"outbox_gate_closed{gate="broker"}"#, 0),
            ("outbox_owned_lanes", 16),
            ("outbox_lease_losses_total", 0),
        ],
    );
    assert!(page.keys().any(|series| series.starts_with("omni_box_build_info{mode=\"lanes\"")), "{page:?}");
    assert!(page["outbox_last_progress_timestamp_seconds"] > 0.0);
    stop.cancel();
    relay.await.unwrap().unwrap();
    assert_eq!(scrape(&registry)["outbox_owned_lanes"], 0.0, "what has ended owns nothing");

    consume(&registry, metrics, store, &broker).await;
}

/// The six events, one of them twice, and bytes that are not an event. The first handler fails once.
async fn consume(registry: &Registry, metrics: PrometheusMetrics, store: MemoryStore, broker: &MemoryBroker) {
    let repeated = broker.records(TOPIC).remove(0);
    let headers = repeated.headers.iter().map(|(name, value)| {
        let value = value.as_deref().map(|value| std::str::from_utf8(value).unwrap());
        (name.as_str(), value.unwrap_or_default())
    });
    broker.send(NewMessage::from_parts(
        TOPIC,
        0,
        repeated.key.as_deref(),
        repeated.value.as_deref(),
        headers,
    ));
    broker.send(NewMessage::from_parts(TOPIC, 0, None, Some(b"{"), [("source", "another")]));

    let group = ConsumerGroup::new("shipping").unwrap();
    let runner = InboxConsumerRunner::builder(broker.consumer(&group, [TOPIC]), store.clone())
        .handler(on("order.placed", ship))
        .retry(shortly())
        .metrics(metrics);
    let stop = CancellationToken::new();
    let running = tokio::spawn(runner.build().unwrap().run(stop.clone()));
    let idle = || scrape(registry)["inbox_in_flight_messages"] == 0.0;
    eventually(LONG, async || broker.lag(&group, TOPIC) == 0 && idle()).await;
    eventually(LONG, async || scrape(registry)["inbox_messages_committed_total"] == 8.0).await;
    let rows = store.inbox_events();
    let completed = rows.iter().filter(|row| row.lifecycle().status() == EventStatus::Completed).count();
    let (quarantined, calls) = (store.quarantined().len(), CALLS.load(Ordering::SeqCst));
    assert_eq!((rows.len(), completed, quarantined, calls), (6, 6, 1, 7), "what happened");
    let page = scrape(registry);
    check(
        &page,
        &[
            ("inbox_messages_consumed_total", broker.records(TOPIC).len()),
            ("inbox_messages_processed_total", completed),
            ("inbox_messages_failed_total", 0),
            ("inbox_messages_duplicate_total", 1),
            ("inbox_messages_committed_total", broker.records(TOPIC).len()),
            ("inbox_commit_failures_total", 0),
            (r#"inbox_events_processed_total{event_type="order.placed",status="completed"}"#, completed),
            (r#"inbox_events_processed_total{event_type="order.placed",status="retried"}"#, 1),
            (r#"inbox_handler_duration_seconds_count{event_type="order.placed"}"#, calls),
            (r#"inbox_delivery_delay_seconds_count{topic="orders"}"#, completed),
            (r#"inbox_quarantined_total{reason="decode"}"#, quarantined),
            // the retry, the repeat, and what is in quarantine have a place in a transaction as well
            ("inbox_group_size_sum", completed + 1 + 1 + quarantined),
            ("inbox_assigned_partitions", 1),
            (r#"inbox_watermark_age_seconds{consumer_group="shipping",topic="orders"}"#, 0),
        ],
    );
    stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(scrape(registry)["inbox_assigned_partitions"], 0.0);
}
