//! Membership in a consumer group: what happens when partitions come and go, inside librdkafka's poll.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use omni_box_core::{AssignedPartition, Error, Result, TopicPartition, Wake};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::mpsc::UnboundedSender;

use super::authorization::Authorization;
use super::committer::Committer;
use super::config::KafkaConsumerConfig;
use super::connection::Connection;
use super::handover::HandOver;
use super::offsets::Offsets;
use super::partition::Partition;
use super::position::{LogEnd, Position, id, list, list_at, log_ends};
use super::questions::{ASK_TIMEOUT, Questions};
use super::recreated::Recreated;
use super::slots::Slots;
use super::troubles::Troubles;
use crate::error::classified;

/// Where a partition stands that is paused: no broker need be asked for it, and nothing is read there.
const NOT_YET: i64 = 0;
/// Events (rebalances, errors, log lines) taken before messages have their turn.
const EVENTS: usize = 64;
/// How long a log brings no message before its end is asked for, and shortest time between two such questions.
const QUIET: Duration = Duration::from_secs(2);
/// How long such a question may take.
const QUIET_TIMEOUT: Duration = Duration::from_secs(1);

/// What the application is told.
pub(super) type News = Result<(Arc<Partition>, AssignedPartition)>;

/// The consumer's context: its partitions, and how they are handed over.
pub(super) struct Membership {
    consumer: OnceLock<Weak<BaseConsumer<Self>>>,
    slots: Slots<Self>,
    authorization: Authorization,
    offsets: Offsets,
    questions: Questions,
    connection: Connection,
    troubles: Troubles,
    recreated: Recreated,
    committer: Arc<Committer>,
    /// When the ends of logs may be asked for again.
    next_look: Mutex<Instant>,
    news: Mutex<Option<UnboundedSender<News>>>,
    pub(super) wake: Wake,
    /// How many events this was told of, inside polls.
    events: AtomicU64,
    closing: AtomicBool,
    drain_deadline: Duration,
}

impl Membership {
    pub(super) fn new(config: &KafkaConsumerConfig, news: UnboundedSender<News>) -> Self {
        let wake = Wake::new();
        let committer = Arc::new(Committer::new(wake.clone()));
        Self {
            consumer: OnceLock::new(),
            slots: Slots::new(config.window, config.held_bytes(), wake.clone(), Arc::clone(&committer)),
            authorization: Authorization::new(&config.topics),
            offsets: Offsets::default(),
            questions: Questions::new(),
            connection: Connection::new(config.ends_when_refused),
            troubles: Troubles::default(),
            recreated: Recreated::new(config.debugs()),
            committer,
            next_look: Mutex::new(Instant::now()),
            news: Mutex::new(Some(news)),
            wake,
            events: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            drain_deadline: config.drain_deadline,
        }
    }

    /// Starts what works beside the driver that made both.
    pub(super) fn belongs_to(&self, consumer: &Arc<BaseConsumer<Self>>) -> std::io::Result<()> {
        // set once
        let _ = self.consumer.set(Arc::downgrade(consumer));
        self.committer.start(consumer)
    }

    fn tell(&self, news: News) {
        if let Some(sender) = &*self.news.lock().unwrap_or_else(PoisonError::into_inner) {
            // the application may have dropped the consumer
            let _ = sender.send(news);
        }
    }

    /// Takes what waits in the consumer's own queue; says whether there may be more.
    ///
    /// The queue rings only when it was empty before, so a caller that leaves something in it must come again unasked. A rebalance behind a
    /// hundred log lines would wait for seconds otherwise. A poll that took an event returns the same as one that found none; the
    /// count tells them apart.
    pub(super) fn take_events(&self, consumer: &BaseConsumer<Self>) -> bool {
        for _ in 0..EVENTS {
            let before = self.events.load(Ordering::Relaxed);
            match consumer.poll(Duration::ZERO) {
                None if self.events.load(Ordering::Relaxed) == before => return false,
                None => {}
                Some(Err(error)) => self.trouble(&error),
                Some(Ok(message)) => {
                    // cannot be while partitions have queues of their own; fetched again rather than skipped
                    let at = Offset::Offset(message.offset());
                    if let Err(error) =
                        consumer.seek(message.topic(), message.partition(), at, Duration::ZERO)
                    {
                        tracing::error!(%error, "message arrived outside its partition's queue");
                    }
                }
            }
        }
        true
    }

