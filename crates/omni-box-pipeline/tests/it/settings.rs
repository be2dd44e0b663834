//! Settings that no worker can work with.

#![allow(clippy::unwrap_used, reason = "helpers outside of test functions may fail a test too")]

use std::fmt::Debug;
use std::time::Duration;

use omni_box_core::{
    AssignedPartition, ConsumerGroup, ErrorKind, EventConsumer, HandlerError, HandlerOutcome, InboxContext,
    InboxHandler, Jitter, RawEventConverter, Result, RetryPolicy,
};
use omni_box_pipeline::{
    AckStrategy, CommitOffsetPolicy, InboxConfig, InboxConsumerRunner, InboxConsumerRunnerBuilder,
    InboxWorker, InboxWorkerBuilder, OnFailed, OutboxPublisher, OutboxPublisherBuilder, OutboxRelay,
    OutboxRelayBuilder, RelayConfig,
};
use omni_box_testkit::{MemoryBroker, MemoryConsumer, MemoryStore};

fn relay() -> OutboxRelayBuilder<MemoryStore> {
    OutboxRelay::builder(MemoryStore::new(), MemoryBroker::new().publisher(RawEventConverter))
}

fn publisher() -> OutboxPublisherBuilder<MemoryStore> {
    OutboxPublisher::builder(MemoryStore::new(), MemoryBroker::new().publisher(RawEventConverter))
}

fn runner() -> InboxConsumerRunnerBuilder<MemoryStore> {
    let group = ConsumerGroup::new("group").unwrap();
    let consumer = MemoryBroker::new().consumer(&group, ["orders"]);
    InboxConsumerRunner::builder(consumer, MemoryStore::new()).consumer_group(group)
}

/// A runner whose consumer has this drain deadline too.
fn draining_in(deadline: Duration) -> InboxConsumerRunnerBuilder<MemoryStore> {
    let group = ConsumerGroup::new("group").unwrap();
    let consumer = MemoryBroker::new().consumer(&group, ["orders"]).drain_deadline(deadline);
    InboxConsumerRunner::builder(consumer, MemoryStore::new()).drain_deadline(deadline)
}

fn refuses<T: Debug>(built: Result<T>, named: &[&str]) {
    let error = built.expect_err(named[0]);
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    assert!(named.iter().all(|name| error.to_string().contains(name)), "{error} does not name {named:?}");
}

const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn endless() -> RetryPolicy {
    RetryPolicy::new(SECOND, Duration::MAX, Jitter::Equal).unwrap()
}

#[test]
fn durations_longer_than_a_year_are_refused_by_name() {
    for long in [YEAR + Duration::from_nanos(1), Duration::MAX] {
        refuses(relay().lease_ttl(long).build(), &["lease_ttl", "longer than a year"]);
        refuses(relay().poll_interval(SECOND, long).build(), &["longest_poll", "lease_ttl"]);
        refuses(relay().drain_deadline(long).build(), &["drain_deadline", "longer than a year"]);
        refuses(publisher().lease_ttl(long).build(), &["lease_ttl", "longer than a year"]);
        refuses(publisher().publish_timeout(long).build(), &["publish_timeout", "lease_ttl 10s"]);
        refuses(runner().process_timeout(long).build(), &["process_timeout", "longer than a year"]);
        refuses(draining_in(long).build(), &["drain_deadline", "longer than a year"]);
    }
    refuses(relay().retry(endless()).build(), &["retry", "longer than a year"]);
    refuses(relay().outage_retry(endless()).build(), &["outage_retry", "longer than a year"]);
    refuses(publisher().retry(endless()).build(), &["retry", "longer than a year"]);
    refuses(runner().retry(endless()).build(), &["retry", "longer than a year"]);
    relay().lease_ttl(YEAR).drain_deadline(YEAR).build().unwrap();
    publisher().lease_ttl(YEAR).publish_timeout(YEAR).build().unwrap();
    draining_in(YEAR).build().unwrap();
}

#[test]
fn numbers_out_of_range_are_refused_by_name() {
    for bytes in [0, u64::MAX, (1 << 40) + 1] {
        refuses(relay().max_batch_bytes(bytes).build(), &["max_batch_bytes", &bytes.to_string()]);
    }
    for bytes in [1, 1 << 40] {
        relay().max_batch_bytes(bytes).build().unwrap();
    }
    for messages in [0, 1_000_001, usize::MAX] {
        refuses(runner().window(messages).build(), &["window", &messages.to_string()]);
    }
    for messages in [0, 1001, usize::MAX] {
        refuses(runner().group_size(messages).build(), &["group_size", &messages.to_string()]);
    }
    for partitions in [0, usize::MAX] {
        refuses(
            runner().concurrency_limit(partitions).build(),
            &["concurrency_limit", &partitions.to_string()],
        );
    }
    runner().window(1_000_000).build().unwrap();
}

