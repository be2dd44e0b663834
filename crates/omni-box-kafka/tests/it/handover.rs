//! Two members: partitions change hands, and no message is skipped.

use std::time::Duration;

use omni_box_core::{AssignedPartition, Error, ErrorKind, EventConsumer};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::time::{Instant, timeout};

use crate::cluster::{SOON, brokers, committed, topic, unique};
use crate::consume::{config, fill, next, offsets, start};

/// Waits until one of the partitions is being taken away and returns its place.
async fn revoked(partitions: &[AssignedPartition]) -> usize {
    let find = async {
        loop {
            if let Some(at) = partitions.iter().position(|partition| partition.ack.is_revoked()) {
                return at;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, find).await.expect("a partition is revoked in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_partition_finishes_and_its_next_owner_goes_on_behind_it() {
    let Some(brokers) = brokers() else { return };
    for strategy in ["cooperative-sticky", "range"] {
        let (topic, group) = (topic(&brokers, "handover", 2, &[]).await, unique("group"));
        fill(&brokers, &topic, 60).await;
        let config = config(&brokers, &group, &topic).property("partition.assignment.strategy", strategy);
        let mut first = start(config.clone()).await;
        let mut partitions = vec![next(&mut first).await, next(&mut first).await];
        let mut taken = Vec::new();
        for partition in &mut partitions {
            taken.push(offsets(partition, 10).await);
        }

        let mut second = start(config).await;
        let at = revoked(&partitions).await;
        let mut going = partitions.swap_remove(at);
        let its = taken.swap_remove(at);
        // acknowledged while it is being taken away, after the stream has ended
        while timeout(SOON, going.messages.recv()).await.expect("the stream ends").is_some() {}
        assert!(
            timeout(Duration::from_secs(1), second.next_partition()).await.is_err(),
            "handed over too early"
        );
        going.ack.commit(&its[..7]).await.unwrap();
        assert_eq!(committed(&brokers, &group, &topic, going.partition.partition).await, Some(7));
        let id = going.partition.clone();
        let handle = going.ack;
        drop(handle);
        if strategy == "range" {
            // the eager protocol takes everything
            partitions.clear();
        }
        let mut theirs = next(&mut second).await;
        if strategy == "cooperative-sticky" {
            assert_eq!(theirs.partition, id);
            assert_eq!(offsets(&mut theirs, 1).await, [7]);
            let stays = &mut partitions[0];
            assert!(!stays.ack.is_revoked());
            stays.ack.commit(&taken[0]).await.unwrap();
        } else {
            let expected = if theirs.partition == id { 7 } else { 0 };
            assert_eq!(offsets(&mut theirs, 1).await, [expected]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_moves_on_when_the_drain_deadline_has_passed() {
    let Some(brokers) = brokers() else { return };
    let (topic, group) = (topic(&brokers, "deadline", 2, &[]).await, unique("group"));
    fill(&brokers, &topic, 40).await;
    let config = config(&brokers, &group, &topic).drain_deadline(Duration::from_secs(1));
    let mut first = start(config.clone()).await;
    let mut partitions = vec![next(&mut first).await, next(&mut first).await];
    for partition in &mut partitions {
        offsets(partition, 5).await;
    }
    let mut second = start(config).await;
    let at = revoked(&partitions).await;
    let slow = &partitions[at];
    let theirs = next(&mut second).await;
    assert_eq!(theirs.partition, slow.partition);
    timeout(SOON, slow.ack.lost()).await.expect("work in progress is told to stop");
    assert_eq!(slow.ack.commit(&[0, 1]).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(slow.ack.rewind().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(committed(&brokers, &group, &topic, slow.partition.partition).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_taken_out_loses_its_partitions_at_once() {
    let Some(brokers) = brokers() else { return };
    let (topic, group) = (topic(&brokers, "taken_out", 1, &[]).await, unique("group"));
    fill(&brokers, &topic, 10).await;
    // no session ends within this test
    let config = config(&brokers, &group, &topic).property("session.timeout.ms", "45000");
    let mut first = start(config.clone()).await;
    let mut partition = next(&mut first).await;
    let taken = offsets(&mut partition, 5).await;
    let leave = first.leaver().expect("it has started");
    let why = Error::new(ErrorKind::Internal, "as the test wants it");
    std::thread::spawn(move || leave(why)).join().unwrap();
    let error = timeout(SOON, first.next_partition()).await.expect("it is told").unwrap_err();
    assert_eq!(error.to_string(), "as the test wants it");
    timeout(SOON, partition.ack.lost()).await.expect("work in progress is told to stop");
    assert_eq!(partition.ack.commit(&taken).await.unwrap_err().kind(), ErrorKind::Closed);
    let mut second = start(config).await;
    let mut theirs =
        timeout(Duration::from_secs(20), second.next_partition()).await.expect("soon").unwrap().unwrap();
    assert_eq!(offsets(&mut theirs, 1).await, [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_nobody_took_is_not_waited_for() {
    let Some(brokers) = brokers() else { return };
    let (topic, group) = (topic(&brokers, "untaken", 2, &[]).await, unique("group"));
    fill(&brokers, &topic, 10).await;
    let first = start(config(&brokers, &group, &topic)).await;
    let deadline = Instant::now() + SOON;
    while !is_stable(&brokers, &group).await {
        assert!(Instant::now() < deadline, "group never formed");
    }
    let started = Instant::now();
    let mut second = start(config(&brokers, &group, &topic)).await;
    next(&mut second).await;
    assert!(started.elapsed() < Duration::from_secs(15), "waited for the drain deadline");
    drop(first);
}

/// Whether the group's members have their partitions.
async fn is_stable(brokers: &str, group: &str) -> bool {
    let (brokers, group) = (brokers.to_owned(), group.to_owned());
    let ask = move || {
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        let groups = client.fetch_group_list(Some(&group), SOON);
        groups.is_ok_and(|groups| groups.groups().iter().any(|group| group.state() == "Stable"))
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_closes_hands_over_at_once_and_one_that_is_dropped_too() {
    let Some(brokers) = brokers() else { return };
    let (topic, group) = (topic(&brokers, "leave", 1, &[]).await, unique("group"));
    fill(&brokers, &topic, 10).await;
    for expected in [0, 2, 4] {
        let mut member =
            start(config(&brokers, &group, &topic).drain_deadline(Duration::from_secs(60))).await;
        let mut partition = timeout(Duration::from_secs(5), next(&mut member)).await.expect("left at once");
        assert_eq!(offsets(&mut partition, 2).await, [expected, expected + 1]);
        partition.ack.commit(&[expected, expected + 1]).await.unwrap();
        if expected == 0 {
            drop(partition);
            member.close().await.unwrap();
        } else {
            // with the handle still out
            drop(member);
            timeout(SOON, partition.ack.lost()).await.unwrap();
        }
    }
}