    fn count_event(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    /// Starts partitions whose offset is known by now, and feeds those that have room. `true`: there may be more.
    pub(super) fn serve(&self, consumer: &BaseConsumer<Self>) -> bool {
        self.begin_anew(consumer);
        self.start_waiting(consumer);
        if let Some(error) = self.authorization.judge(consumer, &self.slots, &self.questions) {
            self.tell(Err(error));
        }
        let more = self.slots.feed(consumer, |id, fed| match fed {
            Ok(()) => {
                self.connection.reached();
                self.authorization.allow(&id.topic);
                self.troubles.fetched(id);
            }
            Err(error) => self.partition_trouble(id, &error),
        });
        self.slots.expire_commits();
        self.look_behind(consumer);
        more
    }

    /// Looks for records without a message at the ends of logs, which positions are to pass.
    fn look_behind(&self, consumer: &BaseConsumer<Self>) {
        let mut next = self.next_look.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now < *next || self.is_closing() {
            return;
        }
        let quiet = now.checked_sub(QUIET).map(|time| self.slots.ended_before(time)).unwrap_or_default();
        if quiet.is_empty() {
            return;
        }
        let Some(began) = self.questions.may_ask() else { return };
        for (id, end) in log_ends(consumer, &quiet, LogEnd::Last, QUIET_TIMEOUT).known {
            for partition in self.slots.partitions(&[id]) {
                partition.log_ends_at(end, consumer);
            }
        }
        if began.elapsed() >= QUIET_TIMEOUT {
            self.questions.asked(began);
        }
        *next = Instant::now() + QUIET;
    }

    fn partition_trouble(&self, id: &TopicPartition, error: &KafkaError) {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::LogTruncation
                | RDKafkaErrorCode::NoOffset,
            ) => {
                // librdkafka fetches nothing more of it; to look again would skip what is missing once the offset is in range
                tracing::error!(
                    partition = %id,
                    %error,
                    "the group's offset is out of range, partition stopped; set the group's offset while no member runs"
                );
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => self.authorization.refuse(&id.topic, error),
            _ => {
                self.troubles.failed(id, error);
                self.trouble(error);
            }
        }
    }

    /// An error that librdkafka reports. The application gets it if waiting cannot help.
    pub(super) fn trouble(&self, error: &KafkaError) {
        if let Some(error) = self.connection.judge(error) {
            self.tell(Err(error));
        }
    }