#[test]
fn a_relay_refuses_what_means_nothing_and_names_it() {
    let long = "x".repeat(256);
    let refused: [(OutboxRelayBuilder<MemoryStore>, &[&str]); 10] = [
        (relay().worker_id(""), &["worker_id \"\"", "0 characters", "1 to 255"]),
        (relay().worker_id(&long), &["worker_id", "256 characters", "1 to 255"]),
        (relay().worker_id("a\nb"), &["worker_id \"a\\nb\"", "control character"]),
        (relay().batch_size(0), &["batch_size 0", "1 to 10000"]),
        (relay().batch_size(10_001), &["batch_size 10001", "1 to 10000"]),
        (relay().lease_ttl(SECOND / 11), &["lease_ttl 90.909", "shorter than 100ms"]),
        (relay().lease_ttl(SECOND), &["longest_poll 1s", "lease_ttl 1s"]),
        (relay().poll_interval(Duration::ZERO, SECOND), &["shortest_poll 0ns", "longest_poll 1s"]),
        (relay().poll_interval(2 * SECOND, SECOND), &["shortest_poll 2s", "longest_poll 1s"]),
        (relay().config(RelayConfig { batch_size: 0, ..RelayConfig::default() }), &["batch_size 0"]),
    ];
    for (builder, named) in refused {
        refuses(builder.build(), named);
    }
    relay().config(RelayConfig::default()).build().unwrap();
}

#[test]
fn what_ends_with_a_lease_is_not_waited_for_longer() {
    let too_long = Duration::from_millis(10_001);
    refuses(publisher().publish_timeout(too_long).build(), &["publish_timeout 10.001s", "lease_ttl 10s"]);
    refuses(publisher().publish_timeout(Duration::ZERO).build(), &["publish_timeout 0ns"]);
    publisher().publish_timeout(Duration::from_secs(10)).build().unwrap();
    // by default it follows the lease
    publisher().lease_ttl(SECOND).build().unwrap();
    publisher().lease_ttl(Duration::from_secs(60)).publish_timeout(Duration::from_secs(30)).build().unwrap();
}

/// Does nothing.
struct Idle;

#[async_trait::async_trait]
impl InboxHandler<MemoryStore> for Idle {
    async fn handle(&self, _: InboxContext<'_, MemoryStore>) -> Result<HandlerOutcome, HandlerError> {
        Ok(HandlerOutcome::Completed)
    }
}

/// A consumer that says nothing of itself.
struct Silent(MemoryConsumer);

#[async_trait::async_trait]
impl EventConsumer for Silent {
    async fn start(&mut self) -> Result<()> {
        self.0.start().await
    }

    async fn next_partition(&mut self) -> Result<Option<AssignedPartition>> {
        self.0.next_partition().await
    }

    async fn close(&mut self) -> Result<()> {
        self.0.close().await
    }
}

fn silent() -> InboxConsumerRunnerBuilder<MemoryStore> {
    let group = ConsumerGroup::new("group").unwrap();
    let consumer = Silent(MemoryBroker::new().consumer(&group, ["orders"]));
    InboxConsumerRunner::builder(consumer, MemoryStore::new())
}

#[test]
fn a_runner_refuses_what_means_nothing_and_names_it() {
    use AckStrategy::{AtLeastOnce, AtMostOnce, ExactlyOnceInbox};
    use CommitOffsetPolicy::OnPersist;

    let hold = || runner().on_failed(OnFailed::Hold);
    let held = || hold().handler(Idle);
    let long = "x".repeat(256);
    type Builder = InboxConsumerRunnerBuilder<MemoryStore>;
    let refused: [(Builder, &[&str]); 19] = [
        (runner().process_timeout(Duration::ZERO), &["process_timeout", "zero"]),
        (runner().process_timeout(44 * SECOND), &["process_timeout 44s", "1s", "drain_deadline 45s"]),
        (draining_in(31 * SECOND), &["process_timeout 30s", "1s", "drain_deadline 31s"]),
        (runner().drain_deadline(60 * SECOND), &["drain_deadline 60s", "45s"]),
        (runner().window(59), &["window 59", "group_size 60"]),
        (runner().window(1_000_001), &["window 1000001", "1 to 1000000"]),
        (runner().window(1001).group_size(1001), &["group_size 1001", "1 to 1000"]),
        (runner().concurrency_limit(0), &["concurrency_limit 0", "1 to"]),
        (runner().worker_id(""), &["worker_id \"\"", "0 characters", "1 to 255"]),
        (runner().worker_id(&long), &["worker_id", "256 characters", "1 to 255"]),
        (runner().worker_id("a\nb"), &["worker_id \"a\\nb\"", "control character"]),
        (runner().consumer_group(""), &["consumer_group \"\"", "0 characters", "1 to 255"]),
        (runner().consumer_group("billing"), &["consumer_group", "\"billing\"", "\"group\""]),
        (silent(), &["consumer_group is not set"]),
        (held().ack_strategy(AtLeastOnce), &["on_failed Hold", "ExactlyOnceInbox", "AtLeastOnce"]),
        (held().ack_strategy(AtMostOnce), &["on_failed Hold", "ExactlyOnceInbox", "AtMostOnce"]),
        (held().commit_offset_policy(OnPersist), &["on_failed Hold", "OnSuccess", "OnPersist"]),
        (hold(), &["on_failed Hold", "handler"]),
        (runner().retry(endless()), &["retry", "longer than a year"]),
    ];
    for (builder, named) in refused {
        refuses(builder.build(), named);
    }
    held().ack_strategy(ExactlyOnceInbox).build().unwrap();
}

