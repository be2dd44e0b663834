//! Brokers that go away and come back.

use omni_box_core::{ErrorKind, Event, EventPublisher, RawEventConverter, Reporter};
use omni_box_kafka::{KafkaEventPublisher, KafkaPublisherConfig};
use rdkafka::mocking::MockCluster;
use tokio::time::{Instant, timeout};

use crate::cluster::{SOON, collect, event, publish, read};

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_while_the_broker_is_away_reports_everything_and_sends_none_of_it_later() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let servers = cluster.bootstrap_servers();
    let config = KafkaPublisherConfig::new(&servers);
    let publisher = KafkaEventPublisher::with_factory(move || config.producer(), RawEventConverter);
    publish(&publisher, vec![event("t", Some("k"), 1)]).await.remove(0).unwrap();

    cluster.broker_down(1).unwrap();
    let events: Vec<_> = (2..50).map(|n| event("t", Some("k"), n)).collect();
    let ids: Vec<_> = events.iter().map(|event| event.id()).collect();
    let (reporter, mut reports) = Reporter::channel();
    publisher.submit(events.clone(), &reporter).await;
    drop(reporter);
    assert!(reports.try_recv().is_err(), "a broker that is away is waited for");
    let started = Instant::now();
    timeout(SOON, publisher.purge()).await.expect("purge is bounded");
    assert!(started.elapsed().as_secs() < 5, "purged at once, not when the producer ends");
    for result in collect(&mut reports, &ids).await {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert_eq!(publisher.check().await.unwrap_err().kind(), ErrorKind::Unavailable);

    cluster.broker_up(1).unwrap();
    let deadline = Instant::now() + SOON;
    while publisher.check().await.is_err() {
        assert!(Instant::now() < deadline, "broker never came back");
    }
    assert!(publish(&publisher, events).await.iter().all(Result::is_ok));
    let found = read(&servers, "t").await;
    assert_eq!(found.len(), 49, "each once: nothing of what was purged was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_new_while_the_broker_is_away_is_unavailable_within_a_bounded_time() {
    let cluster = MockCluster::new(1).unwrap();
    let servers = cluster.bootstrap_servers();
    cluster.broker_down(1).unwrap();
    let publisher =
        KafkaEventPublisher::from_config(KafkaPublisherConfig::new(&servers), RawEventConverter).unwrap();
    let results =
        timeout(SOON, publish(&publisher, vec![event("t", None, 1), event("t", None, 2)])).await.unwrap();
    for result in results {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn dropping_a_publisher_holds_up_no_runtime() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let servers = cluster.bootstrap_servers();
    let mut publishers = Vec::new();
    let (reporter, mut reports) = Reporter::channel();
    let mut ids = Vec::new();
    for n in 0..10 {
        let config = KafkaPublisherConfig::new(&servers);
        let publisher = KafkaEventPublisher::with_factory(move || config.producer(), RawEventConverter);
        publish(&publisher, vec![event("t", None, n)]).await.remove(0).unwrap();
        publishers.push(publisher);
    }
    cluster.broker_down(1).unwrap();
    for (n, publisher) in publishers.iter().enumerate() {
        let event = event("t", None, n);
        ids.push(event.id());
        publisher.submit(vec![event], &reporter).await;
    }
    drop(reporter);
    let started = std::time::Instant::now();
    drop(publishers);
    // the end of one takes as long as its thread sleeps, up to 100 ms
    assert!(started.elapsed().as_millis() < 300, "{:?}", started.elapsed());
    for result in collect(&mut reports, &ids).await {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
