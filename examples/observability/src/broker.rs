//! A broker inside this process, or Kafka.

use omni_box::broker::{EventConsumer, EventPublisher};
use omni_box::kafka::{KafkaConsumerConfig, KafkaEventConsumer, KafkaEventPublisher, KafkaPublisherConfig};
use omni_box::prelude::*;
use omni_box_testkit::MemoryBroker;

/// Where events go, and messages come from.
pub(crate) struct Broker {
    place: Place,
    topic: String,
    group: String,
}

enum Place {
    Inside(MemoryBroker),
    Kafka(String),
}

impl Broker {
    pub(crate) fn new(brokers: Option<&str>, topic: &str) -> Self {
        let place = match brokers {
            Some(brokers) => Place::Kafka(brokers.to_owned()),
            None => {
                let broker = MemoryBroker::new();
                broker.create_topic(topic, 1);
                Place::Inside(broker)
            }
        };
        Self { place, topic: topic.to_owned(), group: format!("shipping-{topic}") }
    }

    pub(crate) fn publisher(&self) -> omni_box::Result<Box<dyn EventPublisher>> {
        Ok(match &self.place {
            Place::Inside(broker) => Box::new(broker.publisher(EnvelopeEventConverter)),
            Place::Kafka(brokers) => Box::new(KafkaEventPublisher::from_config(
                KafkaPublisherConfig::new(brokers),
                EnvelopeEventConverter,
            )?),
        })
    }

    pub(crate) fn consumer(&self) -> omni_box::Result<Box<dyn EventConsumer>> {
        Ok(match &self.place {
            Place::Inside(broker) => {
                Box::new(broker.consumer(&ConsumerGroup::new(&self.group)?, [self.topic.as_str()]))
            }
            Place::Kafka(brokers) => Box::new(KafkaEventConsumer::from_config(KafkaConsumerConfig::new(
                brokers,
                &self.group,
                [&self.topic],
            ))?),
        })
    }
}
