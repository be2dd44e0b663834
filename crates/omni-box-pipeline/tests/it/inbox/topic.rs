//! A topic of Apache Kafka, and the group that reads it.

use omni_box_core::ConsumerGroup;
use omni_box_harness::topic::{Message, committed_offsets, create_topic, produce};
use omni_box_harness::{eventually, servers};
use omni_box_kafka::{KafkaConsumerConfig, KafkaEventConsumer};

use super::service::LONG;

pub(crate) struct Topic {
    brokers: String,
    name: String,
}

impl Topic {
    /// `None` without a server.
    pub(crate) async fn create(partitions: i32) -> Option<Self> {
        let brokers = servers()?.kafka_brokers;
        let name = create_topic(&brokers, "inbox", partitions, &[]).await.unwrap();
        Some(Self { brokers, name })
    }

    /// The group has the topic's name, so that no two tests share one.
    pub(crate) fn group(&self) -> ConsumerGroup {
        ConsumerGroup::new(&self.name).unwrap()
    }

    /// Sends messages of an id, a key and a number.
    pub(crate) async fn send(&self, messages: impl IntoIterator<Item = (&str, &str, usize)>) {
        let messages = messages.into_iter().map(|(id, key, n)| Message {
            key: Some(key.into()),
            value: Some(format!("{{\"n\":{n},\"text\":\"canary-in-the-payload\"}}").into_bytes()),
            headers: vec![
                ("event_id".to_owned(), Some(id.into())),
                ("tenant".to_owned(), Some("canary-in-the-header".into())),
            ],
            ..Message::default()
        });
        produce(&self.brokers, &self.name, &messages.collect::<Vec<_>>()).await.unwrap();
    }

    /// How many messages the group has committed.
    pub(crate) async fn committed(&self) -> i64 {
        committed_offsets(&self.brokers, &self.name, &self.name).await.unwrap().values().sum()
    }

    /// Waits until so many are.
    pub(crate) async fn drained(&self, messages: i64) {
        eventually(LONG, async || self.committed().await == messages).await;
    }

    /// One more member of the group.
    pub(crate) fn consumer(&self) -> KafkaEventConsumer {
        let config = KafkaConsumerConfig::new(&self.brokers, self.group(), [&self.name]);
        KafkaEventConsumer::from_config(config).unwrap()
    }
}
