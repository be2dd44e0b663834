//! Settings of the publisher.

use omni_box_core::{Event, OutboxEvent, Result};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;

use super::context::{DeliveryContext, KafkaProducer};
use crate::config::{Guarded, Properties, check_servers, check_text};
use crate::error::classified;

/// Largest batch, in bytes. A topic whose limit is below it is sent to in smaller portions.
pub(super) const DEFAULT_BATCH_BYTES: usize = 1_000_000;

const CLIENT_ID: &str = "omni-box-publisher";

const DEFAULTS: [(&str, &str); 12] = [
    ("client.id", CLIENT_ID),
    ("enable.idempotence", "true"),
    // one failed batch ends the producer instead of letting those behind it overtake
    ("enable.gapless.guarantee", "true"),
    ("acks", "all"),
    // a message that timed out alone would be overtaken by those behind it
    ("message.timeout.ms", "0"),
    ("partitioner", "murmur2_random"),
    // the topic's own limit decides, see `topics`
    ("message.max.bytes", "1000000000"),
    ("batch.size", "1000000"),
    // a fetch hands over all that is due at once; a longer wait for company costs each event more than it spares the broker
    ("linger.ms", "0.5"),
    ("socket.nagle.disable", "true"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// Which time a record carries: the one by which a topic's retention goes, and which consumers see.
///
/// ```
/// use omni_box_kafka::{KafkaPublisherConfig, RecordTime};
///
/// let config = KafkaPublisherConfig::new("localhost:9092").record_time(RecordTime::Created);
/// # drop(config);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RecordTime {
    /// When the record is handed to the producer.
    #[default]
    Sent,
    /// When the event was created.
    ///
    /// A topic whose records are deleted by age may soon delete one that waited long in the outbox. A broker with
    /// `message.timestamp.before.max.ms` rejects it for good.
    Created,
}

impl RecordTime {
    /// The time of an event's record in milliseconds, if it is not the producer's.
    pub(super) fn of(self, event: &OutboxEvent) -> Option<i64> {
        match self {
            Self::Sent => None,
            Self::Created => Some(event.lifecycle().created_at().timestamp_millis()),
        }
    }
}

const ORDER: &str = "events of one key would overtake each other after a failure";

const GUARDED: [Guarded; 14] = [
    Guarded { name: "enable.idempotence", only: &["true"], why: ORDER },
    Guarded { name: "enable.gapless.guarantee", only: &["true"], why: ORDER },
    Guarded { name: "message.timeout.ms", only: &["0"], why: ORDER },
    Guarded { name: "delivery.timeout.ms", only: &["0"], why: ORDER },
    Guarded { name: "queuing.strategy", only: &["fifo"], why: ORDER },
    Guarded { name: "acks", only: &["all", "-1"], why: "an acknowledged event could be lost" },
    Guarded {
        name: "request.required.acks",
        only: &["all", "-1"],
        why: "an acknowledged event could be lost",
    },
    Guarded {
        name: "message.send.max.retries",
        only: &["2147483647"],
        why: "an event would be given up while its broker is away",
    },
    Guarded {
        name: "retries",
        only: &["2147483647"],
        why: "an event would be given up while its broker is away",
    },
    Guarded {
        name: "partitioner",
        only: &[],
        why: "keys would land elsewhere than other clients put them; choose with KafkaPublisherConfig::partitioner",
    },
    Guarded {
        name: "delivery.report.only.error",
        only: &["false"],
        why: "an event that was delivered would never be reported",
    },
    Guarded { name: "transactional.id", only: &[], why: "this publisher does not send in transactions" },
    Guarded { name: "bootstrap.servers", only: &[], why: "give them to KafkaPublisherConfig::new" },
    Guarded { name: "metadata.broker.list", only: &[], why: "give the servers to KafkaPublisherConfig::new" },
];

/// Settings of a [`KafkaEventPublisher`](super::KafkaEventPublisher). `Debug` hides the values of properties.
///
/// Settings are plain text; [`KafkaEventPublisher::from_config`](super::KafkaEventPublisher::from_config) checks them and names the
/// setting that is wrong.
///
/// ```
/// use omni_box_core::{ErrorKind, RawEventConverter};
/// use omni_box_kafka::{KafkaEventPublisher, KafkaPublisherConfig};
///
/// let config = KafkaPublisherConfig::new("kafka-1:9092,kafka-2:9092").property("compression.type", "zstd");
/// assert!(KafkaEventPublisher::from_config(config, RawEventConverter).is_ok());
///
/// let loses = KafkaPublisherConfig::new("kafka-1:9092").property("acks", "1");
/// let refused = KafkaEventPublisher::from_config(loses, RawEventConverter).unwrap_err();
/// assert_eq!(refused.kind(), ErrorKind::Misconfigured);
/// assert_eq!(refused.to_string(), "property acks must be all: an acknowledged event could be lost");
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct KafkaPublisherConfig {
    servers: String,
    partitioner: Option<String>,
    pub(super) record_time: RecordTime,
    properties: Properties,
}

impl KafkaPublisherConfig {
    /// Servers as `host:port`, separated by commas.
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        Self {
            servers: bootstrap_servers.into(),
            partitioner: None,
            record_time: RecordTime::default(),
            properties: Properties::default(),
        }
    }

    /// Any librdkafka property, such as `security.protocol`; those that would break the promises are refused when the
    /// publisher is built.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.set(name, value);
        self
    }

    /// Another partitioner of librdkafka's than `murmur2_random`. Keys then land on other partitions than those of the Java client.
    /// On a topic that already has messages, the order of a key breaks once.
    pub fn partitioner(mut self, name: impl Into<String>) -> Self {
        self.partitioner = Some(name.into());
        self
    }

    /// Which time records carry; when they are sent, unless set.
    pub fn record_time(mut self, time: RecordTime) -> Self {
        self.record_time = time;
        self
    }

    /// The librdkafka configuration this stands for.
    ///
    /// # Errors
    /// [`Misconfigured`](omni_box_core::ErrorKind::Misconfigured) naming the property that breaks a promise.
    pub fn client_config(&self) -> Result<ClientConfig> {
        check_servers(&self.servers)?;
        let mut config = self.properties.over(&DEFAULTS, &GUARDED)?;
        config.set("bootstrap.servers", &self.servers);
        if let Some(partitioner) = &self.partitioner {
            check_text("partitioner", partitioner)?;
            config.set("partitioner", partitioner);
        }
        Ok(config)
    }

    /// A producer with these settings.
    ///
    /// # Errors
    /// [`Misconfigured`](omni_box_core::ErrorKind::Misconfigured) when a property breaks a promise or librdkafka refuses it.
    pub fn producer(&self) -> Result<KafkaProducer> {
        KafkaProducer::from_config_and_context(&self.client_config()?, DeliveryContext::new())
            .map_err(|error| classified("producer cannot be created", error))
    }

    /// Settings of a client that only asks questions.
    pub(super) fn admin_config(&self) -> Result<ClientConfig> {
        let mut config = self.client_config()?;
        config.remove("enable.idempotence");
        config.remove("enable.gapless.guarantee");
        Ok(config)
    }

    pub(super) fn client_id(&self) -> String {
        self.properties.get("client.id").unwrap_or(CLIENT_ID).to_owned()
    }

    pub(super) fn batch_bytes(&self) -> usize {
        self.properties.get("batch.size").and_then(|size| size.parse().ok()).unwrap_or(DEFAULT_BATCH_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use omni_box_core::ErrorKind;

    use super::*;

    fn config() -> KafkaPublisherConfig {
        KafkaPublisherConfig::new("localhost:9092")
    }

    fn refused(config: &KafkaPublisherConfig, name: &str) {
        let error = config.producer().map(drop).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{name}: {error:?}");
        assert!(error.chain().contains(name), "{name}: {error:?}");
    }

    #[test]
    fn a_property_that_breaks_a_promise_is_refused_by_name() {
        for (name, value) in [
            ("enable.idempotence", "false"),
            ("enable.gapless.guarantee", "false"),
            ("acks", "1"),
            ("request.required.acks", "0"),
            ("message.timeout.ms", "30000"),
            ("delivery.timeout.ms", "30000"),
            ("queuing.strategy", "lifo"),
            ("retries", "3"),
            ("message.send.max.retries", "0"),
            ("partitioner", "random"),
            ("delivery.report.only.error", "true"),
            ("transactional.id", "x"),
            ("bootstrap.servers", "x:1"),
            ("metadata.broker.list", "x:1"),
            // refused by librdkafka
            ("max.in.flight", "6"),
            ("dr_cb", "1"),
            ("dr_msg_cb", "1"),
            ("background_event_cb", "1"),
            ("default_topic_conf", "1"),
            ("msg_order_cmp", "1"),
            ("opaque", "1"),
        ] {
            refused(&config().property(name, value), name);
        }
    }

    /// Without a source, librdkafka would wait for a token and report nothing.
    #[test]
    fn tokens_without_a_source_are_refused() {
        for name in ["sasl.mechanism", "sasl.mechanisms"] {
            let by_token =
                || config().property("security.protocol", "sasl_ssl").property(name, "OAUTHBEARER");
            refused(&by_token(), "which needs a source of tokens");
            refused(
                &by_token().property("enable.sasl.oauthbearer.unsecure.jwt", "false"),
                "source of tokens",
            );
            let unsecure = by_token().property("enable.sasl.oauthbearer.unsecure.jwt", "true");
            assert!(unsecure.producer().is_ok());
        }
    }

    #[test]
    fn text_with_a_nul_is_refused_by_name() {
        refused(&KafkaPublisherConfig::new("localhost:9092\0"), "bootstrap.servers");
        refused(&config().partitioner("a\0"), "partitioner");
        refused(&config().property("sasl.password", "hush\0"), "sasl.password");
        refused(&config().property("client\0id", "x"), "client\\0id");
    }

    #[test]
    fn a_default_gives_way_to_a_property_of_another_name() {
        // settings have no order: it would win every other time
        for _ in 0..20 {
            let config = config().property("queue.buffering.max.ms", "77").client_config().unwrap();
            let native = config.create_native_config().unwrap();
            assert_eq!(native.get("queue.buffering.max.ms").unwrap(), "77");
        }
    }

    /// A wait of milliseconds is most of the way of an event that comes alone; librdkafka takes fractions.
    #[test]
    fn a_record_waits_half_a_millisecond_for_company_by_default() {
        let native = config().client_config().unwrap().create_native_config().unwrap();
        assert_eq!(native.get("queue.buffering.max.ms").unwrap().parse::<f64>(), Ok(0.5));
    }

    #[test]
    fn a_property_that_repeats_the_promise_and_any_other_passes() {
        let config = config()
            .property("acks", "-1")
            .property("delivery.report.only.error", "false")
            .property("enable.idempotence", "true")
            .property("compression.type", "zstd")
            .property("security.protocol", "sasl_plaintext")
            .property("sasl.mechanism", "PLAIN")
            .property("sasl.username", "u")
            .property("sasl.password", "hush");
        assert!(config.producer().is_ok());
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn an_unknown_property_is_named_without_its_value() {
        let error = config().property("no.such", "hush").producer().map(drop);
        let error = error.expect_err("no such property");
        assert!(error.chain().contains("no.such") && !error.chain().contains("hush"), "{error:?}");
    }
}
