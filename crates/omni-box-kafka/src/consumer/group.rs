//! Membership: what happens when partitions come and go, inside librdkafka's poll.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use omni_box_core::{AssignedPartition, Error, ErrorKind, Result, TopicPartition};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::mpsc::UnboundedSender;

use super::bell::Bell;
use super::config::KafkaConsumerConfig;
use super::message::inbound;
use super::partition::{Handle, Partition, commit_error, position};
use crate::error::{classified, kind};

/// Messages of one partition before the next one has its turn.
const TURN: usize = 256;
/// How long one question for committed offsets may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait between two looks at a drain.
const DRAIN_POLL: Duration = Duration::from_millis(100);

/// What the application is told.
pub(super) type News = Result<(Arc<Partition>, AssignedPartition)>;

struct Slot {
    partition: Arc<Partition>,
    queue: PartitionQueue<Group>,
}

/// The consumer's context: its partitions, and how they are handed over.
pub(super) struct Group {
    slots: Mutex<HashMap<TopicPartition, Slot>>,
    consumer: OnceLock<Weak<BaseConsumer<Self>>>,
    news: Mutex<Option<UnboundedSender<News>>>,
    pub(super) bell: Arc<Bell>,
    /// How many events this was told of, inside polls.
    events: AtomicU64,
    closing: AtomicBool,
    broker_down: AtomicBool,
    refused: AtomicBool,
    missing: AtomicBool,
    /// What is subscribed to, and which of it this user may not read.
    topics: BTreeSet<String>,
    barred: Mutex<BTreeSet<String>>,
    /// What went wrong last, such as a handshake.
    failure: Mutex<Option<String>>,
    drain_deadline: Duration,
    patience: Duration,
    window: usize,
}

impl Group {
    pub(super) fn new(config: &KafkaConsumerConfig, news: UnboundedSender<News>) -> Self {
        Self {
            slots: Mutex::default(),
            consumer: OnceLock::new(),
            news: Mutex::new(Some(news)),
            bell: Arc::default(),
            events: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            broker_down: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            missing: AtomicBool::new(false),
            topics: config.topics.iter().cloned().collect(),
            barred: Mutex::default(),
            failure: Mutex::default(),
            drain_deadline: config.drain_deadline,
            patience: config.max_poll_interval() / 2,
            window: config.window,
        }
    }

    pub(super) fn belongs_to(&self, consumer: &Arc<BaseConsumer<Self>>) {
        // set once, by the one who made both
        let _ = self.consumer.set(Arc::downgrade(consumer));
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<TopicPartition, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, news: News) {
        if let Some(sender) = &*self.news.lock().unwrap_or_else(PoisonError::into_inner) {
            // nobody listens once the application dropped the consumer
            let _ = sender.send(news);
        }
    }

    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    fn count_event(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    /// Does the rewinds and feeds every partition that has room. Says whether there may be more.
    pub(super) fn serve(&self, consumer: &BaseConsumer<Self>) -> bool {
        let mut more = false;
        for Slot { partition, queue } in self.slots().values() {
            partition.rewind(consumer);
            let mut trouble = None;
            let fed = partition.feed(TURN, || match queue.poll(Duration::ZERO)? {
                Ok(message) => Some(inbound(&message)),
                Err(error) => {
                    trouble = Some(error);
                    None
                }
            });
            more |= fed == TURN || trouble.is_some();
            if fed > 0 {
                self.reached();
                self.unbar(&partition.id.topic);
            }
            if let Some(error) = trouble {
                self.partition_trouble(partition, &error);
            }
        }
        more
    }

    fn partition_trouble(&self, partition: &Partition, error: &KafkaError) {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::LogTruncation
                | RDKafkaErrorCode::NoOffset,
            ) => {
                // librdkafka fetches nothing more of it; to look again would skip what is missing once the offset is in range
                tracing::error!(
                    partition = %partition.id,
                    %error,
                    "the group's offset is out of range, partition stopped; set the group's offset while no member runs"
                );
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => self.bar(&partition.id.topic, error),
            _ => self.trouble(error),
        }
    }

