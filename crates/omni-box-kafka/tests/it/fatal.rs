//! Producers that end for good.

use omni_box_core::{ErrorKind, EventPublisher, FailureClass, RawEventConverter};
use omni_box_kafka::{KafkaEventPublisher, KafkaPublisherConfig};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::cluster::{event, publish, read};

/// A broker that answers the next message with a sequence error, which ends an idempotent producer.
fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let desynchronized = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    cluster.request_errors(RDKafkaApiKey::Produce, &[desynchronized]);
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn a_borrowed_producer_that_ends_for_good_ends_the_publisher_and_charges_no_event() {
    let cluster = cluster();
    let producer = KafkaPublisherConfig::new(cluster.bootstrap_servers()).producer().unwrap();
    let publisher = KafkaEventPublisher::new(producer, RawEventConverter);
    let failed = publish(&publisher, vec![event("t", Some("k"), 1)]).await.remove(0).unwrap_err();
    assert_eq!(failed.class(), FailureClass::Infrastructure, "{failed:?}");
    publisher.purge().await;
    // whatever is sent afterwards: nothing goes out, and each caller is told that it is over
    let again = publish(&publisher, vec![event("t", Some("k"), 1)]).await.remove(0).unwrap_err();
    assert_eq!(again.class(), FailureClass::Infrastructure, "{again:?}");
    for _ in 0..2 {
        let ended = publisher.check().await.unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::Fatal, "{ended:?}");
    }
    assert!(read(&cluster.bootstrap_servers(), "t").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_of_its_own_that_ends_for_good_is_replaced() {
    let cluster = cluster();
    let config = KafkaPublisherConfig::new(cluster.bootstrap_servers());
    let publisher = KafkaEventPublisher::with_factory(move || config.producer(), RawEventConverter);
    let failed = publish(&publisher, vec![event("t", Some("k"), 1)]).await.remove(0).unwrap_err();
    assert_eq!(failed.class(), FailureClass::Infrastructure, "{failed:?}");
    publisher.check().await.unwrap();
    publish(&publisher, vec![event("t", Some("k"), 1)]).await.remove(0).unwrap();
    assert_eq!(read(&cluster.bootstrap_servers(), "t").await.len(), 1);
}

/// So does a topic that refuses this user. The error names the topic, the setting, and what goes on instead.
#[tokio::test(flavor = "multi_thread")]
async fn a_borrowed_producer_that_a_topic_has_refused_says_what_goes_on() {
    for is_borrowed in [true, false] {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("barred", 1, 1).unwrap();
        cluster.create_topic("open", 1, 1).unwrap();
        let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        cluster.request_errors(RDKafkaApiKey::Produce, &[refused]);
        let config = KafkaPublisherConfig::new(cluster.bootstrap_servers());
        let publisher = if is_borrowed {
            KafkaEventPublisher::new(config.producer().unwrap(), RawEventConverter)
        } else {
            KafkaEventPublisher::with_factory(move || config.producer(), RawEventConverter)
        };
        let failed = publish(&publisher, vec![event("barred", Some("k"), 1)]).await.remove(0).unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::TopicUnavailable, "{failed:?}");
        publisher.purge().await;
        let checked = publisher.check().await;
        let sent = publish(&publisher, vec![event("open", Some("k"), 2)]).await.remove(0);
        if !is_borrowed {
            checked.unwrap();
            sent.unwrap();
            continue;
        }
        let ended = checked.unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::Fatal, "{ended:?}");
        for part in ["Topic barred refuses", "enable.gapless.guarantee", "with_factory"] {
            assert!(ended.to_string().contains(part), "{ended}");
        }
        assert_eq!(sent.unwrap_err().class(), FailureClass::Infrastructure);
    }
}
