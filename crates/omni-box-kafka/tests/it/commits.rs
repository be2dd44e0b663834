//! Commits of many partitions: one request for all of them, and bounded where Kafka does not answer.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use omni_box_core::{AssignedPartition, ErrorKind, EventConsumer};
use omni_box_kafka::{KafkaConsumerConfig, KafkaEventConsumer};
use rdkafka::mocking::MockCluster;
use rdkafka::types::RDKafkaApiKey;
use tokio::time::{Instant, timeout};

use crate::cluster::{SOON, committed};
use crate::consume::{config, fill, next, offsets, start};
use crate::denier::Denier;

const TOPICS: [&str; 5] = ["commits-a", "commits-b", "commits-c", "commits-d", "commits-e"];

/// A member with five partitions, of which three messages were read each.
async fn five() -> (Denier, KafkaEventConsumer, Vec<AssignedPartition>) {
    let cluster = MockCluster::new(1).unwrap();
    for topic in TOPICS {
        cluster.create_topic(topic, 1, 1).unwrap();
        fill(&cluster.bootstrap_servers(), topic, 3).await;
    }
    let denier = Denier::start(cluster);
    let config = KafkaConsumerConfig::new(denier.address(), "g", TOPICS)
        .property("session.timeout.ms", "120000")
        .property("heartbeat.interval.ms", "200")
        .property("fetch.wait.max.ms", "50");
    let mut consumer = start(config).await;
    let mut partitions = Vec::new();
    for _ in TOPICS {
        let mut partition = next(&mut consumer).await;
        assert_eq!(offsets(&mut partition, 3).await, [0, 1, 2]);
        partitions.push(partition);
    }
    (denier, consumer, partitions)
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_share_a_request_and_a_hand_over_needs_one() {
    let (denier, mut consumer, partitions) = five().await;
    denier.cluster.broker_round_trip_time(1, Duration::from_millis(300)).unwrap();
    let commits = partitions.iter().flat_map(|partition| [(partition, 0), (partition, 1)]);
    let commits = commits.map(|(partition, offset)| async move { partition.ack.commit(&[offset]).await });
    let commits = timeout(SOON, join_all(commits)).await.unwrap();
    assert!(commits.iter().all(Result::is_ok), "{commits:?}");
    let sent = denier.requests(RDKafkaApiKey::OffsetCommit);
    assert!(sent <= 3, "{sent} requests for ten commits at once");
    for topic in TOPICS {
        assert_eq!(committed(&denier.address(), "g", topic, 0).await, Some(2));
    }

    for partition in &partitions {
        assert!(partition.ack.commit(&[2]).now_or_never().is_none());
    }
    drop(partitions);
    timeout(SOON, consumer.close()).await.unwrap().unwrap();
    let last = denier.requests(RDKafkaApiKey::OffsetCommit) - sent;
    assert!(last <= 3, "{last} requests at the end");
    for topic in TOPICS {
        assert_eq!(committed(&denier.address(), "g", topic, 0).await, Some(3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_without_a_broker_is_bounded_and_says_what_was_not_committed() {
    let (denier, mut consumer, partitions) = five().await;
    denier.cluster.broker_down(1).unwrap();
    for partition in &partitions {
        assert!(partition.ack.commit(&[0, 1]).now_or_never().is_none());
    }
    drop(partitions);
    let started = Instant::now();
    let error = timeout(SOON, consumer.close()).await.expect("closes in time").unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    for topic in TOPICS {
        assert!(error.to_string().contains(topic), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_a_broker_is_given_up_and_its_marks_stay() {
    let (denier, _consumer, partitions) = five().await;
    denier.cluster.broker_down(1).unwrap();
    let error = timeout(SOON, partitions[0].ack.commit(&[0])).await.expect("answers in time").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    denier.cluster.broker_up(1).unwrap();
    let deadline = Instant::now() + SOON;
    while let Err(error) = partitions[0].ack.commit(&[]).await {
        assert!(Instant::now() < deadline, "{error:?}");
    }
    let topic = &partitions[0].partition.topic;
    assert_eq!(committed(&denier.address(), "g", topic, 0).await, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_change_hands_while_many_commit_all_the_time() {
    const PARTITIONS: i32 = 64;
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", PARTITIONS, 1).unwrap();
    let servers = cluster.bootstrap_servers();
    fill(&servers, "t", 20_000).await;
    cluster.broker_round_trip_time(1, Duration::from_millis(20)).unwrap();
    let mut first = start(config(&servers, "g", "t").property("session.timeout.ms", "4000")).await;
    for _ in 0..PARTITIONS {
        let mut partition = next(&mut first).await;
        tokio::spawn(async move {
            while let Some(message) = partition.messages.recv().await {
                if partition.ack.commit(&[message.offset]).await.is_err() {
                    return;
                }
            }
        });
    }
    let mut second = start(config(&servers, "g", "t").property("session.timeout.ms", "4000")).await;
    for _ in 0..PARTITIONS / 2 {
        next(&mut second).await;
    }
}
