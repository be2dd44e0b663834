//! What happens when librdkafka says what became of a message.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use omni_box_core::broker::Placed;
use omni_box_core::{Error, ErrorKind, EventId, FailureClass, Reporter};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{ProducerContext, ThreadedProducer};
use tokio::sync::Notify;

use super::topic::Topic;
use crate::error::kind;

/// The producer that a [`KafkaEventPublisher`](super::KafkaEventPublisher) sends with.
///
/// ```no_run
/// use omni_box_core::RawEventConverter;
/// use omni_box_kafka::{KafkaEventPublisher, KafkaProducer, KafkaPublisherConfig};
///
/// # fn run() -> omni_box_core::Result<()> {
/// let producer: KafkaProducer = KafkaPublisherConfig::new("localhost:9092").producer()?;
/// let publisher = KafkaEventPublisher::new(producer, RawEventConverter);
/// # Ok(())
/// # }
/// ```
pub type KafkaProducer = ThreadedProducer<DeliveryContext>;

/// Carries delivery reports from librdkafka to the publisher. A producer that the caller makes needs a context of its own.
///
/// ```no_run
/// use omni_box_kafka::{DeliveryContext, KafkaProducer, KafkaPublisherConfig};
/// use rdkafka::config::FromClientConfigAndContext;
///
/// # fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let config = KafkaPublisherConfig::new("localhost:9092").client_config()?;
/// let producer = KafkaProducer::from_config_and_context(&config, DeliveryContext::new())?;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct DeliveryContext {
    /// Messages handed to librdkafka and not yet reported.
    outstanding: AtomicUsize,
    /// An event failed for a reason that is not its own: nothing behind it may be sent any more.
    broken: AtomicBool,
    broker_down: AtomicBool,
    refused: Mutex<Option<String>>,
    /// The topic that refused a message of this user last.
    refused_by: Mutex<Option<String>>,
    /// What went wrong last on the way to a broker, such as a handshake.
    failure: Mutex<Option<String>>,
    /// Held while a message is handed over, and while everything is purged.
    gate: Mutex<()>,
    producer: Mutex<Weak<KafkaProducer>>,
    /// A report came, or the state above changed.
    pub(super) changed: Notify,
}

impl DeliveryContext {
    /// A context for one producer.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Acquire)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub(super) fn gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watch(&self, producer: &Arc<KafkaProducer>) {
        *self.producer.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(producer);
    }

    /// Lets nothing more be sent, and purges what waits.
    pub(super) fn break_off(&self) {
        if self.broken.swap(true, Ordering::AcqRel) {
            return;
        }
        self.changed.notify_one();
        let producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(producer) = producer {
            // not on the thread that polls: should this be the last reference, the producer would wait for that thread
            std::thread::spawn(move || super::give_up(&producer));
        }
    }

    pub(super) fn mend(&self) {
        self.broken.store(false, Ordering::Release);
    }

    /// Counts a message before it is handed to librdkafka, whose report may come before the hand-over returns.
    pub(super) fn count(&self) {
        self.outstanding.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn discount(&self) {
        self.outstanding.fetch_sub(1, Ordering::AcqRel);
    }

    /// Why the broker refused us, if that is the last thing it said.
    pub(super) fn refused(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn refused_by(&self) -> Option<String> {
        self.refused_by.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn last_failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn reached(&self) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if self.broker_down.swap(false, Ordering::AcqRel) {
            tracing::info!("kafka is reachable again");
        }
    }
}

/// A message in flight.
#[derive(Debug)]
pub struct Delivery {
    pub(super) id: EventId,
    pub(super) reporter: Reporter,
    pub(super) topic: Arc<Topic>,
    /// Nothing else of the topic was in flight when it was sent, nor could join it.
    pub(super) alone: bool,
    /// Size as a batch of its own.
    pub(super) bytes: usize,
}

impl Delivery {
    fn judge(&self, error: &KafkaError) -> Error {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let (mut kind, mut message) = (kind(code), "message was not delivered");
        if kind.class() == FailureClass::Permanent && !self.alone {
            // the broker judges a whole batch: sent again one at a time, the guilty one is found
            (kind, message) = (ErrorKind::Unavailable, "message was part of a batch that was refused");
            self.topic.be_cautious();
            self.topic.expire();
        }
        if kind == ErrorKind::Closed {
            kind = ErrorKind::Unavailable;
        }
        if kind == ErrorKind::TopicUnavailable {
            self.topic.expire();
        }
        Error::new(kind, message).with_source(error.clone())
    }
}

/// Whether the topic refuses this user's messages.
fn is_refusal(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<KafkaError>());
    cause.and_then(KafkaError::rdkafka_error_code) == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
}

impl fmt::Debug for DeliveryContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryContext")
            .field("outstanding", &self.outstanding())
            .field("broken", &self.is_broken())
            .finish_non_exhaustive()
    }
}

impl ClientContext for DeliveryContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        crate::logging::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Fatal) => {
                tracing::error!(reason, "kafka producer ended for good");
                self.break_off();
            }
            Some(code) if kind(code) == ErrorKind::Unauthorized => {
                let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                if refused.replace(reason.to_owned()).is_none() {
                    tracing::error!(reason, "kafka refuses this publisher");
                }
            }
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                if !self.broker_down.swap(true, Ordering::AcqRel) {
                    let failure = self.last_failure();
                    tracing::warn!(reason, failure, "kafka cannot be reached, waiting for it");
                }
            }
            _ => {
                tracing::debug!(%error, reason, "kafka producer");
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
            }
        }
    }
}

impl ProducerContext for DeliveryContext {
    type DeliveryOpaque = Box<Delivery>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivery: Box<Delivery>) {
        let name = match result {
            Ok(message) | Err((_, message)) => message.topic(),
        };
        let result = match result {
            Ok(message) => {
                if self.broker_down.load(Ordering::Relaxed) {
                    self.reached();
                }
                Ok(Placed { partition: message.partition(), offset: message.offset() })
            }
            Err((error, _)) => Err(delivery.judge(error)),
        };
        if let Err(error) = &result
            && error.class() == FailureClass::Infrastructure
        {
            self.break_off();
        }
        match &result {
            Err(error) if is_refusal(error) => {
                *self.refused_by.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.to_owned());
                delivery.topic.refused(name);
            }
            Err(_) => delivery.topic.not_probed(name),
            Ok(_) => delivery.topic.accepted(name),
        }
        delivery.topic.settled(delivery.bytes);
        match result {
            Ok(placed) => delivery.reporter.delivered(delivery.id, placed),
            Err(error) => delivery.reporter.report(delivery.id, Err(error)),
        }
        self.discount();
        self.changed.notify_one();
    }
}
