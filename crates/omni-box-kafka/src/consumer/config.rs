//! Settings of the consumer.

use std::fmt;
use std::time::Duration;

use omni_box_core::{ConsumerGroup, Error, ErrorKind, Result};
use rdkafka::ClientConfig;
use tokio::sync::Semaphore;

use crate::config::{Guarded, Properties, check_servers, check_topic};

const DEFAULTS: [(&str, &str); 14] = [
    ("client.id", "omni-box-consumer"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // where to begin is decided at assignment; later, an offset out of range must not jump in silence
    ("auto.offset.reset", "error"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("isolation.level", "read_committed"),
    // tells where a log ends, behind records that hold no message
    ("enable.partition.eof", "true"),
    ("max.poll.interval.ms", "300000"),
    // a queue that is full is looked at again soon
    ("queued.min.messages", "10000"),
    ("fetch.queue.backoff.ms", "20"),
    ("socket.nagle.disable", "true"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.max.ms", "2000"),
    // a topic that is created later is found soon
    ("topic.metadata.refresh.interval.ms", "10000"),
];

/// Property: memory of each partition's queue.
const AHEAD: &str = "queued.max.messages.kbytes";

const SKIPS: &str = "messages that are not done would be skipped";

const GUARDED: [Guarded; 10] = [
    Guarded { name: "enable.auto.commit", only: &["false"], why: SKIPS },
    Guarded { name: "enable.auto.offset.store", only: &["false"], why: SKIPS },
    Guarded {
        name: "auto.offset.reset",
        only: &[],
        why: "a new group starts at the beginning, and an offset out of range is an error",
    },
    Guarded {
        name: "enable.partition.eof",
        only: &[],
        why: "the consumer itself asks for the ends of partitions",
    },
    Guarded {
        name: "isolation.level",
        only: &["read_committed"],
        why: "messages of transactions that were aborted would take effect",
    },
    Guarded {
        name: "check.crcs",
        only: &["false"],
        why: "a batch that is damaged would be skipped; as it is delivered, it can be put aside",
    },
    Guarded { name: "group.protocol", only: &["classic"], why: "hand-over rests on the classic protocol" },
    Guarded { name: "group.id", only: &[], why: "give it to KafkaConsumerConfig::new" },
    Guarded { name: "bootstrap.servers", only: &[], why: "give them to KafkaConsumerConfig::new" },
    Guarded { name: "metadata.broker.list", only: &[], why: "give the servers to KafkaConsumerConfig::new" },
];

/// Least time between the drain deadline and the moment when Kafka takes the partitions away.
const MARGIN: Duration = Duration::from_secs(5);

/// Least memory for messages.
const LEAST_BYTES: usize = 1 << 20;
/// Partitions over which what librdkafka fetches ahead is divided; it is told before any are assigned.
const PARTITIONS: usize = 64;

/// Settings of a [`KafkaEventConsumer`](super::KafkaEventConsumer). `Debug` hides the values of properties.
///
/// Settings are plain text and numbers; [`KafkaEventConsumer::from_config`](super::KafkaEventConsumer::from_config) checks them and
/// names the setting that is wrong.
///
/// ```
/// use omni_box_core::ErrorKind;
/// use omni_box_kafka::{KafkaConsumerConfig, KafkaEventConsumer};
///
/// let config = KafkaConsumerConfig::new("kafka-1:9092,kafka-2:9092", "shipping", ["orders", "^returns[.].*"])
///     .drain_deadline(std::time::Duration::from_secs(60))
///     .property("security.protocol", "ssl");
/// assert!(KafkaEventConsumer::from_config(config).is_ok());
///
/// let skips = KafkaConsumerConfig::new("kafka-1:9092", "shipping", ["orders"]).property("enable.auto.commit", "true");
/// let refused = KafkaEventConsumer::from_config(skips).unwrap_err();
/// assert_eq!(refused.kind(), ErrorKind::Misconfigured);
/// assert!(refused.to_string().starts_with("property enable.auto.commit must be false"));
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct KafkaConsumerConfig {
    servers: String,
    group: String,
    pub(super) topics: Vec<String>,
    pub(super) drain_deadline: Duration,
    pub(super) window: usize,
    buffer_bytes: usize,
    pub(super) ends_when_refused: bool,
    properties: Properties,
}

impl KafkaConsumerConfig {
    /// Servers as `host:port`, separated by commas; the group; its topics. A topic that begins with `^` is a regular expression for names.
    pub fn new<T: Into<String>>(
        bootstrap_servers: impl Into<String>,
        group: impl fmt::Display,
        topics: impl IntoIterator<Item = T>,
    ) -> Self {
        Self {
            servers: bootstrap_servers.into(),
            group: group.to_string(),
            topics: topics.into_iter().map(Into::into).collect(),
            drain_deadline: Duration::from_secs(45),
            window: 1000,
            buffer_bytes: 64 << 20,
            ends_when_refused: false,
            properties: Properties::default(),
        }
    }

    /// How long a partition that is revoked may finish what it has begun; 45 s unless set, more than a handler may take by default.
    /// Meanwhile librdkafka reads nothing of the partitions that stay: with slow handlers and many rebalances, a shorter one helps.
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain_deadline = deadline;
        self
    }

    /// Messages of one partition that wait to be read; 1000 unless set. The partition is not asked for more while they do.
    pub fn window(mut self, messages: usize) -> Self {
        self.window = messages;
        self
    }

    /// Memory for messages of all partitions together, in bytes; 64 MiB unless set, at least 1 MiB.
    ///
    /// - Half of it is for messages that were delivered and are not done: it is divided evenly over the partitions that are assigned. A
    ///   partition that has used its share up is not fed until some of its messages are done. Each may hold one message, however large.
    /// - The other half is for what librdkafka fetches ahead: each partition is fetched while less than a 64th of this half waits. One
    ///   fetch of a partition brings up to 1 MiB (`fetch.message.max.bytes`), or one batch of any size.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// Whether a log-in that a broker refuses ends the consumer with [`Unauthorized`](ErrorKind::Unauthorized); `false` unless set. It is
    /// logged as a warning once and waited out, as passwords and certificates are changed while programs run.
    pub fn end_when_refused(mut self, end: bool) -> Self {
        self.ends_when_refused = end;
        self
    }

    /// Any librdkafka property, such as `security.protocol`; those that would break the promises are refused when the
    /// consumer is built.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.set(name, value);
        self
    }

    /// The librdkafka configuration this stands for.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) naming what breaks a promise.
    pub fn client_config(&self) -> Result<ClientConfig> {
        check_servers(&self.servers)?;
        self.consumer_group()?;
        if self.topics.is_empty() {
            return wrong("topics need at least one name".to_owned());
        }
        for topic in &self.topics {
            // librdkafka takes what begins so for a pattern
            let checked = match topic.strip_prefix('^') {
                Some(pattern) if pattern.contains('\0') => {
                    Err(Error::invalid("topic pattern contains a NUL character"))
                }
                Some(_) => Ok(()),
                None => check_topic(topic),
            };
            if let Err(error) = checked {
                return wrong(format!("topics: {topic:?}: {error}"));
            }
        }
        // a channel of more panics
        if !(1..=Semaphore::MAX_PERMITS).contains(&self.window) {
            return wrong(format!(
                "window is {}, needs 1 to {} messages",
                self.window,
                Semaphore::MAX_PERMITS
            ));
        }
        if self.buffer_bytes < LEAST_BYTES {
            return wrong(format!("buffer_bytes is {}, needs {LEAST_BYTES} or more", self.buffer_bytes));
        }
        let mut config = self.properties.over(&DEFAULTS, &GUARDED)?;
        if self.properties.get(AHEAD).is_none() {
            config.set(AHEAD, self.kbytes_ahead().to_string());
        }
        config.set("bootstrap.servers", &self.servers).set("group.id", &self.group);
        if self.drain_deadline.saturating_add(MARGIN) > self.max_poll_interval() {
            return wrong(format!(
                "drain deadline must be at least {MARGIN:?} shorter than max.poll.interval.ms"
            ));
        }
        Ok(config)
    }

    /// What all partitions together may hold that is not done.
    pub(super) fn held_bytes(&self) -> usize {
        self.buffer_bytes / 2
    }

    /// What librdkafka may fetch ahead of one partition, in KiB, as far as it takes such a number.
    fn kbytes_ahead(&self) -> usize {
        (self.buffer_bytes / 2 / PARTITIONS / 1024).clamp(1, 2_097_151)
    }

    /// Whether the user wants librdkafka's lines for debugging.
    pub(super) fn debugs(&self) -> bool {
        self.properties.get("debug").is_some_and(|contexts| !contexts.trim().is_empty())
    }

    /// The group, parsed.
    pub(super) fn consumer_group(&self) -> Result<ConsumerGroup> {
        ConsumerGroup::new(&self.group).or_else(|error| wrong(format!("group {:?}: {error}", self.group)))
    }

    pub(super) fn max_poll_interval(&self) -> Duration {
        let set = self.properties.get("max.poll.interval.ms").and_then(|millis| millis.trim().parse().ok());
        Duration::from_millis(set.unwrap_or(300_000))
    }
}

fn wrong<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorKind::Misconfigured, message))
}

