//! One member: where it starts, what it delivers, what is committed.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use omni_box_core::{AssignedPartition, ErrorKind, EventConsumer, InboundMessage, RawEventConverter};
use omni_box_kafka::{KafkaConsumerConfig, KafkaEventConsumer, KafkaEventPublisher, KafkaPublisherConfig};
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::timeout;

use crate::cluster::{SOON, admin, brokers, committed, event, publish, read, topic, unique};
use crate::wire;

pub(crate) fn config(brokers: &str, group: &str, topic: &str) -> KafkaConsumerConfig {
    KafkaConsumerConfig::new(brokers, group, [topic])
        .property("heartbeat.interval.ms", "200")
        .property("session.timeout.ms", "6000")
        .property("fetch.wait.max.ms", "50")
}

pub(crate) async fn start(config: KafkaConsumerConfig) -> KafkaEventConsumer {
    let mut consumer = KafkaEventConsumer::from_config(config).unwrap();
    consumer.start().await.unwrap();
    consumer
}

pub(crate) async fn next(consumer: &mut KafkaEventConsumer) -> AssignedPartition {
    timeout(SOON, consumer.next_partition()).await.expect("assigned in time").unwrap().expect("open")
}

pub(crate) async fn recv(partition: &mut AssignedPartition) -> InboundMessage {
    timeout(SOON, partition.messages.recv()).await.expect("a message in time").expect("an open stream")
}

pub(crate) async fn offsets(partition: &mut AssignedPartition, count: usize) -> Vec<i64> {
    let mut offsets = Vec::new();
    for _ in 0..count {
        offsets.push(recv(partition).await.offset);
    }
    offsets
}