    /// Something librdkafka reports: told once per change, ended only by what will not pass.
    pub(super) fn trouble(&self, error: &KafkaError) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            tracing::error!(%error, "kafka consumer ended for good");
            self.tell(
                Err(Error::new(ErrorKind::Fatal, "consumer ended for good").with_source(error.clone())),
            );
            return;
        }
        match code {
            RDKafkaErrorCode::AllBrokersDown => {
                if !self.broker_down.swap(true, Ordering::AcqRel) {
                    let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    tracing::warn!(failure, "kafka cannot be reached, waiting for it");
                }
            }
            RDKafkaErrorCode::PollExceeded => {
                tracing::warn!("partitions were held longer than max.poll.interval.ms and are lost");
            }
            code if matches!(kind(code), ErrorKind::Unauthorized | ErrorKind::Misconfigured) => {
                if !self.refused.swap(true, Ordering::AcqRel) {
                    tracing::error!(%error, "kafka refuses this consumer");
                    let refused = Error::new(kind(code), "kafka refuses this consumer");
                    self.tell(Err(refused.with_source(error.clone())));
                }
            }
            _ => tracing::debug!(%error, "kafka consumer"),
        }
    }

    /// One topic may not be read. It is waited for as long as there is another.
    fn bar(&self, topic: &str, error: &KafkaError) {
        let all_barred = {
            let mut barred = self.barred();
            if !barred.insert(topic.to_owned()) {
                return;
            }
            *barred == self.topics
        };
        tracing::error!(topic, %error, "kafka refuses this topic to this consumer, waiting for it");
        if all_barred {
            let refused = Error::new(ErrorKind::Unauthorized, "kafka refuses every topic to this consumer");
            self.tell(Err(refused.with_source(error.clone())));
        }
    }

    fn unbar(&self, topic: &str) {
        if self.barred().remove(topic) {
            tracing::info!(topic, "topic can be read again");
        }
    }

    fn barred(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.barred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reached(&self) {
        self.refused.store(false, Ordering::Relaxed);
        if self.broker_down.swap(false, Ordering::AcqRel) {
            tracing::info!("kafka is reachable again");
        }
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, assigned: &TopicPartitionList) {
        let start = self.starting_points(consumer, assigned);
        let mut fresh = Vec::new();
        let owner = self.consumer.get().and_then(Weak::upgrade);
        if let (Some(owner), false) = (owner, self.is_closing()) {
            for element in start.elements() {
                let id = TopicPartition { topic: element.topic().to_owned(), partition: element.partition() };
                // before it is assigned, so that none of its messages goes elsewhere
                let Some(mut queue) = owner.split_partition_queue(&id.topic, id.partition) else { continue };
                let bell = Arc::clone(&self.bell);
                queue.set_nonempty_callback(move || bell.ring());
                let (partition, messages) =
                    Partition::new(id.clone(), self.window, Arc::clone(&self.bell), Arc::downgrade(&owner));
                self.slots().insert(id.clone(), Slot { partition: Arc::clone(&partition), queue });
                let ack = Box::new(Handle(Arc::clone(&partition)));
                fresh.push((partition, AssignedPartition { partition: id, messages, ack }));
            }
        }
        let done = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&start),
            _ => consumer.assign(&start),
        };
        if let Err(error) = done {
            self.tell(Err(classified("partitions cannot be assigned", error)));
        }
        for (partition, assigned) in fresh {
            self.missing.store(false, Ordering::Relaxed);
            self.unbar(&partition.id.topic);
            tracing::info!(partition = %partition.id, "partition assigned");
            self.tell(Ok((partition, assigned)));
        }
        self.reached();
    }

    /// Behind the committed offset, or at the beginning where there is none.
    fn starting_points(
        &self,
        consumer: &BaseConsumer<Self>,
        assigned: &TopicPartitionList,
    ) -> TopicPartitionList {
        let until = Instant::now() + self.patience;
        let mut told = false;
        while assigned.count() > 0 && !self.is_closing() && Instant::now() < until {
            match consumer.committed_offsets(assigned.clone(), ASK_TIMEOUT) {
                Ok(committed) if committed.elements().iter().all(|element| element.error().is_ok()) => {
                    for element in &mut committed.elements() {
                        if !matches!(element.offset(), Offset::Offset(_)) {
                            // fails for negative offsets only
                            let _ = element.set_offset(Offset::Beginning);
                        }
                    }
                    return committed;
                }
                Ok(_) => tracing::debug!("committed offsets are not all known yet"),
                Err(error) => tracing::debug!(%error, "committed offsets are not known yet"),
            }
            // nothing is read of these partitions meanwhile, and nobody else says why
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(
                    partitions = assigned.count(),
                    "waiting for the group's offsets of new partitions"
                );
            }
            self.bell.wait(DRAIN_POLL);
        }
        assigned.clone()
    }

    fn unassign(&self, consumer: &BaseConsumer<Self>, revoked: &TopicPartitionList) {
        let ids = revoked.elements();
        let ids = ids.iter().map(|element| TopicPartition {
            topic: element.topic().to_owned(),
            partition: element.partition(),
        });
        let ids: Vec<_> = ids.collect();
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

    /// Drains, commits and forgets partitions, or merely forgets them when they are lost already.
    fn let_go(&self, consumer: &BaseConsumer<Self>, ids: &[TopicPartition]) -> Result<()> {
        let going: Vec<_> = {
            let slots = self.slots();
            ids.iter().filter_map(|id| slots.get(id)).map(|slot| Arc::clone(&slot.partition)).collect()
        };
        let lost = || consumer.assignment_lost();
        going.iter().for_each(|partition| partition.revoke());
        let deadline = Instant::now() + self.drain_deadline;
        let busy = going.iter().filter(|partition| partition.is_draining()).count();
        if busy > 0 {
            tracing::info!(partitions = busy, "partitions are taken away, finishing what they have begun");
        }
        while !lost() && Instant::now() < deadline && going.iter().any(|partition| partition.is_draining()) {
            self.bell.wait(DRAIN_POLL);
        }
        let lost = lost();
        let mut commits = Vec::new();
        for partition in &going {
            if lost || partition.is_draining() {
                tracing::warn!(partition = %partition.id, lost, "partition goes with work in progress");
                // stops the work; what it acknowledged until now counts, unless the partition is another's already
                partition.lose();
            }
            let rest = partition.finish();
            if let (Some(rest), false) = (rest, lost) {
                commits.push((partition, rest));
            }
            tracing::info!(partition = %partition.id, "partition given back");
        }
        let mut failed = None;
        for (partition, rest) in commits {
            let committed = consumer.commit(&position(&partition.id, rest), CommitMode::Sync);
            match committed.map_err(commit_error) {
                Ok(()) => {}
                // the group has moved on meanwhile: as if it had been lost a moment earlier
                Err(error) if error.kind() == ErrorKind::Closed => tracing::warn!(
                    partition = %partition.id,
                    error = %error.chain(),
                    "partition was taken away before its last commit; messages come again"
                ),
                Err(error) => failed = Some(error),
            }
        }
        ids.iter().for_each(|id| drop(self.slots().remove(id)));
        failed.map_or(Ok(()), Err)
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Nothing new is begun, and whatever waits on the driver's thread for a broker gives up.
    pub(super) fn begin_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Lets all partitions go.
    pub(super) fn close(&self, consumer: &BaseConsumer<Self>) -> Result<()> {
        let ids: Vec<_> = self.slots().keys().cloned().collect();
        let closed = self.let_go(consumer, &ids);
        *self.news.lock().unwrap_or_else(PoisonError::into_inner) = None;
        closed
    }

    /// Like being lost, and says why: nobody polls any more.
    pub(super) fn fail(&self, error: Error) {
        self.abandon();
        self.tell(Err(error));
    }

    /// Like being lost: for a consumer that was dropped without being closed.
    pub(super) fn abandon(&self) {
        self.slots().values().for_each(|slot| slot.partition.lose());
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.count_event();
        crate::logging::log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.count_event();
        tracing::debug!(statistics = %String::from_utf8_lossy(statistics), "kafka consumer");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.count_event();
        // the same error comes out of poll, where it is judged; only here it names the topic, or what is wrong with a broker
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) if !self.missing.swap(true, Ordering::AcqRel) => {
                tracing::warn!(reason, "a topic is missing, waiting for it");
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                // "Subscribed topic not available: NAME: ..."; a topic's name has neither colon nor space
                match reason.split(": ").find(|part| self.topics.contains(*part)) {
                    Some(topic) => self.bar(topic, &error),
                    None => tracing::warn!(reason, "kafka refuses a topic to this consumer"),
                }
            }
            _ => tracing::debug!(%error, reason, "kafka consumer"),
        }
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Group {
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