#[cfg(test)]
mod tests {
    use omni_box_core::EventConsumer;

    use super::*;
    use crate::KafkaEventConsumer;

    fn config() -> KafkaConsumerConfig {
        KafkaConsumerConfig::new("localhost:9092", "g", ["t"])
    }

    fn refused(config: KafkaConsumerConfig, name: &str) {
        let error = KafkaEventConsumer::from_config(config).map(drop).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{name}: {error:?}");
        assert!(error.chain().contains(name), "{name}: {error:?}");
    }

    #[test]
    fn tokens_without_a_source_are_refused() {
        let by_token =
            config().property("security.protocol", "sasl_ssl").property("sasl.mechanism", "OAUTHBEARER");
        refused(by_token, "which needs a source of tokens");
    }

    #[test]
    fn a_property_that_breaks_a_promise_is_refused_by_name() {
        for (name, value) in [
            ("enable.auto.commit", "true"),
            ("enable.auto.offset.store", "true"),
            ("auto.offset.reset", "latest"),
            ("enable.partition.eof", "true"),
            ("isolation.level", "read_uncommitted"),
            ("check.crcs", "true"),
            ("group.protocol", "consumer"),
            ("group.id", "x"),
            ("bootstrap.servers", "x:1"),
            ("metadata.broker.list", "x:1"),
            // refused by librdkafka
            ("rebalance_cb", "1"),
            ("consume_cb", "1"),
            ("offset_commit_cb", "1"),
            ("background_event_cb", "1"),
            ("default_topic_conf", "1"),
            ("no.such", "x"),
            ("max.poll.interval.ms", "18446744073709551615"),
        ] {
            refused(config().property(name, value), name);
        }
        assert!(KafkaEventConsumer::from_config(config().property("client.rack", "a")).is_ok());
    }

