//! The publisher: takes events in order, reports each once.

mod config;
mod context;
mod dispatch;
mod record;
mod topic;
mod topics;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{
    Error, ErrorKind, Event, EventConverter, EventPublisher, FailureClass, OutboxEvent, Reporter, Result,
    SendOrder,
};
use rdkafka::producer::{Producer, PurgeConfig};
use tokio::time::{Instant, timeout};

pub use config::{KafkaPublisherConfig, RecordTime};
pub use context::{DeliveryContext, KafkaProducer};
use dispatch::{Dispatcher, Offer, ROOM_POLL, broken, is_own};
use topics::{ASK_TIMEOUT, Topics};

use crate::config::check_topic;
use crate::error::classified;

/// How long a purge waits for the reports of what it gave up.
const PURGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end of a replaced producer is waited for.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);

type Factory = Box<dyn Fn() -> Result<KafkaProducer> + Send + Sync>;

/// Publishes events to Kafka in order, many in flight at once.
///
/// - Messages carry the headers of [`message_headers`](omni_box_core::message_headers) and the converter's, the partition key as key
///   (null without one), and the time of sending.
/// - What can fail for one message alone is checked before it is sent. That is the topic's name and existence, its `max.message.bytes`
///   (against the size before compression), and a key where the topic is compacted. It is asked once a minute and topic, and again before an
///   event is failed for good by it.
/// - A topic whose room is used up has a queue of its own, and holds no other topic up. That is so for a small limit, or a batch that its
///   broker refused. [`submit`](EventPublisher::submit) returns while events wait there.
/// - A topic may refuse this user's messages. The first of them ends the producer, and what is in flight is given back. From then on its events are [`TopicUnavailable`](ErrorKind::TopicUnavailable) without being sent. After 1 s, and then each time
///   twice as long up to 60 s, one of them is sent by a producer of its own. A producer of the caller's cannot be replaced: see [`new`](Self::new).
/// - After a failure that is not one event's own nothing more is sent, and [`submit`](EventPublisher::submit) reports
///   [`Unavailable`](ErrorKind::Unavailable), until [`purge`](EventPublisher::purge) or [`check`](EventPublisher::check) was called. A relay that
///   sends again must begin at the first event that was not delivered.
/// - Dropping it gives up what is in flight. Its connections end on a thread of their own; the drop does not wait for it.
///
/// ```no_run
/// use omni_box_core::{EnvelopeEventConverter, EventPublisher};
/// use omni_box_kafka::{KafkaEventPublisher, KafkaPublisherConfig};
///
/// # async fn run() -> omni_box_core::Result<()> {
/// let publisher = KafkaEventPublisher::from_config(KafkaPublisherConfig::new("localhost:9092"), EnvelopeEventConverter)?;
/// publisher.check().await?;
/// // a relay takes the publisher, and submits what the outbox holds
/// # Ok(())
/// # }
/// ```
pub struct KafkaEventPublisher {
    factory: Option<Arc<Factory>>,
    session: Mutex<Option<Arc<KafkaProducer>>>,
    /// One at a time replaces the producer.
    renewing: tokio::sync::Mutex<()>,
    /// Sends to topics that refused a message.
    side: Mutex<Option<Arc<KafkaProducer>>>,
    dispatcher: Arc<Dispatcher>,
    /// Unknown of a producer that was not made from settings of ours.
    client_id: Option<String>,
}

impl KafkaEventPublisher {
    /// Publishes with producers of its own.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) when a property breaks a promise or librdkafka refuses it. The broker is not asked yet.
    pub fn from_config(config: KafkaPublisherConfig, converter: impl EventConverter) -> Result<Self> {
        let first = config.producer()?;
        let (topics, batch_bytes) = (Topics::new(&config.admin_config()?)?, config.batch_bytes());
        let (record_time, client_id) = (config.record_time, config.client_id());
        let mut publisher = Self::with_factory(move || config.producer(), converter);
        publisher.know(|known| {
            known.topics = Arc::new(topics);
            known.batch_bytes = batch_bytes;
            known.record_time = record_time;
        });
        publisher.client_id = Some(client_id);
        *publisher.session() = Some(adopt(first));
        Ok(publisher)
    }

    /// Publishes with producers that `factory` makes: a fatal error ends a producer, not the publisher.
    /// [`KafkaPublisherConfig::client_config`] has the settings on which the promises rest.
    pub fn with_factory(
        factory: impl Fn() -> Result<KafkaProducer> + Send + Sync + 'static,
        converter: impl EventConverter,
    ) -> Self {
        let dispatcher = Dispatcher::new(Arc::new(converter));
        Self {
            factory: Some(Arc::new(Box::new(factory))),
            session: Mutex::new(None),
            renewing: tokio::sync::Mutex::default(),
            side: Mutex::new(None),
            dispatcher: Arc::new(dispatcher),
            client_id: None,
        }
    }

    /// Changes what the dispatcher knows, before anything is sent.
    fn know(&mut self, change: impl FnOnce(&mut Dispatcher)) {
        let mut dispatcher = self.dispatcher.anew();
        change(&mut dispatcher);
        self.dispatcher = Arc::new(dispatcher);
    }

