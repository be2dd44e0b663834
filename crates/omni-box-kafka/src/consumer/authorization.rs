//! Topics that Kafka refuses to this consumer.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use omni_box_core::{Error, ErrorKind};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use super::position::list;
use super::questions::{ASK_TIMEOUT, Questions};
use super::slots::Slots;

/// How long the answers of a check count, of which some come only when a fetch was tried again.
const CHECK: Duration = Duration::from_secs(60);

/// Which topics this user may not read. The others are read meanwhile.
pub(super) struct Authorization {
    /// Topics that are subscribed to by name.
    named: BTreeSet<String>,
    marks: Mutex<Marks>,
}

#[derive(Default)]
struct Marks {
    /// Topics marked unauthorized. librdkafka reports a refusal once, and does not report its end.
    topics: BTreeSet<String>,
    /// When Kafka was last asked about all of them.
    checked: Option<Instant>,
    /// The application knows that every topic is refused.
    told: bool,
}

impl Authorization {
    /// Topics that begin with `^` are patterns.
    pub(super) fn new(topics: &[String]) -> Self {
        let named = topics.iter().filter(|topic| !topic.starts_with('^')).cloned().collect();
        Self { named, marks: Mutex::default() }
    }

    /// Marks a topic.
    pub(super) fn refuse(&self, topic: &str, error: &KafkaError) {
        if self.marks().topics.insert(topic.to_owned()) {
            tracing::error!(topic, %error, "kafka refuses this topic to this consumer, waiting for it");
        }
    }

    /// Marks the topic that librdkafka names in an error's text, "Subscribed topic not available: NAME: ...".
    pub(super) fn refuse_named_in(&self, reason: &str, error: &KafkaError) {
        // a topic's name has neither colon nor space
        match reason.split(": ").find(|part| self.named.contains(*part)) {
            Some(topic) => self.refuse(topic, error),
            None => tracing::warn!(reason, "kafka refuses a topic to this consumer"),
        }
    }

    /// Removes a topic's mark.
    pub(super) fn allow(&self, topic: &str) {
        if self.marks().topics.remove(topic) {
            tracing::info!(topic, "topic can be read again");
        }
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error for the application once every topic is refused, and Kafka has confirmed it.
    pub(super) fn judge<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        slots: &Slots<C>,
        questions: &Questions,
    ) -> Option<Error> {
        if !self.refuses_all(slots) {
            self.marks().told = false;
            return None;
        }
        if self.marks().told {
            return None;
        }
        let is_checked = self.marks().checked.is_some_and(|checked| checked.elapsed() < CHECK);
        if (!is_checked && !self.check(consumer, slots, questions)) || !self.refuses_all(slots) {
            return None;
        }
        self.marks().told = true;
        let refused = KafkaError::MessageConsumption(RDKafkaErrorCode::TopicAuthorizationFailed);
        let error = Error::new(ErrorKind::Unauthorized, "kafka refuses every topic to this consumer");
        Some(error.with_source(refused))
    }

    /// Whether every topic is marked that is subscribed to by name or has a partition here.
    fn refuses_all<C: ConsumerContext>(&self, slots: &Slots<C>) -> bool {
        if self.named.is_empty() && slots.is_empty() {
            return false;
        }
        let marks = self.marks();
        self.named.is_subset(&marks.topics) && slots.all_topics(|topic| marks.topics.contains(topic))
    }

    /// Asks Kafka again about every topic marked unauthorized. Topics still refused keep the mark; the others' partitions are resumed.
    /// Returns `false` if some topics could not be asked.
    fn check<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        slots: &Slots<C>,
        questions: &Questions,
    ) -> bool {
        let Some(began) = questions.may_ask() else { return false };
        let topics = self.marks().topics.clone();
        for topic in topics {
            let metadata = match consumer.fetch_metadata(Some(&topic), ASK_TIMEOUT) {
                Ok(metadata) => metadata,
                Err(error) => {
                    tracing::debug!(topic, %error, "topic cannot be asked for");
                    questions.asked(began);
                    return false;
                }
            };
            let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
            if metadata.topics().iter().any(|topic| topic.error() == Some(refused)) {
                continue;
            }
            self.marks().topics.remove(&topic);
            let here = list(&slots.started(&topic));
            // the fetch starts where it was, and reports a refusal again
            if let Err(error) = consumer.pause(&here).and_then(|()| consumer.resume(&here)) {
                tracing::warn!(topic, %error, "partitions cannot be fetched anew");
            }
        }
        questions.asked(began);
        self.marks().checked = Some(began);
        true
    }
}