#[test]
fn a_runner_takes_group_and_drain_deadline_of_its_consumer() {
    let group = |built: Result<InboxConsumerRunner<MemoryStore>>| format!("{:?}", built.unwrap());
    let consumer = MemoryBroker::new().consumer(&ConsumerGroup::new("billing").unwrap(), ["orders"]);
    let consumer = consumer.drain_deadline(3 * SECOND);
    let builder = InboxConsumerRunner::builder(consumer, MemoryStore::new());
    // 45 s, the default, would allow more
    let builder = builder.process_timeout(2 * SECOND);
    refuses(builder.build(), &["process_timeout 2s", "drain_deadline 3s"]);
    assert!(group(silent().consumer_group("shipping").build()).contains("shipping"));
    assert!(group(draining_in(YEAR).build()).contains("\"group\""));
    let config = InboxConfig { consumer_group: Some("audit".into()), ..InboxConfig::default() };
    assert!(group(silent().config(config).build()).contains("audit"));
}

fn worker() -> InboxWorkerBuilder<MemoryStore> {
    InboxWorker::builder(MemoryStore::new()).consumer_group("group").handler(Idle)
}

#[test]
fn a_worker_of_stored_messages_names_what_it_refuses() {
    assert!(worker().build().is_ok());
    let without = || InboxWorker::builder(MemoryStore::new());
    refuses(without().handler(Idle).build(), &["consumer_group", "not set"]);
    refuses(without().consumer_group("group").build(), &["handler"]);
    refuses(worker().consumer_group("a\0b").build(), &["consumer_group"]);
    refuses(worker().worker_id("").build(), &["worker_id"]);
    refuses(worker().batch_size(0).build(), &["batch_size"]);
    refuses(worker().group_size(1001).build(), &["group_size 1001", "1 to 1000"]);
    refuses(worker().concurrency_limit(0).build(), &["concurrency_limit 0"]);
    refuses(worker().process_timeout(Duration::ZERO).build(), &["process_timeout", "zero"]);
    refuses(worker().poll(SECOND, SECOND / 2).build(), &["shortest_poll 1s", "longest_poll 500ms"]);
    refuses(worker().retry(endless()).build(), &["retry", "longer than a year"]);
    // a claim must outlast its handler, and a stop too
    refuses(worker().process_timeout(59 * SECOND).build(), &["process_timeout 59s", "lease_ttl 60s"]);
    refuses(worker().process_timeout(45 * SECOND).build(), &["process_timeout 45s", "drain_deadline 45s"]);
    assert!(worker().process_timeout(58 * SECOND).drain_deadline(60 * SECOND).build().is_ok());
}