    /// Publishes with a producer of the caller's. It ends with [`Fatal`](ErrorKind::Fatal) when the producer does. A purge with messages in
    /// flight can cause that, and so can a topic that refuses this user's messages. `enable.gapless.guarantee`, on which the order of events
    /// rests, ends a producer at its first message that is not delivered. [`with_factory`](Self::with_factory) takes settings of the caller's
    /// as well and goes on with a new producer.
    pub fn new(producer: KafkaProducer, converter: impl EventConverter) -> Self {
        let mut publisher =
            Self::with_factory(|| Err(Error::new(ErrorKind::Internal, "no factory")), converter);
        publisher.factory = None;
        *publisher.session() = Some(adopt(producer));
        publisher
    }

    /// Reads the topics' limits with these settings, where the producer is not made from them.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) as in [`from_config`](Self::from_config).
    pub fn describe_topics_with(mut self, config: &KafkaPublisherConfig) -> Result<Self> {
        let topics = Topics::new(&config.admin_config()?)?;
        self.know(|known| {
            known.topics = Arc::new(topics);
            known.batch_bytes = config.batch_bytes();
        });
        Ok(self)
    }

    /// Which time its records carry, where it is not made from a configuration.
    #[must_use]
    pub fn record_time(mut self, time: RecordTime) -> Self {
        self.know(|known| known.record_time = time);
        self
    }

    fn session(&self) -> MutexGuard<'_, Option<Arc<KafkaProducer>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The producer, made if there is none.
    async fn producer(&self) -> Result<Arc<KafkaProducer>> {
        if let Some(producer) = self.session().clone() {
            return Ok(producer);
        }
        let _one = self.renewing.lock().await;
        if let Some(producer) = self.session().clone() {
            return Ok(producer);
        }
        let Some(factory) = self.factory.clone() else {
            return Err(Error::new(ErrorKind::Fatal, "producer is gone"));
        };
        let producer = adopt(blocking(move || factory()).await??);
        *self.session() = Some(Arc::clone(&producer));
        Ok(producer)
    }

    /// Gives up everything in flight and leaves a session that can be used.
    async fn renew(&self) {
        let _one = self.renewing.lock().await;
        let Some(producer) = self.session().clone() else { return };
        let context = Arc::clone(producer.context());
        context.break_off();
        self.dispatcher.give_up();
        let side = self.side().take();
        let given_up: Vec<_> = [Some(&producer), side.as_ref()].into_iter().flatten().collect();
        for producer in &given_up {
            producer.context().break_off();
            give_up(producer);
        }
        let deadline = Instant::now() + PURGE_TIMEOUT;
        let outstanding = || given_up.iter().map(|producer| producer.context().outstanding()).sum::<usize>();
        while outstanding() > 0 && Instant::now() < deadline {
            let _ = timeout(ROOM_POLL, context.changed.notified()).await;
        }
        let left = outstanding();
        if left > 0 {
            tracing::error!(left, "kafka producer did not report everything that was purged");
        }
        if self.factory.is_some() {
            *self.session() = None;
            // ends the producer's connections and threads, which blocks
            let ended = tokio::task::spawn_blocking(move || drop((producer, side)));
            if timeout(DROP_TIMEOUT, ended).await.is_err() {
                tracing::warn!("kafka producer takes long to end; it has nothing left to send");
            }
        } else if producer.client().fatal_error().is_none() {
            context.mend();
        }
    }

    /// Takes one event.
    async fn submit_one(
        &self,
        producer: &Arc<KafkaProducer>,
        event: &Arc<OutboxEvent>,
        reporter: &Reporter,
        began: std::time::Instant,
    ) -> Result<()> {
        match self.dispatcher.offer(producer, event, reporter, began).await? {
            Offer::Taken => Ok(()),
            Offer::Probe => {
                let probed = match self.side_producer(producer).await {
                    Ok(side) => self.dispatcher.probe(&side, event, reporter, began).await,
                    Err(error) => Err(Error::new(ErrorKind::TopicUnavailable, error.chain())),
                };
                if probed.is_err()
                    && let Ok(topic) = self.dispatcher.topics.get(event.topic())
                {
                    topic.not_probed(event.topic());
                }
                probed
            }
        }
    }

    /// A producer for messages to topics that refused the last one: it ends with each refusal, and everything in flight with it.
    async fn side_producer(&self, main: &Arc<KafkaProducer>) -> Result<Arc<KafkaProducer>> {
        let Some(factory) = self.factory.clone() else { return Ok(Arc::clone(main)) };
        let current = self.side().clone();
        if let Some(side) = current.filter(|side| !side.context().is_broken()) {
            return Ok(side);
        }
        let side = adopt(blocking(move || factory()).await??);
        let old = self.side().replace(Arc::clone(&side));
        // ends its threads, which blocks
        tokio::task::spawn_blocking(move || drop(old));
        Ok(side)
    }

