//! Partitions that are lost: the group went on without this member.

use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use omni_box_core::{ErrorKind, EventConsumer};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tokio::time::timeout;

use crate::cluster::{SOON, committed};
use crate::consume::{config, fill, next, offsets, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_partition_stops_its_work_commits_nothing_and_comes_back_where_it_was() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let servers = cluster.bootstrap_servers();
    fill(&servers, "t", 10).await;
    // the mock keeps who it says it does not know, and the group waits until that one's session ends
    let mut consumer = start(config(&servers, "g", "t").property("session.timeout.ms", "4000")).await;
    let mut partition = next(&mut consumer).await;
    assert_eq!(offsets(&mut partition, 10).await, (0..10).collect::<Vec<_>>());
    partition.ack.commit(&[0, 1, 2]).await.unwrap();

    // as after a pause beyond the session timeout
    cluster.request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    timeout(SOON, partition.ack.lost()).await.expect("work in progress is told to stop");
    assert!(partition.ack.is_revoked());
    while timeout(SOON, partition.messages.recv()).await.expect("the stream ends").is_some() {}
    assert_eq!(partition.ack.commit(&[3, 4, 5]).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(partition.ack.rewind().await.unwrap_err().kind(), ErrorKind::Closed);

    // its handle is still out, which a lost partition does not wait for
    let mut again = next(&mut consumer).await;
    assert_eq!(offsets(&mut again, 7).await, (3..10).collect::<Vec<_>>());
    again.ack.commit(&[3]).await.unwrap();
    assert_eq!(committed(&servers, "g", "t", 0).await, Some(4));
}

/// Panics on the thread that delivers.
struct Bomb;

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        panic!("the reader panics when it is woken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_whose_thread_panicked_says_so_and_leaves_nobody_waiting() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let servers = cluster.bootstrap_servers();
    let mut consumer = start(config(&servers, "g", "t")).await;
    let mut partition = next(&mut consumer).await;
    let bomb = Waker::from(Arc::new(Bomb));
    assert!(partition.messages.poll_recv(&mut Context::from_waker(&bomb)).is_pending());
    fill(&servers, "t", 1).await;
    let ended = timeout(SOON, consumer.next_partition()).await.expect("told in time").unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::Internal, "{ended:?}");
    timeout(SOON, partition.ack.lost()).await.expect("work in progress is told to stop");
    while timeout(SOON, partition.messages.recv()).await.expect("the stream ends").is_some() {}
    let closed = timeout(SOON, consumer.close()).await.expect("closes in time").unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Internal, "{closed:?}");
}
