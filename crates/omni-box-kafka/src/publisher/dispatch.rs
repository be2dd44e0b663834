//! Hands events to librdkafka: what a topic has no room for waits in the topic's own queue, and holds no other topic up.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use omni_box_core::{
    Encoded, Error, ErrorKind, Event, EventConverter, FailureClass, OutboxEvent, Reporter, Result,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseRecord, Producer};
use tokio::time::timeout;

use super::config::{DEFAULT_BATCH_BYTES, RecordTime};
use super::context::{Delivery, KafkaProducer};
use super::record;
use super::topic::{Admission, Topic};
use super::topics::Topics;
use crate::config::check_topic;
use crate::error::classified;

/// Longest wait between two looks at a queue that is full.
pub(super) const ROOM_POLL: Duration = Duration::from_millis(50);

/// What all sends of a publisher share.
pub(super) struct Dispatcher {
    pub(super) converter: Arc<dyn EventConverter>,
    pub(super) topics: Arc<Topics>,
    pub(super) batch_bytes: usize,
    pub(super) record_time: RecordTime,
    queues: Mutex<Queues>,
}

#[derive(Default)]
struct Queues {
    by_topic: HashMap<String, VecDeque<Waiting>>,
    /// The task that sends what waits; one that finds another number here has ended.
    pump: Option<u64>,
    pumps: u64,
}

/// An event that waits for room.
struct Waiting {
    event: Arc<OutboxEvent>,
    /// None is a tombstone.
    body: Option<Vec<u8>>,
    /// None once they were handed over.
    headers: Option<OwnedHeaders>,
    bytes: usize,
    time: Option<i64>,
    reporter: Reporter,
}

/// An event as it is sent.
struct Ready<'a> {
    event: &'a OutboxEvent,
    body: Option<&'a [u8]>,
    headers: &'a mut Option<OwnedHeaders>,
    bytes: usize,
    /// Milliseconds since 1970; none is the time of sending.
    time: Option<i64>,
    reporter: &'a Reporter,
}

impl Waiting {
    fn ready(&mut self) -> Ready<'_> {
        let Self { event, body, headers, bytes, time, reporter } = self;
        Ready { event, body: body.as_deref(), headers, bytes: *bytes, time: *time, reporter }
    }
}

/// What became of an event that was offered.
pub(super) enum Offer {
    Taken,
    /// It is to be sent alone, by a producer of its own: its topic refused the last one.
    Probe,
}

impl Dispatcher {
    pub(super) fn new(converter: Arc<dyn EventConverter>) -> Self {
        Self {
            converter,
            topics: Arc::new(Topics::existence_only()),
            batch_bytes: DEFAULT_BATCH_BYTES,
            record_time: RecordTime::default(),
            queues: Mutex::default(),
        }
    }

