//! The way to Kafka: each change is logged once, and an error that will not pass ends the consumer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use omni_box_core::{Error, ErrorKind};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::error::kind;

/// How long no log-in was refused before this counts as over: another broker may answer meanwhile.
const CALM: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct Connection {
    /// A log-in that is refused ends the consumer.
    ends_when_refused: bool,
    is_down: AtomicBool,
    is_refused: AtomicBool,
    /// When a broker has last refused a log-in.
    no_log_in: Mutex<Option<Instant>>,
    misses_a_topic: AtomicBool,
    /// The last failure's text, such as that of a handshake.
    failure: Mutex<Option<String>>,
}

impl Connection {
    pub(super) fn new(ends_when_refused: bool) -> Self {
        Self { ends_when_refused, ..Self::default() }
    }

    /// Notes that a broker has answered.
    pub(super) fn reached(&self) {
        self.is_refused.store(false, Ordering::Relaxed);
        let mut no_log_in = self.no_log_in.lock().unwrap_or_else(PoisonError::into_inner);
        if no_log_in.is_some_and(|last| last.elapsed() >= CALM) {
            *no_log_in = None;
            tracing::info!("kafka accepts this consumer's log-in again");
        }
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
        // the first is told by that line itself; the end of a partition is reached all the time
        let is_none = [RDKafkaErrorCode::AllBrokersDown, RDKafkaErrorCode::PartitionEOF].map(Some);
        if !is_none.contains(&error.rdkafka_error_code()) {
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
            code if !self.ends_when_refused && is_log_in(code) => {
                let mut no_log_in = self.no_log_in.lock().unwrap_or_else(PoisonError::into_inner);
                if no_log_in.replace(Instant::now()).is_none() {
                    let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    tracing::warn!(failure, %error, "kafka refuses this consumer's log-in, waiting for it");
                }
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

/// Whether a broker refuses who logs in, which changes with its passwords and certificates.
fn is_log_in(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::UnsupportedSASLMechanism
            | RDKafkaErrorCode::IllegalSASLState
    )
}

#[cfg(test)]
mod tests {
    use omni_box_harness::Log;

    use super::*;

    #[test]
    fn the_end_of_a_partition_is_not_why_no_broker_can_be_reached() {
        let log = Log::listen();
        let connection = Connection::new(false);
        connection.keep(&KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), "connection refused");
        connection.keep(&KafkaError::Global(RDKafkaErrorCode::PartitionEOF), "reached end of partition");
        connection.judge(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown));
        let lines = log.events();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].get("failure").map(String::as_str), Some("connection refused"));
    }
}