/// Each inequality between two settings, one step beyond it and at it.
#[test]
fn settings_that_disagree_are_refused_at_the_edge_and_both_are_named() {
    const MS: Duration = Duration::from_millis(1);
    type Row = (&'static str, &'static str, Result<()>, Result<()>);
    let poll = |longest| relay().poll_interval(MS, longest).build().map(drop);
    let shortest = |shortest| relay().poll_interval(shortest, SECOND).build().map(drop);
    let answer = |timeout| publisher().publish_timeout(timeout).build().map(drop);
    let drain = |timeout| draining_in(45 * SECOND).process_timeout(timeout).build().map(drop);
    let window = |messages| runner().window(messages).group_size(60).build().map(drop);
    let claim = |timeout| worker().process_timeout(timeout).drain_deadline(YEAR).build().map(drop);
    let stop = |timeout| worker().process_timeout(timeout).lease_ttl(YEAR).build().map(drop);
    let look = |shortest| worker().poll(shortest, SECOND).build().map(drop);
    let rows: [Row; 8] = [
        ("longest_poll 10s", "lease_ttl 10s", poll(10 * SECOND), poll(10 * SECOND - MS)),
        ("shortest_poll 1.001s", "longest_poll 1s", shortest(SECOND + MS), shortest(SECOND)),
        ("publish_timeout 10.001s", "lease_ttl 10s", answer(10 * SECOND + MS), answer(10 * SECOND)),
        ("process_timeout 44s", "drain_deadline 45s", drain(44 * SECOND), drain(44 * SECOND - MS)),
        ("window 59", "group_size 60", window(59), window(60)),
        ("process_timeout 59s", "lease_ttl 60s", claim(59 * SECOND), claim(59 * SECOND - MS)),
        ("process_timeout 44s", "drain_deadline 45s", stop(44 * SECOND), stop(44 * SECOND - MS)),
        ("shortest_poll 1.001s", "longest_poll 1s", look(SECOND + MS), look(SECOND)),
    ];
    for (one, other, beyond, at) in rows {
        refuses(beyond, &[one, other]);
        at.expect(one);
    }
}

/// On SQLite a lease is renewed by a writer, who may wait as long for the file's lock.
#[tokio::test]
async fn a_lease_outlives_the_wait_for_the_lock_of_a_file() {
    use omni_box_sqlite::{SqliteConfig, SqliteStore};

    const MS: Duration = Duration::from_millis(1);
    let directory = tempfile::tempdir().unwrap();
    let config = SqliteConfig::builder().busy_timeout(3 * SECOND).build().unwrap();
    let store = SqliteStore::open(directory.path().join("shop.db"), config).await.unwrap();
    let events = || MemoryBroker::new().publisher(RawEventConverter);
    let relay = |ttl| OutboxRelay::builder(store.clone(), events()).lease_ttl(ttl).build().map(drop);
    let batches = |ttl| OutboxPublisher::builder(store.clone(), events()).lease_ttl(ttl).build().map(drop);
    let worker = |ttl| {
        let worker = InboxWorker::builder(store.clone()).consumer_group("group").handler(IdleOnFile);
        worker.process_timeout(5 * SECOND).lease_ttl(ttl).build().map(drop)
    };
    for (built, edge) in [(relay(3 * SECOND), "lease_ttl 3s"), (batches(3 * SECOND), "lease_ttl 3s")] {
        refuses(built, &[edge, "busy_timeout 3s"]);
    }
    // three for the lock, five for a handler, one for others of its group
    refuses(worker(9 * SECOND), &["lease_ttl 9s", "busy_timeout 3s", "6s of its handlers"]);
    relay(3 * SECOND + MS).unwrap();
    batches(3 * SECOND + MS).unwrap();
    worker(9 * SECOND + MS).unwrap();
    // the defaults fit
    let store = SqliteStore::open(directory.path().join("other.db"), SqliteConfig::default()).await.unwrap();
    OutboxRelay::builder(store.clone(), events()).build().unwrap();
    InboxWorker::builder(store).consumer_group("group").handler(IdleOnFile).build().unwrap();
}

/// Does nothing, on a file.
struct IdleOnFile;

#[async_trait::async_trait]
impl InboxHandler<omni_box_sqlite::SqliteStore> for IdleOnFile {
    async fn handle(
        &self,
        _: InboxContext<'_, omni_box_sqlite::SqliteStore>,
    ) -> Result<HandlerOutcome, HandlerError> {
        Ok(HandlerOutcome::Completed)
    }
}

/// Handlers that take a second connection would wait for one another.
#[tokio::test]
async fn a_pool_that_is_not_larger_than_the_concurrency_costs_a_warning() {
    use omni_box_harness::Log;
    use omni_box_pipeline::on;
    use omni_box_postgres::{PgConfig, PgStore};
    use sqlx::postgres::PgPoolOptions;

    async fn ship(_: InboxContext<'_, PgStore>) {}

    let warnings = |connections: u32, has_handler: bool| {
        let log = Log::listen();
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .connect_lazy("postgres://nowhere/none")
            .unwrap();
        let group = ConsumerGroup::new("group").unwrap();
        let consumer = MemoryBroker::new().consumer(&group, ["orders"]);
        let builder = InboxConsumerRunner::builder(consumer, PgStore::new(pool, PgConfig::default()))
            .concurrency_limit(8);
        let builder = if has_handler { builder.handler(on("order.placed", ship)) } else { builder };
        builder.build().unwrap();
        log.events().iter().filter(|event| event.contains_key("concurrency_limit")).count()
    };
    assert_eq!([7, 8, 9].map(|connections| warnings(connections, true)), [1, 1, 0]);
    assert_eq!(warnings(8, false), 0, "what stores messages takes no second connection");
}
