//! The way to Kafka: each change is logged once, and an error that will not pass ends the consumer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use omni_box_core::{Error, ErrorKind};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::error::kind;

#[derive(Default)]
pub(super) struct Connection {
    is_down: AtomicBool,
    is_refused: AtomicBool,
    misses_a_topic: AtomicBool,
    /// The last failure's text, such as that of a handshake.
    failure: Mutex<Option<String>>,
}

impl Connection {
    /// Notes that a broker has answered.
    pub(super) fn reached(&self) {
        self.is_refused.store(false, Ordering::Relaxed);
        if self.is_down.swap(false, Ordering::AcqRel) {
            tracing::info!("kafka is reachable again");
        }
    }

    /// Notes that a topic has partitions.
    pub(super) fn found_a_topic(&self) {
        self.misses_a_topic.store(false, Ordering::Relaxed);
    }

    /// Notes that a topic is missing.
    pub(super) fn missed_a_topic(&self, reason: &str) {
        if self.misses_a_topic.swap(true, Ordering::AcqRel) {
            tracing::debug!(reason, "kafka consumer");
        } else {
            tracing::warn!(reason, "a topic is missing, waiting for it");
        }
    }

    /// Keeps a failure's text, for the log line that says that no broker can be reached.
    pub(super) fn keep(&self, error: &KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }

    /// Logs what librdkafka reports, and returns an error for the application if waiting cannot help.
    pub(super) fn judge(&self, error: &KafkaError) -> Option<Error> {
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            tracing::error!(%error, "kafka consumer ended for good");
            return Some(Error::new(ErrorKind::Fatal, "consumer ended for good").with_source(error.clone()));
        }
        match error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown) {
            RDKafkaErrorCode::AllBrokersDown => {
                if !self.is_down.swap(true, Ordering::AcqRel) {
                    let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    tracing::warn!(failure, "kafka cannot be reached, waiting for it");
                }
            }
            RDKafkaErrorCode::PollExceeded => {
                tracing::warn!("partitions were held longer than max.poll.interval.ms and are lost");
            }
            code if matches!(kind(code), ErrorKind::Unauthorized | ErrorKind::Misconfigured) => {
                if !self.is_refused.swap(true, Ordering::AcqRel) {
                    tracing::error!(%error, "kafka refuses this consumer");
                    let refused = Error::new(kind(code), "kafka refuses this consumer");
                    return Some(refused.with_source(error.clone()));
                }
            }
            _ => tracing::debug!(%error, "kafka consumer"),
        }
        None
    }
}
