//! A client that has much to say.

use rdkafka::mocking::MockCluster;

use crate::consume::{config, fill, next, offsets, start};

/// Statistics, log lines and errors come through the same queue as rebalances.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebalance_does_not_wait_behind_thousands_of_other_events() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let servers = cluster.bootstrap_servers();
    fill(&servers, "t", 5).await;
    let mut consumer = start(config(&servers, "g", "t").property("statistics.interval.ms", "1")).await;
    let mut partition = next(&mut consumer).await;
    offsets(&mut partition, 5).await;
}
