//! Settings that no worker can work with.

#![allow(clippy::unwrap_used, reason = "helpers outside of test functions may fail a test too")]

use std::fmt::Debug;
use std::time::Duration;

use omni_box_core::{ConsumerGroup, ErrorKind, Jitter, RawEventConverter, Result, RetryPolicy};
use omni_box_pipeline::{
    InboxConsumerRunner, InboxConsumerRunnerBuilder, OutboxPublisher, OutboxPublisherBuilder, OutboxRelay,
    OutboxRelayBuilder,
};
use omni_box_testkit::{MemoryBroker, MemoryStore};

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
        refuses(relay().poll_interval(SECOND, long).build(), &["poll interval", "lease_ttl"]);
        refuses(relay().drain_deadline(long).build(), &["drain_deadline", "longer than a year"]);
        refuses(publisher().lease_ttl(long).build(), &["lease_ttl", "longer than a year"]);
        refuses(publisher().publish_timeout(long).build(), &["publish_timeout", "lease_ttl 10s"]);
        refuses(runner().process_timeout(long).build(), &["process_timeout", "longer than a year"]);
        refuses(runner().drain_deadline(long).build(), &["drain_deadline", "longer than a year"]);
    }
    refuses(relay().retry(endless()).build(), &["retry", "longer than a year"]);
    refuses(relay().outage_retry(endless()).build(), &["outage_retry", "longer than a year"]);
    refuses(publisher().retry(endless()).build(), &["retry", "longer than a year"]);
    refuses(runner().retry(endless()).build(), &["retry", "longer than a year"]);
    relay().lease_ttl(YEAR).drain_deadline(YEAR).build().unwrap();
    publisher().lease_ttl(YEAR).publish_timeout(YEAR).build().unwrap();
    runner().drain_deadline(YEAR).build().unwrap();
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
    for messages in [0, 61, usize::MAX] {
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
fn what_ends_with_a_lease_is_not_waited_for_longer() {
    let too_long = Duration::from_millis(10_001);
    refuses(publisher().publish_timeout(too_long).build(), &["publish_timeout 10.001s", "lease_ttl 10s"]);
    refuses(publisher().publish_timeout(Duration::ZERO).build(), &["publish_timeout 0ns"]);
    publisher().publish_timeout(Duration::from_secs(10)).build().unwrap();
    // by default it follows the lease
    publisher().lease_ttl(SECOND).build().unwrap();
    publisher().lease_ttl(Duration::from_secs(60)).publish_timeout(Duration::from_secs(30)).build().unwrap();
}
