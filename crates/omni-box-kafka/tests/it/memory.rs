//! How much of what waits is in memory.

use std::time::Duration;

use futures_util::future::join_all;
use omni_box_core::AssignedPartition;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::time::timeout;

use crate::cluster::{SOON, brokers, committed, topic, unique};
use crate::consume::{config, next, recv, start};

const PARTITIONS: i32 = 4;
const EACH: i64 = 8;
const LARGE: usize = 900_000;
const BUDGET: usize = 8 << 20;

async fn send_large(brokers: &str, topic: &str) {
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let body = vec![b'x'; LARGE];
    for partition in 0..PARTITIONS {
        for _ in 0..EACH {
            let record = FutureRecord::<(), _>::to(topic).partition(partition).payload(&body);
            producer.send(record, SOON).await.map_err(|(error, _)| error).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_that_are_not_done_share_a_budget_and_all_come() {
    let Some(brokers) = brokers() else { return };
    let (topic, group) = (topic(&brokers, "large", PARTITIONS, &[]).await, unique("group"));
    send_large(&brokers, &topic).await;
    let mut consumer = start(config(&brokers, &group, &topic).buffer_bytes(BUDGET)).await;
    let mut partitions = Vec::new();
    for _ in 0..PARTITIONS {
        partitions.push(next(&mut consumer).await);
    }
    // read, and not done
    let mut read = Vec::new();
    for partition in &mut partitions {
        read.push(recv(partition).await.offset);
    }
    assert_eq!(read, [0; PARTITIONS as usize]);
    let held = |partitions: &[AssignedPartition]| -> usize {
        partitions.iter().map(|partition| (1 + partition.messages.len()) * LARGE).sum()
    };
    let most = BUDGET / 2 + PARTITIONS as usize * LARGE;
    let exceeds = timeout(Duration::from_secs(2), async {
        while held(&partitions) <= most {
            tokio::task::yield_now().await;
        }
    });
    assert!(exceeds.await.is_err(), "{} bytes of {BUDGET} are held", held(&partitions));

    join_all(partitions.iter_mut().map(|partition| async {
        partition.ack.commit(&[0]).await.unwrap();
        for expected in 1..EACH {
            assert_eq!(recv(partition).await.offset, expected);
            partition.ack.commit(&[expected]).await.unwrap();
        }
    }))
    .await;
    for partition in 0..PARTITIONS {
        assert_eq!(committed(&brokers, &group, &topic, partition).await, Some(EACH));
    }
}
