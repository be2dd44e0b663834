//! Single topics that are denied while others are read.

use std::collections::BTreeMap;
use std::time::Duration;

use omni_box_core::{AssignedPartition, ErrorKind, EventConsumer};
use omni_box_kafka::{KafkaConsumerConfig, KafkaEventConsumer};
use rdkafka::mocking::MockCluster;
use rdkafka::types::RDKafkaApiKey::{Fetch, Heartbeat, JoinGroup, OffsetFetch};
use rdkafka::types::RDKafkaRespErr::{
    RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as BARRED,
    RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID as UNKNOWN_MEMBER,
    RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT as UNSTABLE,
};
use tokio::time::{Instant, timeout};

use crate::cluster::{SOON, committed};
use crate::consume::{fill, next, offsets, recv, set_offset, start};
use crate::denier::Denier;

async fn cluster(topics: &[&str]) -> Denier {
    let cluster = MockCluster::new(1).unwrap();
    for topic in topics {
        cluster.create_topic(topic, 1, 1).unwrap();
        fill(&cluster.bootstrap_servers(), topic, 3).await;
    }
    Denier::start(cluster)
}

fn config(denier: &Denier, topics: &[&str]) -> KafkaConsumerConfig {
    KafkaConsumerConfig::new(denier.address(), "g", topics.iter().copied())
        // a second less than this is what a rebalance of the mock takes
        .property("session.timeout.ms", "4000")
        .property("heartbeat.interval.ms", "200")
        .property("fetch.wait.max.ms", "50")
}

/// The next partitions, by their topics.
async fn assigned(consumer: &mut KafkaEventConsumer, count: usize) -> BTreeMap<String, AssignedPartition> {
    let mut assigned = BTreeMap::new();
    for _ in 0..count {
        let partition = next(consumer).await;
        assigned.insert(partition.partition.topic.clone(), partition);
    }
    assigned
}

async fn goes_on(consumer: &mut KafkaEventConsumer, time: Duration) {
    let ended = timeout(time, consumer.next_partition()).await;
    assert!(ended.is_err(), "the consumer goes on: {ended:?}");
}

async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::task::yield_now().await;
    }
}

/// Each has its own answer, and each is waited for alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_whose_offset_is_not_told_holds_up_no_other_and_is_read_once_it_is() {
    for (strategy, error) in
        [("cooperative-sticky", BARRED), ("range", BARRED), ("cooperative-sticky", UNSTABLE)]
    {
        let topics = ["orders-begun", "orders-new", "orders-open"];
        let denier = cluster(&topics).await;
        set_offset(&denier.address(), "g", "orders-begun", 2).await;
        for topic in ["orders-begun", "orders-new"] {
            denier.deny(OffsetFetch, topic, error);
        }
        let config = config(&denier, &topics).property("partition.assignment.strategy", strategy);
        let mut consumer = start(config).await;
        let mut open = next(&mut consumer).await;
        assert_eq!(open.partition.topic, "orders-open");
        assert_eq!(offsets(&mut open, 3).await, [0, 1, 2], "from the beginning");
        goes_on(&mut consumer, Duration::from_secs(1)).await;

        for topic in ["orders-begun", "orders-new"] {
            assert!(denier.allow(OffsetFetch, topic) > 0);
        }
        let mut others = assigned(&mut consumer, 2).await;
        assert_eq!(offsets(others.get_mut("orders-begun").unwrap(), 1).await, [2]);
        assert_eq!(offsets(others.get_mut("orders-new").unwrap(), 3).await, [0, 1, 2]);
        others["orders-new"].ack.commit(&[0]).await.unwrap();
        assert_eq!(committed(&denier.address(), "g", "orders-new", 0).await, Some(1));
        drop((open, others));
        consumer.close().await.unwrap();
    }
}

/// A partition that goes before its offset was told, and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_waited_for_in_vain_is_read_when_it_is_assigned_again() {
    let denier = cluster(&["orders-new"]).await;
    denier.deny(OffsetFetch, "orders-new", UNSTABLE);
    let mut consumer = start(config(&denier, &["orders-new"])).await;
    eventually("asked for the offset", || denier.denied(OffsetFetch, "orders-new") > 0).await;
    goes_on(&mut consumer, Duration::from_secs(1)).await;
    // what a member does after a pause beyond its session: it gives everything back, and joins
    let joined = denier.requests(JoinGroup);
    denier.cluster.request_errors(Heartbeat, &[UNKNOWN_MEMBER]);
    eventually("joins again", || denier.requests(JoinGroup) > joined).await;
    denier.allow(OffsetFetch, "orders-new");
    let mut partition = next(&mut consumer).await;
    assert_eq!(offsets(&mut partition, 3).await, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_denied_for_a_moment_and_is_idle_counts_as_readable() {
    let topics = ["orders-idle", "orders-busy"];
    let denier = cluster(&topics).await;
    let mut consumer = start(config(&denier, &topics)).await;
    let mut partitions = assigned(&mut consumer, 2).await;
    for partition in partitions.values_mut() {
        assert_eq!(offsets(partition, 3).await, [0, 1, 2]);
    }
    denier.deny(Fetch, "orders-idle", BARRED);
    // told to the client once; the second answer comes some seconds later
    eventually("denied", || denier.denied(Fetch, "orders-idle") > 1).await;
    denier.allow(Fetch, "orders-idle");

    denier.deny(Fetch, "orders-busy", BARRED);
    eventually("denied", || denier.denied(Fetch, "orders-busy") > 1).await;
    goes_on(&mut consumer, Duration::from_secs(1)).await;
    fill(&denier.address(), "orders-idle", 1).await;
    assert_eq!(recv(partitions.get_mut("orders-idle").unwrap()).await.offset, 3);

    // and it is denied in earnest
    denier.deny(Fetch, "orders-idle", BARRED);
    let refused = timeout(SOON, consumer.next_partition()).await.expect("told in time").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthorized, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_by_pattern_is_denied_when_all_that_is_assigned_is() {
    let topics = ["orders-one", "orders-two"];
    let denier = cluster(&topics).await;
    let mut consumer = start(config(&denier, &["^orders-.*"])).await;
    let mut partitions = assigned(&mut consumer, 2).await;
    for partition in partitions.values_mut() {
        assert_eq!(offsets(partition, 3).await, [0, 1, 2]);
    }
    denier.deny(Fetch, "orders-one", BARRED);
    eventually("denied", || denier.denied(Fetch, "orders-one") > 1).await;
    goes_on(&mut consumer, Duration::from_secs(1)).await;
    fill(&denier.address(), "orders-two", 1).await;
    assert_eq!(recv(partitions.get_mut("orders-two").unwrap()).await.offset, 3);

    denier.deny(Fetch, "orders-two", BARRED);
    let refused = timeout(SOON, consumer.next_partition()).await.expect("told in time").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthorized, "{refused:?}");
}