    /// Every partition is assigned at once, and those whose offset is not known yet are paused. Other partitions go on, and whichever
    /// way they go again, they are assigned.
    fn assign(&self, consumer: &BaseConsumer<Self>, assigned: &TopicPartitionList) {
        let ids: Vec<_> = assigned.elements().iter().map(id).collect();
        let mut known = HashMap::new();
        if let (Some(owner), false) = (self.consumer.get().and_then(Weak::upgrade), self.is_closing()) {
            ids.iter().for_each(|id| self.slots.prepare(&owner, id.clone()));
            known = self.starting_points(consumer, &ids);
        }
        let start = list_at(ids.iter().map(|id| (id, known.get(id).copied().unwrap_or(NOT_YET))));
        let (ready, unknown): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| known.contains_key(id));
        if !unknown.is_empty() {
            // nothing is read of them meanwhile, and no other line says why
            tracing::warn!(partitions = unknown.len(), "waiting for the group's offsets of new partitions");
        }
        // a pause outlives an assignment
        let done = consumer.pause(&list(&unknown)).and_then(|()| consumer.resume(&list(&ready)));
        let done = done.and_then(|()| match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&start),
            _ => consumer.assign(&start),
        });
        if let Err(error) = done {
            self.tell(Err(classified("partitions cannot be assigned", error)));
        }
        ready.iter().for_each(|id| self.hand_over(id, known[id]));
        self.connection.reached();
    }

    fn hand_over(&self, id: &TopicPartition, offset: i64) {
        let Some(ready) = self.slots.take_waiting(id, offset) else { return };
        self.connection.found_a_topic();
        self.authorization.allow(&id.topic);
        tracing::info!(partition = %id, "partition assigned");
        self.tell(Ok(ready));
    }

    /// Takes partitions of topics that were created again away, to hand them over with the messages from the beginning.
    fn begin_anew(&self, consumer: &BaseConsumer<Self>) {
        for topic in self.recreated.take() {
            let ids = self.slots.started(&topic);
            if ids.is_empty() || self.is_closing() {
                continue;
            }
            tracing::warn!(
                topic,
                partitions = ids.len(),
                "topic was deleted and created again, reading it from its beginning"
            );
            if let Err(error) = consumer.pause(&list(&ids)) {
                tracing::warn!(topic, %error, "partitions cannot be paused");
            }
            self.slots.renew(&ids);
            self.offsets.begin_anew(ids);
        }
    }

    /// Fetches a partition that is paused from an offset.
    fn fetch_from(&self, consumer: &BaseConsumer<Self>, id: &TopicPartition, at: i64) -> KafkaResult<()> {
        if consumer.fetch_from(id, at, ASK_TIMEOUT).is_ok() {
            return consumer.resume(&list([id]));
        }
        // librdkafka has given up to fetch it, as after an offset that is out of range
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => {
                consumer.incremental_unassign(&list([id]))?;
                consumer.resume(&list([id]))?;
                consumer.incremental_assign(&list_at([(id, at)]))
            }
            _ => {
                let positions = self.slots.positions();
                consumer.resume(&list([id]))?;
                let at_of = |other: &TopicPartition, next: Option<i64>| {
                    if other == id { at } else { next.unwrap_or(NOT_YET) }
                };
                consumer.assign(&list_at(positions.iter().map(|(other, next)| (other, at_of(other, *next)))))
            }
        }
    }

    /// Starts partitions whose offset is known by now.
    fn start_waiting(&self, consumer: &BaseConsumer<Self>) {
        if self.is_closing() || self.questions.may_ask().is_none() {
            return;
        }
        for (id, at) in self.starting_points(consumer, &self.offsets.next(&self.slots)) {
            match self.fetch_from(consumer, &id, at) {
                Ok(()) => {
                    self.offsets.started(&id);
                    self.hand_over(&id, at);
                }
                Err(error) => tracing::debug!(partition = %id, %error, "partition cannot be started yet"),
            }
        }
    }

    /// The starting points that Kafka knows; partitions whose offset is not known yet are left out.
    fn starting_points(
        &self,
        consumer: &BaseConsumer<Self>,
        ids: &[TopicPartition],
    ) -> HashMap<TopicPartition, i64> {
        let answer = self.offsets.ask(consumer, ids, &self.questions);
        for (id, error) in answer.refused {
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                    self.authorization.refuse(&id.topic, &error);
                }
                _ => tracing::debug!(partition = %id, %error, "committed offset is not known yet"),
            }
        }
        if let Some(error) = answer.failure {
            self.trouble(&error);
        }
        answer.known
    }

    fn unassign(&self, consumer: &BaseConsumer<Self>, revoked: &TopicPartitionList) {
        let ids: Vec<_> = revoked.elements().iter().map(id).collect();
        if let Err(error) = self.let_go(consumer, &ids) {
            tracing::warn!(error = %error.chain(), "last commit before a hand-over failed; messages come again");
        }
        let done = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(revoked),
            _ => consumer.unassign(),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "partitions could not be given back");
        }
    }

    fn let_go(&self, consumer: &BaseConsumer<Self>, ids: &[TopicPartition]) -> Result<()> {
        let hand_over = HandOver {
            consumer,
            slots: &self.slots,
            committer: &self.committer,
            wake: &self.wake,
            drain_deadline: self.drain_deadline,
        };
        let gone = hand_over.let_go(ids);
        self.slots.remove(ids);
        self.troubles.forget(ids);
        ids.iter().for_each(|id| self.offsets.started(id));
        gone
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Nothing new is begun, and what waits on the driver's thread for a broker gives up.
    pub(super) fn begin_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Lets all partitions go.
    pub(super) fn close(&self, consumer: &BaseConsumer<Self>) -> Result<()> {
        let closed = self.let_go(consumer, &self.slots.ids());
        *self.news.lock().unwrap_or_else(PoisonError::into_inner) = None;
        closed
    }

    /// Loses all partitions and tells the application why: Kafka is not polled any more.
    pub(super) fn fail(&self, error: Error) {
        self.abandon();
        self.tell(Err(error));
    }

    /// Loses all partitions: for a consumer that was dropped without being closed.
    pub(super) fn abandon(&self) {
        self.slots.lose_all();
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.count_event();
        if self.recreated.read(level, message) {
            crate::logging::log(level, facility, message);
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.count_event();
        tracing::debug!(statistics = %String::from_utf8_lossy(statistics), "kafka consumer");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.count_event();
        // poll returns the same error, and it is judged there; only here it names the topic, or what is wrong with a broker
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => self.connection.missed_a_topic(reason),
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                self.authorization.refuse_named_in(reason, &error);
            }
            _ => tracing::debug!(%error, reason, "kafka consumer"),
        }
        self.connection.keep(&error, reason);
    }
}

impl ConsumerContext for Membership {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        self.count_event();
        match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, list),
            _ => self.unassign(consumer, list),
        }
    }

    fn commit_callback(&self, _result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        self.count_event();
    }
}