    fn side(&self) -> MutexGuard<'_, Option<Arc<KafkaProducer>>> {
        self.side.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask_broker(&self) -> Result<()> {
        let producer = self.producer().await?;
        let topic = self.dispatcher.topics.any();
        let asked = Arc::clone(&producer);
        let answer =
            blocking(move || asked.client().fetch_metadata(topic.as_deref(), ASK_TIMEOUT).map(drop)).await?;
        let context = producer.context();
        match (answer, context.refused()) {
            (Ok(()), _) => {
                context.reached();
                Ok(())
            }
            (Err(error), Some(reason)) => {
                Err(Error::new(ErrorKind::Unauthorized, format!("kafka refuses this publisher: {reason}"))
                    .with_source(error))
            }
            (Err(error), None) => {
                let unreachable = classified("kafka cannot be reached", error.clone());
                // the error itself says no more than that a broker is away
                let Some(failure) = context.last_failure() else { return Err(unreachable) };
                let message = format!("kafka cannot be reached: {failure}");
                Err(Error::new(unreachable.kind(), message).with_source(error))
            }
        }
    }
}

#[async_trait]
impl EventPublisher for KafkaEventPublisher {
    fn send_order(&self) -> SendOrder {
        SendOrder::Ordered
    }

    fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        let began = std::time::Instant::now();
        let (producer, learned) = match self.producer().await {
            Ok(producer) => {
                let names = events.iter().map(|event| event.topic());
                let names: BTreeSet<_> = names.filter(|name| check_topic(name).is_ok()).collect();
                let learned = if producer.context().is_broken() {
                    Err(broken())
                } else {
                    self.dispatcher.topics.learn(&producer, names).await
                };
                (Some(producer), learned)
            }
            Err(error) => (None, Err(error)),
        };
        let (Some(producer), Ok(())) = (&producer, &learned) else {
            // nothing of these is sent, so nothing of those before them may be missing either
            if let Some(producer) = &producer {
                producer.context().break_off();
            }
            let error = learned.err().unwrap_or_else(broken);
            let (kind, message) = (infrastructure(error.kind()), error.chain());
            for event in &events {
                reporter.report(event.id(), Err(Error::new(kind, message.clone())));
            }
            return;
        };
        for event in &events {
            if let Err(error) = self.submit_one(producer, event, reporter, began).await {
                if !is_own(&error) {
                    producer.context().break_off();
                }
                reporter.report(event.id(), Err(error));
            }
        }
    }

    async fn purge(&self) {
        self.renew().await;
    }

    async fn check(&self) -> Result<()> {
        let current = self.session().clone();
        if let Some(producer) = current {
            let (broken, fatal) = (producer.context().is_broken(), producer.client().fatal_error());
            let refused_by = producer.context().refused_by();
            drop(producer);
            if broken || fatal.is_some() {
                self.renew().await;
            }
            if let (Some((_, reason)), None) = (fatal, &self.factory) {
                return Err(Error::new(ErrorKind::Fatal, ended(&reason, refused_by.as_deref())));
            }
        }
        self.ask_broker().await
    }
}

impl Drop for KafkaEventPublisher {
    fn drop(&mut self) {
        let producer = self.session.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let side = self.side().take();
        self.dispatcher.give_up();
        let dispatcher = Arc::clone(&self.dispatcher);
        // their own threads are waited for, which would hold up a runtime; where no thread can be had it does
        let _ = std::thread::Builder::new()
            .name("omni-box-kafka-end".to_owned())
            .spawn(move || drop((producer, side, dispatcher)));
    }
}

impl fmt::Debug for KafkaEventPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaEventPublisher")
            .field("replaceable", &self.factory.is_some())
            .finish_non_exhaustive()
    }
}

/// Lets the context purge the producer when an event fails.
fn adopt(producer: KafkaProducer) -> Arc<KafkaProducer> {
    let producer = Arc::new(producer);
    producer.context().watch(&producer);
    producer
}

pub(super) fn give_up(producer: &KafkaProducer) {
    let _gate = producer.context().gate();
    // a broker's thread may be busy, such as with the resolution of a name
    producer.purge(PurgeConfig::default().queue().inflight().non_blocking());
}

/// Why a producer of the caller's has ended, and what goes on instead.
fn ended(reason: &str, refused_by: Option<&str>) -> String {
    let cause = refused_by.map_or_else(String::new, |topic| {
        format!(
            ". Topic {topic} refuses messages of this user, and enable.gapless.guarantee, on which the order of events rests, ends a \
             producer at its first message that is not delivered"
        )
    });
    format!(
        "producer ended for good: {reason}{cause}. The producer was given to KafkaEventPublisher::new and cannot be replaced: \
         from_config and with_factory make a new one and go on"
    )
}

/// A setting that turns out wrong while events wait is not the fault of an event.
fn infrastructure(kind: ErrorKind) -> ErrorKind {
    if kind.class() == FailureClass::Infrastructure { kind } else { ErrorKind::Unavailable }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::new(ErrorKind::Internal, "blocking call to kafka panicked").with_source(error)
    })
}
