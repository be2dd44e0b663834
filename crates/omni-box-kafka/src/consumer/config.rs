//! Settings of the consumer.

use std::time::Duration;

use omni_box_core::{ConsumerGroup, Error, ErrorKind, Result};
use rdkafka::ClientConfig;

use crate::config::{Guarded, Properties, check_servers};

const DEFAULTS: [(&str, &str); 14] = [
    ("client.id", "omni-box-consumer"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // where to begin is decided at assignment; later, an offset out of range must not jump in silence
    ("auto.offset.reset", "error"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("isolation.level", "read_committed"),
    ("max.poll.interval.ms", "300000"),
    // memory ahead of the window; a queue that is full is looked at again soon
    ("queued.min.messages", "10000"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.queue.backoff.ms", "20"),
    ("socket.nagle.disable", "true"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.max.ms", "2000"),
    // a topic that is created later is found soon
    ("topic.metadata.refresh.interval.ms", "10000"),
];

const SKIPS: &str = "messages that are not done would be skipped";

const GUARDED: [Guarded; 8] = [
    Guarded { name: "enable.auto.commit", only: &["false"], why: SKIPS },
    Guarded { name: "enable.auto.offset.store", only: &["false"], why: SKIPS },
    Guarded {
        name: "auto.offset.reset",
        only: &[],
        why: "a new group starts at the beginning, and an offset out of range is an error",
    },
    Guarded { name: "enable.partition.eof", only: &["false"], why: "the end of a partition is no event" },
    Guarded { name: "group.protocol", only: &["classic"], why: "hand-over rests on the classic protocol" },
    Guarded { name: "group.id", only: &[], why: "give it to KafkaConsumerConfig::new" },
    Guarded { name: "bootstrap.servers", only: &[], why: "give them to KafkaConsumerConfig::new" },
    Guarded { name: "metadata.broker.list", only: &[], why: "give the servers to KafkaConsumerConfig::new" },
];

/// Least time between the drain deadline and the moment when Kafka takes the partitions away.
const MARGIN: Duration = Duration::from_secs(5);

/// Settings of a [`KafkaEventConsumer`](super::KafkaEventConsumer). `Debug` hides the values of properties.
#[derive(Debug, Clone)]
#[must_use]
pub struct KafkaConsumerConfig {
    servers: String,
    group: ConsumerGroup,
    pub(super) topics: Vec<String>,
    pub(super) drain_deadline: Duration,
    pub(super) window: usize,
    properties: Properties,
}

impl KafkaConsumerConfig {
    /// Servers as `host:port`, separated by commas; the group; its topics.
    pub fn new<T: Into<String>>(
        bootstrap_servers: impl Into<String>,
        group: ConsumerGroup,
        topics: impl IntoIterator<Item = T>,
    ) -> Self {
        Self {
            servers: bootstrap_servers.into(),
            group,
            topics: topics.into_iter().map(Into::into).collect(),
            drain_deadline: Duration::from_secs(45),
            window: 1000,
            properties: Properties::default(),
        }
    }

    /// How long a partition that is revoked may finish what it has begun; 45 s unless set, more than a handler may take by default.
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain_deadline = deadline;
        self
    }

    /// Messages of one partition that wait to be read; 1000 unless set. The partition is not asked for more while they do.
    pub fn window(mut self, messages: usize) -> Self {
        self.window = messages;
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
        let wrong = |message: &'static str| Err(Error::new(ErrorKind::Misconfigured, message));
        check_servers(&self.servers)?;
        if self.topics.is_empty() || self.topics.iter().any(String::is_empty) {
            return wrong("topics need at least one name, and no name is empty");
        }
        if self.window == 0 {
            return wrong("window is 0, needs at least 1 message");
        }
        let mut config = self.properties.over(&DEFAULTS, &GUARDED)?;
        config.set("bootstrap.servers", &self.servers).set("group.id", self.group.as_str());
        if self.drain_deadline + MARGIN > self.max_poll_interval() {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                format!("drain deadline must be at least {MARGIN:?} shorter than max.poll.interval.ms"),
            ));
        }
        Ok(config)
    }

    pub(super) fn max_poll_interval(&self) -> Duration {
        let set = self.properties.get("max.poll.interval.ms").and_then(|millis| millis.parse().ok());
        Duration::from_millis(set.unwrap_or(300_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> KafkaConsumerConfig {
        KafkaConsumerConfig::new("localhost:9092", ConsumerGroup::new("g").unwrap(), ["t"])
    }

    #[test]
    fn what_breaks_a_promise_is_refused_by_name() {
        let check = |config: KafkaConsumerConfig, name: &str| {
            let error = config.client_config().expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
            assert!(error.to_string().contains(name), "{error}");
        };
        check(config().property("enable.auto.commit", "true"), "enable.auto.commit");
        check(config().property("auto.offset.reset", "latest"), "auto.offset.reset");
        check(config().property("max.poll.interval.ms", "10000"), "drain deadline");
        check(config().window(0), "window");
        check(KafkaConsumerConfig { topics: Vec::new(), ..config() }, "topics");
        assert!(config().property("security.protocol", "ssl").client_config().is_ok());
    }
}