    #[tokio::test]
    async fn two_protocols_of_assignment_cannot_be_mixed() {
        let mixed = config().property("partition.assignment.strategy", "cooperative-sticky,range");
        let error = KafkaEventConsumer::from_config(mixed).unwrap().start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_name() {
        refused(config().property("max.poll.interval.ms", "10000"), "drain deadline");
        refused(config().drain_deadline(Duration::MAX), "drain deadline");
        refused(config().window(0), "window");
        refused(config().window(Semaphore::MAX_PERMITS + 1), "window");
        refused(config().buffer_bytes(LEAST_BYTES - 1), "buffer_bytes");
        assert!(KafkaEventConsumer::from_config(config().buffer_bytes(usize::MAX)).is_ok());
        refused(config().property("sasl.password", "hush\0"), "sasl.password");
        refused(KafkaConsumerConfig { servers: "x\0".to_owned(), ..config() }, "bootstrap.servers");
        assert!(config().window(Semaphore::MAX_PERMITS).client_config().is_ok());
    }

    #[test]
    fn a_group_is_text_and_its_rule_is_named() {
        let group = |group: &str| KafkaConsumerConfig::new("localhost:9092", group, ["t"]);
        refused(group(""), "group \"\": consumer group has 0 characters, needs 1 to 255");
        refused(group("a\nb"), "group \"a\\nb\": consumer group has a control character");
        let parsed = KafkaConsumerConfig::new(
            "localhost:9092",
            ConsumerGroup::new("g").unwrap(),
            vec!["t".to_owned()],
        );
        assert_eq!(KafkaEventConsumer::from_config(parsed).unwrap().consumer_group().unwrap().as_str(), "g");
    }

    #[test]
    fn topics_are_names_of_kafkas_or_patterns() {
        let topics = |topics: &[&str]| KafkaConsumerConfig {
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            ..config()
        };
        refused(topics(&[]), "topics need at least one");
        for (wrong, rule) in [
            ("", "topic name is empty"),
            ("a\0b", "topic name is not one of Kafka's: at most 249"),
            ("a b", "topic name is not one of Kafka's: at most 249"),
            ("..", "topic name is not one of Kafka's: at most 249"),
            ("^a\0", "topic pattern contains a NUL"),
        ] {
            refused(topics(&["fine", wrong]), &format!("topics: {wrong:?}: {rule}"));
        }
        assert!(topics(&["a.b-c_D9", "^orders[.].*"]).client_config().is_ok());
    }
}
