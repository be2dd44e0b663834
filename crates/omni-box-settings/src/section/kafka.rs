//! `[kafka]`

use std::collections::BTreeMap;

use omni_box_core::Result;
use omni_box_kafka::{KafkaConsumerConfig, KafkaPublisherConfig, RecordTime};

use super::inbox::as_count;
use crate::Settings;
use crate::origin::misconfigured;

const KAFKA: &str = "kafka";
const INBOX: &str = "inbox";

/// Keys that are properties of librdkafka, with `_` for each dot.
const PROPERTIES: [&str; 9] = [
    "client_id",
    "security_protocol",
    "sasl_mechanism",
    "sasl_username",
    "sasl_password",
    "ssl_ca_location",
    "ssl_certificate_location",
    "ssl_key_location",
    "ssl_key_password",
];

impl Settings {
    /// `[kafka]`, for [`KafkaEventPublisher::from_config`](omni_box_kafka::KafkaEventPublisher::from_config), which finds properties that do
    /// not exist or break a promise. Secrets in files are read again.
    ///
    /// # Errors
    /// [`Misconfigured`](omni_box_core::ErrorKind::Misconfigured) when `brokers` is not set, a property is given by a key and by a table, or a
    /// secret's file cannot be read.
    pub fn kafka_publisher(&self) -> Result<KafkaPublisherConfig> {
        let mut config = KafkaPublisherConfig::new(self.brokers()?);
        for (name, value) in self.kafka_properties("publisher_properties")? {
            config = config.property(name, value);
        }
        if self.text(KAFKA, "record_time")?.as_deref() == Some("created") {
            config = config.record_time(RecordTime::Created);
        }
        Ok(match self.text(KAFKA, "partitioner")? {
            Some(partitioner) => config.partitioner(partitioner),
            None => config,
        })
    }

    /// `[kafka]`, with group, topics and drain deadline of `[inbox]`, for
    /// [`KafkaEventConsumer::from_config`](omni_box_kafka::KafkaEventConsumer::from_config). Secrets in files are read again.
    ///
    /// # Errors
    /// As [`kafka_publisher`](Self::kafka_publisher), and when `inbox.consumer_group` or `inbox.topics` is not set.
    pub fn kafka_consumer(&self) -> Result<KafkaConsumerConfig> {
        let group =
            self.text(INBOX, "consumer_group")?.ok_or_else(|| Self::required(INBOX, "consumer_group"))?;
        let topics = self.list(INBOX, "topics").ok_or_else(|| Self::required(INBOX, "topics"))?;
        let mut config = KafkaConsumerConfig::new(self.brokers()?, group, topics);
        for (name, value) in self.kafka_properties("consumer_properties")? {
            config = config.property(name, value);
        }
        if let Some(messages) = self.number(KAFKA, "window") {
            config = config.window(as_count(messages));
        }
        if let Some(bytes) = self.size(KAFKA, "buffer_bytes") {
            config = config.buffer_bytes(usize::try_from(bytes).unwrap_or(usize::MAX));
        }
        if self.text(KAFKA, "refused_log_in")?.as_deref() == Some("end") {
            config = config.end_when_refused(true);
        }
        Ok(match self.duration(INBOX, "drain_deadline") {
            Some(deadline) => config.drain_deadline(deadline),
            None => config,
        })
    }

    fn brokers(&self) -> Result<String> {
        let brokers = self.list(KAFKA, "brokers").ok_or_else(|| Self::required(KAFKA, "brokers"))?;
        Ok(brokers.join(","))
    }

    /// The properties of publisher or consumer: those of keys, of both, and its own.
    fn kafka_properties(&self, own: &'static str) -> Result<BTreeMap<String, String>> {
        let mut properties = self.properties(KAFKA, "properties");
        properties.extend(self.properties(KAFKA, own));
        for key in PROPERTIES {
            let property = key.replace('_', ".");
            let Some(value) = self.text(KAFKA, key)? else { continue };
            if properties.contains_key(&property) {
                let name = self.name(KAFKA, key);
                return Err(misconfigured(format!(
                    "{name} and the property {property:?} are both given, needs one"
                )));
            }
            properties.insert(property, value);
        }
        Ok(properties)
    }
}