pub(crate) async fn fill(brokers: &str, topic: &str, count: usize) {
    let config = KafkaPublisherConfig::new(brokers);
    let publisher = KafkaEventPublisher::with_factory(move || config.producer(), RawEventConverter);
    let events = (0..count).map(|n| event(topic, Some(&format!("k{n}")), n)).collect();
    assert!(publish(&publisher, events).await.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_group_starts_at_the_beginning_and_commits_only_a_done_beginning() {
    let Some(brokers) = brokers() else { return };
    let (topic, group) = (topic(&brokers, "begin", 1, &[]).await, unique("group"));
    fill(&brokers, &topic, 10).await;
    let mut consumer = start(config(&brokers, &group, &topic)).await;
    let mut partition = next(&mut consumer).await;
    assert_eq!(offsets(&mut partition, 10).await, (0..10).collect::<Vec<_>>());

    partition.ack.commit(&[1, 2, 9]).await.unwrap();
    assert_eq!(committed(&brokers, &group, &topic, 0).await, None);
    partition.ack.commit(&[0]).await.unwrap();
    assert_eq!(committed(&brokers, &group, &topic, 0).await, Some(3));
    partition.ack.commit(&[8, 7, 6, 5, 4, 3]).await.unwrap();
    assert_eq!(committed(&brokers, &group, &topic, 0).await, Some(10));
    drop(partition);
    consumer.close().await.unwrap();
    assert!(consumer.next_partition().await.unwrap().is_none());

    fill(&brokers, &topic, 1).await;
    let mut again = start(config(&brokers, &group, &topic)).await;
    let mut partition = next(&mut again).await;
    assert_eq!(recv(&mut partition).await.offset, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_at_the_same_time_all_return_with_their_position_at_the_broker() {
    let Some(brokers) = brokers() else { return };
    let (topic, group) = (topic(&brokers, "many", 1, &[]).await, unique("group"));
    fill(&brokers, &topic, 300).await;
    let mut consumer = start(config(&brokers, &group, &topic)).await;
    let mut partition = next(&mut consumer).await;
    let all = offsets(&mut partition, 300).await;
    let ack = &partition.ack;
    let commits = join_all(all.iter().rev().map(|offset| async move { ack.commit(&[*offset]).await })).await;
    assert!(commits.iter().all(Result::is_ok));
    assert_eq!(committed(&brokers, &group, &topic, 0).await, Some(300));
}

#[tokio::test(flavor = "multi_thread")]
async fn close_commits_what_was_marked_by_a_call_that_was_given_up() {
    let Some(brokers) = brokers() else { return };
    let (topic, group) = (topic(&brokers, "close", 1, &[]).await, unique("group"));
    fill(&brokers, &topic, 5).await;
    let mut consumer = start(config(&brokers, &group, &topic)).await;
    let mut partition = next(&mut consumer).await;
    offsets(&mut partition, 5).await;
    // the first begins a commit, the second waits for it, and both are dropped
    let first = partition.ack.commit(&[0]).now_or_never();
    let second = partition.ack.commit(&[1, 2]).now_or_never();
    assert!(first.is_none() && second.is_none());
    let AssignedPartition { mut messages, ack, .. } = partition;
    let (closed, ()) = tokio::join!(consumer.close(), async {
        assert!(messages.recv().await.is_none(), "close ends the stream");
        assert!(ack.is_revoked());
        drop(ack);
    });
    closed.unwrap();
    assert_eq!(committed(&brokers, &group, &topic, 0).await, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_one_delivers_everything_in_order() {
    let Some(brokers) = brokers() else { return };
    let (topic, group) = (topic(&brokers, "window", 1, &[]).await, unique("group"));
    fill(&brokers, &topic, 500).await;
    let mut consumer = start(config(&brokers, &group, &topic).window(1)).await;
    let mut partition = next(&mut consumer).await;
    for expected in 0..500 {
        assert!(partition.messages.len() <= 1);
        assert_eq!(recv(&mut partition).await.offset, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_delivers_again_from_the_first_that_is_not_done() {
    let Some(brokers) = brokers() else { return };
    let (topic, group) = (topic(&brokers, "rewind", 1, &[]).await, unique("group"));
    fill(&brokers, &topic, 2_000).await;
    let mut consumer = start(config(&brokers, &group, &topic).window(100)).await;
    let mut partition = next(&mut consumer).await;
    assert_eq!(offsets(&mut partition, 10).await, (0..10).collect::<Vec<_>>());
    partition.ack.commit(&[0, 1, 5]).await.unwrap();
    for _ in 0..5 {
        let rewound = timeout(SOON, partition.ack.rewind()).await.unwrap().unwrap();
        let mut old = std::mem::replace(&mut partition.messages, rewound);
        while timeout(SOON, old.recv()).await.expect("the old stream ends").is_some() {}
        assert_eq!(offsets(&mut partition, 150).await, (2..152).collect::<Vec<_>>());
    }
    let rest = offsets(&mut partition, 1_848).await;
    assert_eq!(rest, (152..2_000).collect::<Vec<_>>());
    partition.ack.commit(&(2..2_000).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(committed(&brokers, &group, &topic, 0).await, Some(2_000));
    // with everything done a rewind only ends the stream
    partition.messages = partition.ack.rewind().await.unwrap();
    fill(&brokers, &topic, 1).await;
    assert_eq!(recv(&mut partition).await.offset, 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_bytes_are_delivered_as_they_are() {
    let Some(brokers) = brokers() else { return };
    let (topic, group) = (topic(&brokers, "raw", 1, &[]).await, unique("group"));
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    let headers = OwnedHeaders::new()
        .insert(Header { key: "bytes", value: Some(&b"\xff\x00"[..]) })
        .insert(Header::<&[u8]> { key: "null", value: None });
    let broken: &[u8] = b"\xfe\xff";
    let record =
        BaseRecord::to(&topic).key(broken).payload(broken).headers(headers).timestamp(1_700_000_000_123);
    producer.send(record).unwrap();
    producer.send(BaseRecord::<[u8], [u8]>::to(&topic)).unwrap();
    let flushed = tokio::task::spawn_blocking(move || producer.flush(SOON));
    flushed.await.unwrap().unwrap();

    let mut consumer = start(config(&brokers, &group, &topic)).await;
    let mut partition = next(&mut consumer).await;
    let message = recv(&mut partition).await;
    assert_eq!(message.key.as_deref(), Some(broken));
    assert_eq!(message.value.as_deref(), Some(broken));
    assert_eq!(message.headers[0], ("bytes".to_owned(), Some(bytes::Bytes::from_static(b"\xff\x00"))));
    assert_eq!(message.headers[1], ("null".to_owned(), None));
    assert_eq!(message.timestamp.unwrap().timestamp_millis(), 1_700_000_000_123);
    let tombstone = recv(&mut partition).await;
    assert!(tombstone.key.is_none() && tombstone.value.is_none() && tombstone.headers.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_whose_name_is_no_text_is_left_out_and_stops_nothing() {
    let Some(brokers) = brokers() else { return };
    let (topic, group) = (topic(&brokers, "header", 1, &[]).await, unique("group"));
    wire::produce(&brokers, &topic, b"name", b"value").await;
    wire::produce(&brokers, &topic, b"\xff", b"value").await;
    wire::produce(&brokers, &topic, b"name", b"value").await;
    let mut consumer = start(config(&brokers, &group, &topic)).await;
    let mut partition = next(&mut consumer).await;
    let named = [("name".to_owned(), Some(bytes::Bytes::from_static(b"value")))];
    assert_eq!(recv(&mut partition).await.headers, named);
    assert_eq!(recv(&mut partition).await.headers, []);
    assert_eq!(recv(&mut partition).await.headers, named);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_the_broker_refuses_end_the_consumer() {
    let Some(brokers) = brokers() else { return };
    let (topic, group) = (topic(&brokers, "refused", 1, &[]).await, unique("group"));
    // more than a broker takes unless its group.max.session.timeout.ms says otherwise
    let config = config(&brokers, &group, &topic)
        .property("session.timeout.ms", "3600000")
        .property("max.poll.interval.ms", "3600000");
    let mut consumer = start(config).await;
    let refused = timeout(SOON, consumer.next_partition()).await.expect("told in time").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Misconfigured, "{refused:?}");
}

pub(crate) fn transactions(brokers: &str, topic: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("transactional.id", unique("tx"))
        .create()
        .unwrap();
    producer.init_transactions(SOON).unwrap();
    for commit in [true, false, true, false] {
        producer.begin_transaction().unwrap();
        for n in 0..3 {
            producer.send(BaseRecord::to(topic).key("k").payload(&format!("{commit} {n}"))).unwrap();
        }
        producer.flush(SOON).unwrap();
        if commit { producer.commit_transaction(SOON) } else { producer.abort_transaction(SOON) }.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_transactions_and_markers_do_not_stall_the_watermark() {
    let Some(brokers) = brokers() else { return };
    let (topic, group) = (topic(&brokers, "aborted", 1, &[]).await, unique("group"));
    let (its_brokers, its_topic) = (brokers.clone(), topic.clone());
    tokio::task::spawn_blocking(move || transactions(&its_brokers, &its_topic)).await.unwrap();
    let mut consumer = start(config(&brokers, &group, &topic)).await;
    let mut partition = next(&mut consumer).await;
    let delivered = offsets(&mut partition, 6).await;
    assert_eq!(delivered, [0, 1, 2, 8, 9, 10]);
    partition.ack.commit(&delivered[3..]).await.unwrap();
    assert_eq!(committed(&brokers, &group, &topic, 0).await, None);
    partition.ack.commit(&delivered[..3]).await.unwrap();
    assert_eq!(committed(&brokers, &group, &topic, 0).await, Some(11));
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_of_a_compacted_topic_do_not_stall_the_watermark() {
    let Some(brokers) = brokers() else { return };
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "100"),
    ];
    let (topic, group) = (topic(&brokers, "compacted", 1, &settings).await, unique("group"));
    let config_of_publisher = KafkaPublisherConfig::new(&brokers);
    let publisher =
        KafkaEventPublisher::with_factory(move || config_of_publisher.producer(), RawEventConverter);
    let mut published = 0;
    // only closed segments are compacted, and only a write closes one
    let compacted = async {
        loop {
            let events = (0..10).map(|n| event(&topic, Some("same"), n)).collect();
            assert!(publish(&publisher, events).await.iter().all(Result::is_ok));
            published += 10;
            if read(&brokers, &topic).await.len() + 20 < published {
                return;
            }
        }
    };
    timeout(SOON, compacted).await.expect("compacted in time");

    let mut consumer = start(config(&brokers, &group, &topic)).await;
    let mut partition = next(&mut consumer).await;
    let last = published as i64 - 1;
    let mut delivered = vec![recv(&mut partition).await.offset];
    while delivered.last() != Some(&last) {
        delivered.push(recv(&mut partition).await.offset);
    }
    assert!(delivered.len() < published, "there are gaps");
    partition.ack.commit(&delivered[1..]).await.unwrap();
    assert_eq!(committed(&brokers, &group, &topic, 0).await, None);
    partition.ack.commit(&delivered[..1]).await.unwrap();
    assert_eq!(committed(&brokers, &group, &topic, 0).await, Some(last + 1));
}

/// Partitions 0 and 1, in this order.
async fn both(consumer: &mut KafkaEventConsumer) -> [AssignedPartition; 2] {
    let mut both = [next(consumer).await, next(consumer).await];
    both.sort_by_key(|assigned| assigned.partition.partition);
    both
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_retention_has_overtaken_stops_its_partition_and_no_other() {
    let Some(brokers) = brokers() else { return };
    let (topic, group) = (topic(&brokers, "overtaken", 2, &[]).await, unique("group"));
    // key k0 and its like are on both partitions
    fill(&brokers, &topic, 40).await;
    let mut consumer = start(config(&brokers, &group, &topic)).await;
    let [mut overtaken, other] = both(&mut consumer).await;
    offsets(&mut overtaken, 7).await;
    overtaken.ack.commit(&[0, 1]).await.unwrap();
    drop((overtaken, other));
    consumer.close().await.unwrap();

    let mut deleted = TopicPartitionList::new();
    deleted.add_partition_offset(&topic, 0, Offset::Offset(6)).unwrap();
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    admin(&brokers).delete_records(&deleted, &options).await.unwrap();

    let mut consumer = start(config(&brokers, &group, &topic)).await;
    let [mut overtaken, mut other] = both(&mut consumer).await;
    let first = offsets(&mut other, 5).await;
    assert_eq!(first, [0, 1, 2, 3, 4]);
    let ended = timeout(Duration::from_secs(2), consumer.next_partition()).await;
    assert!(ended.is_err(), "the consumer goes on: {ended:?}");
    other.ack.commit(&first).await.unwrap();
    assert_eq!(committed(&brokers, &group, &topic, 1).await, Some(5));
    assert_eq!(overtaken.messages.try_recv().unwrap_err(), TryRecvError::Empty, "silent, not ended");
    assert!(!overtaken.ack.is_revoked());
    drop((overtaken, other));
    consumer.close().await.unwrap();
    assert_eq!(committed(&brokers, &group, &topic, 0).await, Some(2), "nothing jumped");

    // as an operator does while no member runs
    set_offset(&brokers, &group, &topic, 6).await;
    let mut consumer = start(config(&brokers, &group, &topic)).await;
    let [mut overtaken, _other] = both(&mut consumer).await;
    assert_eq!(recv(&mut overtaken).await.offset, 6);
}

/// Sets the group's offset of partition 0.
pub(crate) async fn set_offset(brokers: &str, group: &str, topic: &str, offset: i64) {
    let operator: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    tokio::task::spawn_blocking(move || operator.commit(&list, CommitMode::Sync)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_waited_for() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let servers = cluster.bootstrap_servers();
    fill(&servers, "t", 5).await;
    let mut consumer = start(config(&servers, "g", "t").property("session.timeout.ms", "60000")).await;
    let mut partition = next(&mut consumer).await;
    offsets(&mut partition, 5).await;
    cluster.broker_down(1).unwrap();
    let ack = partition.ack;
    let waits = ack.commit(&[0, 1]);
    let mut waits = std::pin::pin!(waits);
    assert!(timeout(Duration::from_secs(1), &mut waits).await.is_err(), "a commit waits for the broker");
    cluster.broker_up(1).unwrap();
    if let Err(error) = waits.await {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    }
    // the first commit may have waited for as long as a commit waits
    let deadline = tokio::time::Instant::now() + SOON;
    while let Err(error) = ack.commit(&[2]).await {
        assert!(tokio::time::Instant::now() < deadline, "{error:?}");
    }
    assert_eq!(committed(&servers, "g", "t", 0).await, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_a_generation_that_is_over_ends_when_the_partition_is_lost() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let servers = cluster.bootstrap_servers();
    fill(&servers, "t", 3).await;
    let mut consumer = start(config(&servers, "g", "t")).await;
    let mut partition = next(&mut consumer).await;
    assert_eq!(offsets(&mut partition, 3).await, [0, 1, 2]);

    let over = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION];
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &over);
    let error = timeout(SOON, partition.ack.commit(&[0, 1])).await.expect("answers in time").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    drop(partition);
    let mut again = next(&mut consumer).await;
    assert_eq!(offsets(&mut again, 3).await, [0, 1, 2]);
    again.ack.commit(&[0, 1]).await.unwrap();
    assert_eq!(committed(&servers, "g", "t", 0).await, Some(2));
}

/// Nothing is read of new partitions before the group's offsets are known; a consumer that closes does not wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_close_does_not_wait_for_a_coordinator_that_gives_no_offsets() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let servers = cluster.bootstrap_servers();
    let loading = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS; 10_000];
    cluster.request_errors(RDKafkaApiKey::OffsetFetch, &loading);
    let mut consumer = start(config(&servers, "g", "t")).await;
    // longer than a join takes
    let assigned = timeout(Duration::from_secs(6), consumer.next_partition()).await;
    assert!(assigned.is_err(), "{assigned:?}");
    timeout(SOON, consumer.close()).await.expect("closes in time").unwrap();
}
