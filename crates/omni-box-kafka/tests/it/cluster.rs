//! Kafka as the tests see it: topics of one's own, what is on them, and events to put there.

use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    DeliveryReport, EventId, EventPublisher, NewOutboxEvent, OmniBoxDomainService, OutboxEvent, Reporter,
};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) use omni_box_harness::kafka as brokers;

pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::new_v4().simple())
}

pub(crate) fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap()
}

pub(crate) async fn create_topic(brokers: &str, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (name, value) in settings {
        new = new.set(name, value);
    }
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    let created = admin(brokers).create_topics(&[new], &options).await.unwrap();
    assert!(created.iter().all(Result::is_ok), "{created:?}");
}

/// A new topic with a name of its own.
pub(crate) async fn topic(brokers: &str, name: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
    let topic = unique(name);
    create_topic(brokers, &topic, partitions, settings).await;
    topic
}

#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) partition: i32,
    pub(crate) key: Option<String>,
    pub(crate) value: Vec<u8>,
    /// Whether it has no value, which is not an empty one.
    pub(crate) is_null: bool,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) timestamp: i64,
}

/// Everything on a topic, partition by partition.
pub(crate) async fn read(brokers: &str, topic: &str) -> Vec<Read> {
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    tokio::task::spawn_blocking(move || read_blocking(&brokers, &topic)).await.unwrap()
}

fn read_blocking(brokers: &str, topic: &str) -> Vec<Read> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", unique("reader"))
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "10")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), SOON).unwrap();
    let mut all = Vec::new();
    for partition in metadata.topics()[0].partitions() {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        loop {
            match consumer.poll(SOON).expect("messages or the end of the partition") {
                Ok(message) => all.push(Read {
                    partition: message.partition(),
                    key: message.key().map(|key| String::from_utf8(key.to_vec()).unwrap()),
                    is_null: message.payload().is_none(),
                    value: message.payload().unwrap_or_default().to_vec(),
                    headers: message.headers().map_or_else(Vec::new, |headers| {
                        let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
                        headers.iter().map(|h| (h.key.to_owned(), text(h.value))).collect()
                    }),
                    timestamp: message.timestamp().to_millis().unwrap(),
                }),
                Err(rdkafka::error::KafkaError::PartitionEOF(_)) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    all
}

pub(crate) fn event(topic: &str, key: Option<&str>, n: usize) -> Arc<OutboxEvent> {
    let mut event = NewOutboxEvent::new(
        "test.happened",
        topic,
        &serde_json::json!({ "n": n, "text": "canary-in-the-payload" }),
    );
    if let Some(key) = key {
        event = event.partition_key(key);
    }
    Arc::new(OmniBoxDomainService::default().create_outbox_event(event).unwrap())
}

/// An event whose topic no domain service would let pass, as a store might return it.
pub(crate) fn stored_event(topic: &str) -> Arc<OutboxEvent> {
    use omni_box_core::{Event, OutboxRecord};
    let event = event("x", None, 1);
    let record = OutboxRecord {
        id: event.id(),
        content: event.content().clone(),
        aggregate_type: None,
        aggregate_id: None,
        topic: topic.to_owned(),
        partition_key: None,
    };
    Arc::new(OutboxEvent::restore(record, event.lifecycle().clone()))
}

/// The reports of some events, in the order of the events.
pub(crate) async fn publish(
    publisher: &dyn EventPublisher,
    events: Vec<Arc<OutboxEvent>>,
) -> Vec<omni_box_core::Result<()>> {
    use omni_box_core::Event;
    let ids: Vec<EventId> = events.iter().map(|event| event.id()).collect();
    let (reporter, mut reports) = Reporter::channel();
    publisher.submit(events, &reporter).await;
    drop(reporter);
    collect(&mut reports, &ids).await
}

/// Awaits one report for each id, and that no second comes.
pub(crate) async fn collect(
    reports: &mut UnboundedReceiver<DeliveryReport>,
    ids: &[EventId],
) -> Vec<omni_box_core::Result<()>> {
    let mut found = std::collections::HashMap::new();
    while let Some(report) = timeout(SOON, reports.recv()).await.expect("all reports in time") {
        assert!(found.insert(report.id, report.result).is_none(), "reported twice");
    }
    ids.iter().map(|id| found.remove(id).expect("reported")).collect()
}

/// The group's committed offset of a partition.
pub(crate) async fn committed(brokers: &str, group: &str, topic: &str, partition: i32) -> Option<i64> {
    let (brokers, group, topic) = (brokers.to_owned(), group.to_owned(), topic.to_owned());
    let ask = move || {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(&topic, partition);
        match consumer.committed_offsets(list, SOON).unwrap().elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}
