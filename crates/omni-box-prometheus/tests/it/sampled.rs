//! What is sampled from the database.

use std::time::Duration;

use omni_box_core::{
    Attempt, BatchSize, ConsumerGroup, DistributedLocking, ErrorKind, Event, EventContent, EventRepository,
    Failure, InboxRepository, NewInboxEvent, NewOutboxEvent, OmniBoxDomainService, OutboxEvent, OutboxExt,
    Payload, Result, Retry, Store,
};
use omni_box_prometheus::{PrometheusMetrics, Sampler};
use omni_box_testkit::{FaultPlan, Faulty, MemoryConn, MemoryStore, MemoryTx, Operation};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::page::{Page, registered};

const HOUR: Duration = Duration::from_secs(3600);
/// Longer than from one sample to the next.
const NEXT: Duration = Duration::from_secs(17);

/// A store with an event that is due, one that is due tomorrow, one that failed, one parked, and a message that is stored.
pub(crate) async fn filled() -> MemoryStore {
    let store = MemoryStore::builder().rows().build();
    let mut tx = store.begin().await.unwrap();
    for key in ["failed", "parked"] {
        let event = NewOutboxEvent::from_json("order.placed", "orders", r#"{"order": 7}"#).partition_key(key);
        store.enqueue(&mut tx, event).await.unwrap();
    }
    let content = EventContent::new("order.placed", Payload::null());
    let message = NewInboxEvent::new("m", ConsumerGroup::new("shipping").unwrap(), "shop", content);
    let message = OmniBoxDomainService::default().create_inbox_event(message).unwrap();
    InboxRepository::receive(&store, &mut tx, &[message]).await.unwrap();
    store.commit(tx).await.unwrap();

    let token = omni_box_core::ClaimToken::new(
        &omni_box_core::WorkerId::new("worker").unwrap(),
        omni_box_core::OwnerId::generate(),
    );
    let size = BatchSize::new(10).unwrap();
    let locking: &dyn DistributedLocking<OutboxEvent> =
        EventRepository::<OutboxEvent>::locking(&store).unwrap();
    for event in locking.claim(&token, size, HOUR, &Default::default()).await.unwrap() {
        let retry = if event.partition_key() == Some("failed") { Retry::Never } else { Retry::OnRequest };
        let failure = Failure::new("no", Attempt::Counted, retry);
        let marked = EventRepository::<OutboxEvent>::mark_failed(&store, event.id(), &token, &failure).await;
        assert!(marked.unwrap());
    }
    store.clock().advance(HOUR);
    let mut tx = store.begin().await.unwrap();
    store
        .enqueue(&mut tx, NewOutboxEvent::from_json("order.placed", "orders", r#"{"order": 7}"#))
        .await
        .unwrap();
    let tomorrow = chrono_now(&store) + 24 * HOUR;
    let scheduled =
        NewOutboxEvent::from_json("order.placed", "orders", r#"{"order": 7}"#).scheduled_at(tomorrow);
    store.enqueue(&mut tx, scheduled).await.unwrap();
    store.commit(tx).await.unwrap();
    store
}

fn chrono_now(store: &MemoryStore) -> chrono::DateTime<chrono::Utc> {
    omni_box_core::Clock::now(store.clock())
}

/// A sampler at work.
struct Running(CancellationToken, tokio::task::JoinHandle<Result<()>>);

impl Running {
    fn start<S: Store>(sampler: Sampler<S>) -> Self {
        let stop = CancellationToken::new();
        Self(stop.clone(), tokio::spawn(sampler.run(stop)))
    }

    async fn stop(self) {
        self.0.cancel();
        self.1.await.unwrap().unwrap();
    }
}

const DUE_AGE: &str = "outbox_oldest_due_age_seconds";
const FAILURES: &str = "outbox_sample_failures_total";
const TIMESTAMP: &str = "outbox_sample_timestamp_seconds";

#[tokio::test(start_paused = true)]
async fn numbers_are_those_of_the_sample() {
    let (registry, metrics) = registered();
    let running = Running::start(metrics.sampler(filled().await).unwrap());
    sleep(Duration::from_millis(1)).await;
    let page = Page::scrape(&registry);
    for (series, expected) in [
        ("outbox_backlog_events", 1.0),
        (r#"outbox_held_keys{kind="retry"}"#, 0.0),
        (r#"outbox_held_keys{kind="parked"}"#, 1.0),
        ("outbox_failed_events", 1.0),
        (r#"inbox_failed_events{consumer_group="shipping"}"#, 0.0),
        (r#"inbox_quarantined_messages{consumer_group="shipping"}"#, 0.0),
        (r#"inbox_pending_events{consumer_group="shipping"}"#, 1.0),
        (FAILURES, 0.0),
    ] {
        assert_eq!(page.get(series), Some(expected), "{series}");
    }
    for (series, expected) in [
        (DUE_AGE, 0.0),
        ("outbox_oldest_held_age_seconds", 3600.0),
        (r#"inbox_oldest_pending_age_seconds{consumer_group="shipping"}"#, 3600.0),
    ] {
        let age = page.get(series).unwrap();
        assert!((expected..expected + 1.0).contains(&age), "{series}: {age}");
    }
    assert_eq!(page.get("outbox_unowned_lanes"), None, "in mode rows nothing is leased");
    assert!(page.get(TIMESTAMP).unwrap() > 0.0);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_processes_show_the_same() {
    let store = filled().await;
    let mut shown = Vec::new();
    for _ in 0..2 {
        let (registry, metrics) = registered();
        let running = Running::start(metrics.sampler(store.clone()).unwrap());
        sleep(Duration::from_millis(1)).await;
        let shared =
            Page::scrape(&registry).0.into_iter().filter(|(_, family)| family.help.contains("max by"));
        // ages are by the clock of the store, which goes on between two samples
        let counts = shared.filter(|(name, _)| !name.ends_with("_seconds"));
        shown.push(counts.map(|(name, family)| (name, family.series)).collect::<Vec<_>>());
        running.stop().await;
    }
    assert!(shown[0].len() >= 6, "{shown:?}");
    assert_eq!(shown[0], shown[1]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_removes_the_series_until_the_next_sample() {
    let (registry, metrics) = registered();
    let plan = FaultPlan::new();
    let running = Running::start(metrics.sampler(Faulty::new(filled().await, &plan)).unwrap());
    let look = || {
        let page = Page::scrape(&registry);
        (page.get(DUE_AGE).is_some(), page.get(TIMESTAMP).is_some(), page.get(FAILURES))
    };
    sleep(Duration::from_millis(1)).await;
    assert_eq!(look(), (true, true, Some(0.0)));
    plan.on(Operation::Sample).fail_before(ErrorKind::Unavailable);
    sleep(NEXT).await;
    assert_eq!(look(), (false, true, Some(1.0)), "what was true before may be true no longer");
    assert!(Page::scrape(&registry).get(r#"inbox_pending_events{consumer_group="shipping"}"#).is_none());
    sleep(NEXT).await;
    assert_eq!(look(), (true, true, Some(1.0)), "they come back");
    plan.on(Operation::Sample).freeze_before();
    sleep(NEXT + Duration::from_secs(10)).await;
    assert_eq!(look(), (false, true, Some(2.0)), "no answer is a failure");
    plan.release();
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_sampler_that_ends_shows_nothing() {
    for is_dropped in [false, true] {
        let (registry, metrics) = registered();
        let running = Running::start(metrics.sampler(filled().await).unwrap());
        sleep(Duration::from_millis(1)).await;
        assert!(Page::scrape(&registry).get(DUE_AGE).is_some());
        if is_dropped {
            running.1.abort();
            assert!(running.1.await.unwrap_err().is_cancelled());
        } else {
            running.stop().await;
        }
        let page = Page::scrape(&registry);
        assert_eq!(page.get(DUE_AGE), None, "no sampler looks any more");
        assert!(page.get(TIMESTAMP).is_some(), "since when is still told");
    }
}

/// How many samples are taken in an hour.
async fn samples(metrics: &PrometheusMetrics, interval: impl Into<Option<Duration>>) -> u64 {
    let plan = FaultPlan::new();
    let store = Faulty::new(MemoryStore::new(), &plan);
    let running = Running::start(metrics.sampler(store).unwrap().interval(interval));
    sleep(HOUR).await;
    running.stop().await;
    plan.calls(Operation::Sample)
}

#[tokio::test(start_paused = true)]
async fn the_interval_is_kept_up_to_a_tenth_or_off() {
    let (_, metrics) = registered();
    let often = samples(&metrics, Duration::from_secs(15)).await;
    assert!((218..=268).contains(&often), "{often} in an hour");
    let rarely = samples(&metrics, Duration::from_secs(600)).await;
    assert!((6..=7).contains(&rarely), "{rarely} in an hour");
    assert_eq!(samples(&metrics, None).await, 0);
}

#[tokio::test]
async fn an_interval_out_of_range_is_refused() {
    let (_, metrics) = registered();
    for interval in [Duration::ZERO, 2 * HOUR] {
        let sampler = metrics.sampler(MemoryStore::new()).unwrap().interval(interval);
        let refused = sampler.run(CancellationToken::new()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Misconfigured);
        assert!(refused.to_string().contains(&format!("{interval:?}")), "{refused}");
    }
}

/// A store without capabilities.
#[derive(Clone)]
struct Bare(MemoryStore);

impl Store for Bare {
    type Conn = MemoryConn;
    type Tx = MemoryTx;

    async fn begin(&self) -> Result<MemoryTx> {
        self.0.begin().await
    }

    async fn commit(&self, tx: MemoryTx) -> Result<()> {
        self.0.commit(tx).await
    }

    async fn rollback(&self, tx: MemoryTx) -> Result<()> {
        self.0.rollback(tx).await
    }
}

#[test]
fn a_store_without_inspection_is_refused() {
    let (_, metrics) = registered();
    let refused = metrics.sampler(Bare(MemoryStore::new())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}
