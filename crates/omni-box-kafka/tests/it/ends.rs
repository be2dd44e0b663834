//! Where partitions begin and end: records without a message, and beginnings that Kafka does not tell at once.

use omni_box_core::EventConsumer;
use rdkafka::admin::AdminOptions;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::{Instant, timeout};

use crate::cluster::{SOON, admin, brokers, committed, topic, unique};
use crate::consume::{config, fill, next, offsets, recv, set_offset, start, transactions};

/// Behind the last message: a transaction's marker, what was aborted, and its marker.
const END: i64 = 16;

/// A topic of six messages, 0-2 and 8-10, beside what was aborted.
async fn with_transactions(brokers: &str) -> String {
    let topic = topic(brokers, "ends", 1, &[]).await;
    let (its_brokers, its_topic) = (brokers.to_owned(), topic.clone());
    tokio::task::spawn_blocking(move || transactions(&its_brokers, &its_topic)).await.unwrap();
    topic
}

/// As retention does.
async fn delete_all(brokers: &str, topic: &str) {
    delete_to(brokers, topic, Offset::End).await;
}

async fn delete_to(brokers: &str, topic: &str, offset: Offset) {
    let mut deleted = TopicPartitionList::new();
    deleted.add_partition_offset(topic, 0, offset).unwrap();
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    admin(brokers).delete_records(&deleted, &options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_has_done_all_goes_on_when_retention_took_what_held_no_message() {
    let Some(brokers) = brokers() else { return };
    let (topic, group) = (with_transactions(&brokers).await, unique("group"));
    let mut consumer = start(config(&brokers, &group, &topic)).await;
    let mut partition = next(&mut consumer).await;
    let delivered = offsets(&mut partition, 6).await;
    assert_eq!(delivered, [0, 1, 2, 8, 9, 10]);
    partition.ack.commit(&delivered).await.unwrap();
    // at once: nothing has told by now that no more messages come
    drop(partition);
    consumer.close().await.unwrap();
    assert_eq!(committed(&brokers, &group, &topic, 0).await, Some(END));

    delete_all(&brokers, &topic).await;
    let mut consumer = start(config(&brokers, &group, &topic)).await;
    let mut partition = next(&mut consumer).await;
    fill(&brokers, &topic, 1).await;
    assert_eq!(recv(&mut partition).await.offset, END);
}

/// Behind the first messages of a transaction stands its marker. A group that has done them may have committed the marker's offset, and
/// retention may have taken all before it, or all that holds no message.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_has_committed_a_marker_goes_on_where_the_log_begins_beside_it() {
    let Some(brokers) = brokers() else { return };
    // what is committed, where the log begins then, and what is delivered
    let cases: [(i64, i64, &[i64]); 6] = [
        (3, 2, &[8, 9, 10, END]),
        (3, 3, &[8, 9, 10, END]),
        (7, 5, &[8, 9, 10, END]),
        (11, 11, &[END]),
        (15, 12, &[END]),
        (15, 15, &[END]),
    ];
    for (position, beginning, expected) in cases {
        let (topic, group) = (with_transactions(&brokers).await, unique("group"));
        set_offset(&brokers, &group, &topic, position).await;
        delete_to(&brokers, &topic, Offset::Offset(beginning)).await;
        let mut consumer = start(config(&brokers, &group, &topic)).await;
        let mut partition = next(&mut consumer).await;
        fill(&brokers, &topic, 1).await;
        let delivered = offsets(&mut partition, expected.len()).await;
        assert_eq!(delivered, expected, "committed {position}, from {beginning}");
        partition.ack.commit(&delivered).await.unwrap();
        assert_eq!(committed(&brokers, &group, &topic, 0).await, Some(END + 1));
        drop(partition);
        consumer.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_quiet_is_committed_to_its_end_and_only_once_all_is_done() {
    let Some(brokers) = brokers() else { return };
    let (topic, group) = (with_transactions(&brokers).await, unique("group"));
    let mut consumer = start(config(&brokers, &group, &topic)).await;
    let mut partition = next(&mut consumer).await;
    let delivered = offsets(&mut partition, 6).await;
    partition.ack.commit(&delivered[..5]).await.unwrap();
    assert_eq!(committed(&brokers, &group, &topic, 0).await, Some(10));
    partition.ack.commit(&delivered[5..]).await.unwrap();
    let deadline = Instant::now() + SOON;
    while committed(&brokers, &group, &topic, 0).await != Some(END) {
        assert!(Instant::now() < deadline, "never committed to the end");
    }
    // what comes then is delivered once, and committed as ever
    fill(&brokers, &topic, 2).await;
    assert_eq!(offsets(&mut partition, 2).await, [END, END + 1]);
    partition.ack.commit(&[END]).await.unwrap();
    assert_eq!(committed(&brokers, &group, &topic, 0).await, Some(END + 1));
    drop(partition);
    consumer.close().await.unwrap();
    assert_eq!(committed(&brokers, &group, &topic, 0).await, Some(END + 1), "the last is not done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_group_waits_for_a_beginning_that_is_not_told_at_once() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let servers = cluster.bootstrap_servers();
    fill(&servers, "t", 5).await;
    // as of a topic that was just created
    let unknown = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART; 3];
    cluster.request_errors(RDKafkaApiKey::ListOffsets, &unknown);
    let mut consumer = start(config(&servers, "g", "t")).await;
    let mut partition = next(&mut consumer).await;
    assert_eq!(offsets(&mut partition, 5).await, [0, 1, 2, 3, 4]);
    timeout(SOON, partition.ack.commit(&[0, 1])).await.unwrap().unwrap();
    assert_eq!(committed(&servers, "g", "t", 0).await, Some(2));
}
