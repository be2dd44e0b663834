//! What converters make of an event, as it stands on a real topic.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use omni_box_core::{
    CloudEventsConverter, EnvelopeEventConverter, Event, EventConverter, LifecycleRecord, NewOutboxEvent,
    OmniBoxDomainService, OutboxEvent, PerTopic, RawEventConverter, Tombstones, converter_fn,
};
use omni_box_kafka::{KafkaEventPublisher, KafkaPublisherConfig, RecordTime};

use crate::cluster::{brokers, publish, read, topic};

fn publisher(brokers: &str, converter: impl EventConverter) -> KafkaEventPublisher {
    KafkaEventPublisher::from_config(KafkaPublisherConfig::new(brokers), converter).unwrap()
}

fn event(topic: &str, event_type: &str) -> Arc<OutboxEvent> {
    let event = NewOutboxEvent::from_json(event_type, topic, r#"{"id": 7}"#).partition_key("k1");
    let event = event.header("content-type", "text/plain");
    Arc::new(OmniBoxDomainService::default().create_outbox_event(event).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_has_its_key_and_headers_and_no_value() {
    let Some(brokers) = brokers() else { return };
    let topic = topic(&brokers, "tombstones", 1, &[("cleanup.policy", "compact")]).await;
    let publisher = publisher(&brokers, Tombstones::of(["user.deleted"], RawEventConverter));
    let events = vec![event(&topic, "user.created"), event(&topic, "user.deleted")];
    assert!(publish(&publisher, events.clone()).await.iter().all(Result::is_ok));
    let read = read(&brokers, &topic).await;
    assert_eq!((read[0].value.as_slice(), read[0].is_null), (br#"{"id": 7}"#.as_slice(), false));
    assert_eq!((read[1].is_null, read[1].key.as_deref()), (true, Some("k1")));
    let id = ("event_id".to_owned(), events[1].id().to_string());
    assert!(read[1].headers.contains(&id), "{:?}", read[1].headers);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_topic_has_its_own_form() {
    let Some(brokers) = brokers() else { return };
    let [structured, binary, bytes, other] = ["structured", "binary", "bytes", "other"];
    let mut topics = Vec::new();
    for name in [structured, binary, bytes, other] {
        topics.push(topic(&brokers, name, 1, &[]).await);
    }
    let converter = PerTopic::new(EnvelopeEventConverter)
        .topic(&topics[0], CloudEventsConverter::structured("/users").unwrap())
        .topic(&topics[1], CloudEventsConverter::binary("/users").unwrap())
        .topic(&topics[2], converter_fn(|_| Ok([0xff, 0x00, 0xfe])));
    let publisher = publisher(&brokers, converter);
    for topic in &topics {
        assert!(publish(&publisher, vec![event(topic, "user.created")]).await[0].is_ok());
    }
    let mut found = Vec::new();
    for topic in &topics {
        found.push(read(&brokers, topic).await.remove(0));
    }
    let header = |at: usize, name: &str| {
        let values = found[at].headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        values.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    assert_eq!(header(0, "content-type"), ["application/cloudevents+json; charset=UTF-8"]);
    let document: serde_json::Value = serde_json::from_slice(&found[0].value).unwrap();
    assert_eq!((&document["type"], &document["data"]["id"]), (&"user.created".into(), &7.into()));
    assert_eq!(header(1, "content-type"), ["application/json"]);
    assert_eq!(
        (header(1, "ce_type"), header(1, "ce_id")),
        (vec!["user.created".into()], header(1, "event_id"))
    );
    assert_eq!(found[1].value, br#"{"id": 7}"#);
    assert_eq!(found[2].value, [0xff, 0x00, 0xfe]);
    assert_eq!(header(3, "content-type"), ["text/plain"]);
    assert!(found[3].value.starts_with(b"{\"event_id\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_carries_the_time_that_was_chosen() {
    let Some(brokers) = brokers() else { return };
    let created_at: DateTime<Utc> = Utc::now() - TimeDelta::hours(3);
    let old = |topic: &str| {
        let event = event(topic, "user.created");
        let lifecycle = LifecycleRecord::stored(event.lifecycle(), created_at);
        Arc::new(OutboxEvent::restore(event.record().clone(), lifecycle.into()))
    };
    let timestamp = async |publisher: KafkaEventPublisher| {
        let topic = topic(&brokers, "time", 1, &[]).await;
        assert!(publish(&publisher, vec![old(&topic)]).await[0].is_ok());
        read(&brokers, &topic).await[0].timestamp
    };
    let config = || KafkaPublisherConfig::new(&*brokers);
    let before = Utc::now().timestamp_millis();
    assert!(
        timestamp(KafkaEventPublisher::from_config(config(), RawEventConverter).unwrap()).await >= before
    );

    let created = config().record_time(RecordTime::Created);
    let created = KafkaEventPublisher::from_config(created, RawEventConverter).unwrap();
    assert_eq!(timestamp(created).await, created_at.timestamp_millis());
    let own = KafkaEventPublisher::new(config().producer().unwrap(), RawEventConverter);
    assert_eq!(timestamp(own.record_time(RecordTime::Created)).await, created_at.timestamp_millis());
}
