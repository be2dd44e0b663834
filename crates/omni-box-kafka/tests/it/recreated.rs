//! A topic that is deleted and created again while a member reads it.

use omni_box_core::{AssignedPartition, EventConsumer};
use omni_box_kafka::KafkaEventConsumer;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use tokio::time::{Instant, timeout};

use crate::cluster::{SOON, admin, brokers, committed, topic, unique};
use crate::consume::{config, fill, next, start};

async fn delete_topic(brokers: &str, topic: &str) {
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    admin(brokers).delete_topics(&[topic], &options).await.unwrap();
}

/// Creates a topic as soon as the one of this name is gone.
async fn create_again(brokers: &str, topic: &str) {
    let deadline = Instant::now() + SOON;
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    loop {
        let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
        if admin(brokers).create_topics(&[new], &options).await.unwrap().iter().all(Result::is_ok) {
            return;
        }
        assert!(Instant::now() < deadline, "never created again");
    }
}

/// Reads and acknowledges until all offsets up to `count` have come, however often the partition is handed over.
async fn read_to(consumer: &mut KafkaEventConsumer, partition: &mut AssignedPartition, count: i64) {
    let mut expected = 0;
    while expected < count {
        match timeout(SOON, partition.messages.recv()).await.expect("a message in time") {
            // what was fetched of the topic that is gone
            Some(message) if message.offset != expected => {}
            Some(message) => {
                partition.ack.commit(&[message.offset]).await.unwrap();
                expected += 1;
            }
            None => {
                *partition = next(consumer).await;
                expected = 0;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_created_again_is_read_from_its_beginning() {
    let Some(brokers) = brokers() else { return };
    for strategy in ["cooperative-sticky", "range"] {
        // fewer than before: where the group stood is out of range; more: it is in the middle
        for count in [20, 300] {
            let (topic, group) = (topic(&brokers, "recreated", 1, &[]).await, unique("group"));
            fill(&brokers, &topic, 100).await;
            let config = config(&brokers, &group, &topic).property("partition.assignment.strategy", strategy);
            let mut consumer = start(config).await;
            let mut partition = next(&mut consumer).await;
            read_to(&mut consumer, &mut partition, 100).await;

            delete_topic(&brokers, &topic).await;
            create_again(&brokers, &topic).await;
            fill(&brokers, &topic, count).await;
            read_to(&mut consumer, &mut partition, count as i64).await;
            assert_eq!(committed(&brokers, &group, &topic, 0).await, Some(count as i64));
            drop(partition);
            consumer.close().await.unwrap();
        }
    }
}