    /// One that knows the same, and has nothing waiting.
    pub(super) fn anew(&self) -> Self {
        let Self { converter, topics, batch_bytes, record_time, .. } = self;
        Self {
            converter: Arc::clone(converter),
            topics: Arc::clone(topics),
            batch_bytes: *batch_bytes,
            record_time: *record_time,
            queues: Mutex::default(),
        }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an event, or has it wait for its topic's room. What librdkafka's queue has no room for is waited for.
    ///
    /// # Errors
    /// Those of the event or its topic, and those after which nothing is sent.
    pub(super) async fn offer(
        self: &Arc<Self>,
        producer: &Arc<KafkaProducer>,
        event: &Arc<OutboxEvent>,
        reporter: &Reporter,
        began: Instant,
    ) -> Result<Offer> {
        check_topic(event.topic())?;
        match self.topics.get(event.topic())?.admission() {
            Admission::Open => {}
            Admission::Refused => return Err(refused(event)),
            Admission::Probe => return Ok(Offer::Probe),
        }
        let encoded = Encoded::of(event, &*self.converter)?;
        let (headers, bytes) = record::frame(event, &encoded);
        let topic = self.topic_for(producer, event, bytes, began).await?;
        let (body, time) = (encoded.body.as_deref(), self.record_time.of(event));
        let mut headers = Some(headers);
        loop {
            {
                let mut queues = self.queues();
                if queues.by_topic.contains_key(event.topic()) || !topic.has_room(bytes, self.batch_bytes) {
                    let waiting = Waiting {
                        event: Arc::clone(event),
                        body: body.map(<[u8]>::to_vec),
                        headers,
                        bytes,
                        time,
                        reporter: reporter.clone(),
                    };
                    queues.by_topic.entry(event.topic().to_owned()).or_default().push_back(waiting);
                    self.start_pump(&mut queues, producer);
                    return Ok(Offer::Taken);
                }
                if send(
                    producer,
                    &topic,
                    Ready { event, body, headers: &mut headers, bytes, time, reporter },
                )? {
                    return Ok(Offer::Taken);
                }
            }
            let _ = timeout(ROOM_POLL, producer.context().changed.notified()).await;
        }
    }

    /// The topic of an event, if it takes the event. It refuses one for good only by what it says since the call began.
    async fn topic_for(
        &self,
        producer: &Arc<KafkaProducer>,
        event: &OutboxEvent,
        bytes: usize,
        began: Instant,
    ) -> Result<Arc<Topic>> {
        let topic = self.topics.get(event.topic())?;
        if check_fits(event, &topic, bytes).is_ok() {
            return Ok(topic);
        }
        self.topics.learn_since(producer, event.topic(), began).await?;
        let topic = self.topics.get(event.topic())?;
        check_fits(event, &topic, bytes).map(|()| topic)
    }

    /// Sends an event by a producer on which nothing else is in flight.
    ///
    /// # Errors
    /// As [`offer`](Self::offer).
    pub(super) async fn probe(
        &self,
        producer: &Arc<KafkaProducer>,
        event: &Arc<OutboxEvent>,
        reporter: &Reporter,
        began: Instant,
    ) -> Result<()> {
        let encoded = Encoded::of(event, &*self.converter)?;
        let (headers, bytes) = record::frame(event, &encoded);
        let topic = self.topic_for(producer, event, bytes, began).await?;
        let (body, time) = (encoded.body.as_deref(), self.record_time.of(event));
        let ready = Ready { event, body, headers: &mut Some(headers), bytes, time, reporter };
        if send(producer, &topic, ready)? { Ok(()) } else { Err(refused(event)) }
    }

    fn start_pump(self: &Arc<Self>, queues: &mut Queues, producer: &Arc<KafkaProducer>) {
        if queues.pump.is_none() {
            queues.pumps += 1;
            let number = queues.pumps;
            queues.pump = Some(number);
            tokio::spawn(Arc::clone(self).pump(number, Arc::downgrade(producer)));
        }
    }

    /// Sends what waits, until nothing does.
    async fn pump(self: Arc<Self>, number: u64, producer: Weak<KafkaProducer>) {
        loop {
            let context = {
                let mut queues = self.queues();
                if queues.pump != Some(number) {
                    return;
                }
                // the publisher's end and a purge empty the queues before they let the producer go
                let Some(producer) = producer.upgrade() else { return };
                self.send_waiting(&mut queues, &producer);
                if queues.by_topic.is_empty() {
                    queues.pump = None;
                    return;
                }
                Arc::clone(producer.context())
            };
            let _ = timeout(ROOM_POLL, context.changed.notified()).await;
        }
    }

    fn send_waiting(&self, queues: &mut Queues, producer: &Arc<KafkaProducer>) {
        queues.by_topic.retain(|name, queue| {
            while let Some(first) = queue.front_mut() {
                let sent = match self.topics.get(name) {
                    // a purge is what ends a wait for a topic whose broker is away
                    Ok(topic)
                        if producer.context().is_broken()
                            || topic.has_room(first.bytes, self.batch_bytes) =>
                    {
                        send(producer, &topic, first.ready())
                    }
                    Ok(_) => Ok(false),
                    Err(error) => Err(error),
                };
                match sent {
                    Ok(true) => {}
                    Ok(false) => return true,
                    Err(error) => {
                        if !is_own(&error) {
                            producer.context().break_off();
                        }
                        first.reporter.report(first.event.id(), Err(error));
                    }
                }
                queue.pop_front();
            }
            false
        });
    }

    /// Gives up what waits.
    pub(super) fn give_up(&self) {
        let mut queues = self.queues();
        queues.pump = None;
        for waiting in std::mem::take(&mut queues.by_topic).into_values().flatten() {
            waiting.reporter.report(waiting.event.id(), Err(broken()));
        }
    }
}

/// Hands an event to librdkafka; `false`: its queue is full, and the event keeps its headers.
fn send(producer: &KafkaProducer, topic: &Arc<Topic>, ready: Ready<'_>) -> Result<bool> {
    let context = producer.context();
    let Ready { event, body, headers, bytes, time, reporter } = ready;
    let alone = topic.is_cautious();
    let delivery =
        Delivery { id: event.id(), reporter: reporter.clone(), topic: Arc::clone(topic), alone, bytes };
    let mut record: BaseRecord<'_, str, [u8], _> =
        BaseRecord::with_opaque_to(event.topic(), Box::new(delivery));
    record.key = event.partition_key();
    record.payload = body;
    record.timestamp = time;
    // the lock lets no message slip in behind a purge that follows a failure
    let _gate = context.gate();
    if context.is_broken() {
        return Err(broken());
    }
    context.count();
    topic.taken(bytes);
    record.headers = headers.take();
    let Err((error, record)) = producer.send(record) else { return Ok(true) };
    *headers = record.headers;
    context.discount();
    topic.settled(bytes);
    match error {
        KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => Ok(false),
        error => Err(classified("message was not taken", error)),
    }
}

/// Whether an error is that of one event or one topic, so that others are sent.
pub(super) fn is_own(error: &Error) -> bool {
    error.kind() == ErrorKind::TopicUnavailable || error.class() != FailureClass::Infrastructure
}

pub(super) fn broken() -> Error {
    Error::new(ErrorKind::Unavailable, "an event before this one was not delivered")
}

fn refused(event: &OutboxEvent) -> Error {
    let message = format!("topic {} refuses messages of this user, it is tried again later", event.topic());
    Error::new(ErrorKind::TopicUnavailable, message)
}

fn check_fits(event: &OutboxEvent, topic: &Topic, bytes: usize) -> Result<()> {
    if topic.is_compacted() && event.partition_key().is_none() {
        return Err(Error::invalid(format!(
            "topic {} is compacted, an event needs a partition key",
            event.topic()
        )));
    }
    match topic.limit() {
        Some(limit) if bytes > limit => Err(Error::new(
            ErrorKind::TooLarge,
            format!("message takes {bytes} bytes, topic {} takes {limit} (max.message.bytes)", event.topic()),
        )),
        _ => Ok(()),
    }
}
