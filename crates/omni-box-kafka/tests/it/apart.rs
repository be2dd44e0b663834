//! A topic's trouble stays its own: refused messages, slow brokers, limits that were changed.

use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{ErrorKind, Event, EventPublisher, OutboxEvent, RawEventConverter, Reporter};
use omni_box_kafka::{KafkaEventPublisher, KafkaPublisherConfig};
use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::mocking::MockCluster;
use rdkafka::types::RDKafkaApiKey;
use rdkafka::types::RDKafkaRespErr::{
    RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE as TOO_LARGE, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as BARRED,
};
use tokio::time::{Instant, timeout};

use crate::cluster::{SOON, admin, brokers, event, publish, read, topic};
use crate::denier::Denier;

fn publisher(servers: &str) -> KafkaEventPublisher {
    let config = KafkaPublisherConfig::new(servers);
    KafkaEventPublisher::with_factory(move || config.producer(), RawEventConverter)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_refuses_messages_costs_others_nothing_and_is_tried_again() {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["apart-open", "apart-barred"] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    let denier = Denier::start(cluster);
    denier.deny(RDKafkaApiKey::Produce, "apart-barred", BARRED);
    let publisher = publisher(&denier.address());
    // found out once, at the cost of what is in flight
    let first = publish(&publisher, vec![event("apart-barred", Some("k"), 0)]).await.remove(0).unwrap_err();
    assert_eq!(first.kind(), ErrorKind::TopicUnavailable, "{first:?}");
    publisher.check().await.unwrap();

    let mut sent = 0;
    let several_tries = Instant::now() + Duration::from_secs(5);
    while Instant::now() < several_tries || denier.denied(RDKafkaApiKey::Produce, "apart-barred") < 3 {
        let barred = event("apart-barred", Some("k"), sent);
        let events = vec![event("apart-open", None, sent), barred, event("apart-open", None, sent)];
        let results = publish(&publisher, events).await;
        assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
        assert_eq!(results[1].as_ref().unwrap_err().kind(), ErrorKind::TopicUnavailable, "{results:?}");
        sent += 2;
        assert!(Instant::now() < several_tries + SOON, "tried too seldom");
    }
    assert_eq!(read(&denier.address(), "apart-open").await.len(), sent, "each once");
    let tried = denier.allow(RDKafkaApiKey::Produce, "apart-barred");
    assert!(tried < 10, "{tried} tries");
    let deadline = Instant::now() + SOON;
    while publish(&publisher, vec![event("apart-barred", Some("k"), 0)]).await[0].is_err() {
        assert!(Instant::now() < deadline, "never tried again");
    }
    let results = publish(&publisher, (0..20).map(|n| event("apart-barred", Some("k"), n)).collect()).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_gives_up_a_try_and_what_waits_for_a_topics_room() {
    let cluster = slow_topic();
    let publisher = publisher(&cluster.bootstrap_servers());
    be_cautious(&cluster, &publisher).await;
    cluster.broker_down(1).unwrap();
    let events: Vec<_> = (0..5).map(|n| event("slow", Some("k"), n)).collect();
    let ids: Vec<_> = events.iter().map(|event| event.id()).collect();
    let (reporter, mut reports) = Reporter::channel();
    timeout(Duration::from_secs(5), publisher.submit(events, &reporter)).await.expect("taken at once");
    drop(reporter);
    timeout(SOON, publisher.purge()).await.expect("purge is bounded");
    for result in crate::cluster::collect(&mut reports, &ids).await {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

type Cluster = MockCluster<'static, rdkafka::producer::DefaultProducerContext>;

/// The topic `slow` on the first of two brokers, `quick` on the second.
fn slow_topic() -> Cluster {
    let cluster = MockCluster::new(2).unwrap();
    for (topic, broker) in [("slow", 1), ("quick", 2)] {
        cluster.create_topic(topic, 1, 1).unwrap();
        cluster.partition_leader(topic, 0, Some(broker)).unwrap();
    }
    cluster
}

/// Messages to `slow` go one at a time, as after a batch that its broker refused.
async fn be_cautious(cluster: &Cluster, publisher: &KafkaEventPublisher) {
    cluster.request_errors(RDKafkaApiKey::Produce, &[TOO_LARGE]);
    let refused = publish(publisher, vec![event("slow", Some("k"), 0)]).await.remove(0).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused:?}");
    publisher.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_without_room_holds_no_other_up_and_keeps_its_order() {
    let cluster = slow_topic();
    let publisher = publisher(&cluster.bootstrap_servers());
    be_cautious(&cluster, &publisher).await;
    cluster.broker_round_trip_time(1, Duration::from_millis(500)).unwrap();
    let slow: Vec<_> = (0..4).map(|n| event("slow", Some("k"), n)).collect();
    let quick: Vec<_> = (0..4).map(|n| event("quick", Some("k"), n)).collect();
    let mixed: Vec<Arc<OutboxEvent>> =
        slow.iter().zip(&quick).flat_map(|(slow, quick)| [Arc::clone(slow), Arc::clone(quick)]).collect();
    let (reporter, mut reports) = Reporter::channel();
    publisher.submit(mixed, &reporter).await;
    drop(reporter);
    let mut order = Vec::new();
    while let Some(report) = timeout(SOON, reports.recv()).await.expect("all reports in time") {
        report.result.unwrap();
        order.push(report.id);
    }
    let place = |event: &Arc<OutboxEvent>| order.iter().position(|id| *id == event.id()).unwrap();
    let slow: Vec<_> = slow.iter().map(place).collect();
    assert!(quick.iter().all(|quick| place(quick) < slow[1]), "{slow:?}: quick ones come first");
    assert!(slow.is_sorted(), "{slow:?}");
    assert_eq!(read(&cluster.bootstrap_servers(), "slow").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_was_raised_counts_for_the_next_message() {
    let Some(brokers) = brokers() else { return };
    let topic =
        topic(&brokers, "raised", 1, &[("max.message.bytes", "300"), ("cleanup.policy", "compact")]).await;
    let publisher = KafkaEventPublisher::from_config(
        KafkaPublisherConfig::new(&brokers),
        omni_box_core::EnvelopeEventConverter,
    )
    .unwrap();
    let large = event(&topic, Some(&"k".repeat(255)), 1);
    let results = publish(&publisher, vec![Arc::clone(&large), event(&topic, None, 2)]).await;
    assert_eq!(results[0].as_ref().unwrap_err().kind(), ErrorKind::TooLarge, "{results:?}");
    assert_eq!(results[1].as_ref().unwrap_err().kind(), ErrorKind::Invalid, "{results:?}");

    let raised = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", "100000");
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    admin(&brokers).alter_configs(&[raised], &options).await.unwrap();
    let results = publish(&publisher, vec![large, event(&topic, None, 2)]).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}
