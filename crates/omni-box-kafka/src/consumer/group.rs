//! Membership: what happens when partitions come and go, inside librdkafka's poll.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use omni_box_core::{AssignedPartition, Error, ErrorKind, Result, TopicPartition, Wake};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::mpsc::UnboundedSender;

use super::config::KafkaConsumerConfig;
use super::message::inbound;
use super::partition::{Handle, Partition, commit_error, position};
use crate::error::{classified, kind};

/// Messages of one partition before the next one has its turn.
const TURN: usize = 256;
/// How long one question to a broker may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the question for the offset of a single partition may take.
const ASK_ONE_TIMEOUT: Duration = Duration::from_secs(1);
/// Shortest time between two questions; nothing is fed while one is asked.
const ASK_PAUSE: Duration = Duration::from_millis(500);
/// How long the answers of a check count, of which some come only when a fetch was tried again.
const CHECK: Duration = Duration::from_secs(60);
/// Longest wait between two looks at a drain.
const DRAIN_POLL: Duration = Duration::from_millis(100);

/// Where a partition stands that is paused: no broker need be asked for it, and nothing is read there.
const NOT_YET: Offset = Offset::Offset(0);

/// What the application is told.
pub(super) type News = Result<(Arc<Partition>, AssignedPartition)>;

struct Slot {
    partition: Arc<Partition>,
    queue: PartitionQueue<Group>,
    /// What is handed over once the group's offset is known; the partition is paused until then.
    waiting: Option<AssignedPartition>,
}

/// Which topics this user may not read.
#[derive(Default)]
struct Bars {
    /// As far as librdkafka said; it says so once, and does not say when it is over.
    topics: BTreeSet<String>,
    /// When it was last asked whether all of it is still so.
    checked: Option<Instant>,
    told: bool,
}

/// The consumer's context: its partitions, and how they are handed over.
pub(super) struct Group {
    slots: Mutex<HashMap<TopicPartition, Slot>>,
    consumer: OnceLock<Weak<BaseConsumer<Self>>>,
    news: Mutex<Option<UnboundedSender<News>>>,
    pub(super) wake: Wake,
    /// How many events this was told of, inside polls.
    events: AtomicU64,
    closing: AtomicBool,
    broker_down: AtomicBool,
    refused: AtomicBool,
    missing: AtomicBool,
    /// What is subscribed to by name.
    topics: BTreeSet<String>,
    bars: Mutex<Bars>,
    /// When a broker may be asked again.
    ask_again: Mutex<Instant>,
    /// Partitions whose offsets are asked for one by one: librdkafka tries again as long as one is held up by a transaction, and gives
    /// no other's meanwhile.
    alone: Mutex<Vec<TopicPartition>>,
    /// What went wrong last, such as a handshake.
    failure: Mutex<Option<String>>,
    drain_deadline: Duration,
    window: usize,
}

impl Group {
    pub(super) fn new(config: &KafkaConsumerConfig, news: UnboundedSender<News>) -> Self {
        Self {
            slots: Mutex::default(),
            consumer: OnceLock::new(),
            news: Mutex::new(Some(news)),
            wake: Wake::new(),
            events: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            broker_down: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            missing: AtomicBool::new(false),
            topics: config.topics.iter().filter(|topic| !topic.starts_with('^')).cloned().collect(),
            bars: Mutex::default(),
            ask_again: Mutex::new(Instant::now()),
            alone: Mutex::default(),
            failure: Mutex::default(),
            drain_deadline: config.drain_deadline,
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
        self.start_waiting(consumer);
        self.judge_bars(consumer);
        let mut more = false;
        for Slot { partition, queue, .. } in self.slots().values() {
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
        if self.bars().topics.insert(topic.to_owned()) {
            tracing::error!(topic, %error, "kafka refuses this topic to this consumer, waiting for it");
        }
    }

    fn unbar(&self, topic: &str) {
        if self.bars().topics.remove(topic) {
            tracing::info!(topic, "topic can be read again");
        }
    }

    fn bars(&self) -> MutexGuard<'_, Bars> {
        self.bars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells when nothing may be read, after it was asked whether that is still so.
    fn judge_bars(&self, consumer: &BaseConsumer<Self>) {
        if !self.all_barred() {
            self.bars().told = false;
            return;
        }
        if self.bars().told {
            return;
        }
        let is_checked = self.bars().checked.is_some_and(|checked| checked.elapsed() < CHECK);
        if !is_checked && !self.check_bars(consumer) {
            return;
        }
        if self.all_barred() {
            self.bars().told = true;
            let code = RDKafkaErrorCode::TopicAuthorizationFailed;
            let refused = Error::new(ErrorKind::Unauthorized, "kafka refuses every topic to this consumer");
            self.tell(Err(refused.with_source(KafkaError::MessageConsumption(code))));
        }
    }

    /// Whether this is so of every topic that is subscribed to by name or has a partition here.
    fn all_barred(&self) -> bool {
        let (bars, slots) = (self.bars(), self.slots());
        let mut topics = self.topics.iter().chain(slots.keys().map(|id| &id.topic)).peekable();
        topics.peek().is_some() && topics.all(|topic| bars.topics.contains(topic))
    }

    /// Keeps the bars of topics that are refused by name, and takes the others away: their partitions are fetched anew, which tells
    /// what is refused still. Says whether all were asked for.
    fn check_bars(&self, consumer: &BaseConsumer<Self>) -> bool {
        let Some(asked) = self.may_ask() else { return false };
        let started = Instant::now();
        let topics = self.bars().topics.clone();
        for topic in topics {
            let metadata = match consumer.fetch_metadata(Some(&topic), ASK_TIMEOUT) {
                Ok(metadata) => metadata,
                Err(error) => {
                    tracing::debug!(topic, %error, "topic cannot be asked for");
                    self.asked(asked);
                    return false;
                }
            };
            let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
            if metadata.topics().iter().any(|topic| topic.error() == Some(refused)) {
                continue;
            }
            self.bars().topics.remove(&topic);
            let is_read = |(id, slot): &(&TopicPartition, &Slot)| id.topic == topic && slot.waiting.is_none();
            let here = list(self.slots().iter().filter(is_read).map(|(id, _)| id));
            // fetches from where it is, and tells an error again
            if let Err(error) = consumer.pause(&here).and_then(|()| consumer.resume(&here)) {
                tracing::warn!(topic, %error, "partitions cannot be fetched anew");
            }
        }
        self.asked(asked);
        self.bars().checked = Some(started);
        true
    }

    /// When the question begins, if one may be asked now.
    fn may_ask(&self) -> Option<Instant> {
        let now = Instant::now();
        (now >= *self.ask_again()).then_some(now)
    }

    /// A broker that takes long is asked at most half of the time.
    fn asked(&self, began: Instant) {
        *self.ask_again() = Instant::now() + began.elapsed().max(ASK_PAUSE);
    }

    fn ask_again(&self) -> MutexGuard<'_, Instant> {
        self.ask_again.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reached(&self) {
        self.refused.store(false, Ordering::Relaxed);
        if self.broker_down.swap(false, Ordering::AcqRel) {
            tracing::info!("kafka is reachable again");
        }
    }

    /// Every partition is assigned at once, and those whose offset is not known yet are paused: other partitions go on, and whichever
    /// way they go again, they are assigned.
    fn assign(&self, consumer: &BaseConsumer<Self>, assigned: &TopicPartitionList) {
        let ids: Vec<_> = assigned.elements().iter().map(id).collect();
        let mut known = HashMap::new();
        if let (Some(owner), false) = (self.consumer.get().and_then(Weak::upgrade), self.is_closing()) {
            ids.iter().for_each(|id| self.prepare(&owner, id.clone()));
            known = self.starting_points(consumer, ids.clone());
        }
        let start = assigned.clone();
        for mut element in start.elements() {
            // fails for negative offsets only
            let _ = element.set_offset(known.get(&id(&element)).copied().unwrap_or(NOT_YET));
        }
        let (ready, unknown): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| known.contains_key(id));
        if !unknown.is_empty() {
            // nothing is read of them meanwhile, and nobody else says why
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
        ready.iter().for_each(|id| self.hand_over(id));
        self.reached();
    }

    fn prepare(&self, owner: &Arc<BaseConsumer<Self>>, id: TopicPartition) {
        // before it is assigned, so that none of its messages goes elsewhere
        let Some(mut queue) = owner.split_partition_queue(&id.topic, id.partition) else { return };
        let wake = self.wake.clone();
        queue.set_nonempty_callback(move || wake.wake());
        let (partition, messages) =
            Partition::new(id.clone(), self.window, self.wake.clone(), Arc::downgrade(owner));
        let ack = Box::new(Handle(Arc::clone(&partition)));
        let waiting = Some(AssignedPartition { partition: id.clone(), messages, ack });
        self.slots().insert(id, Slot { partition, queue, waiting });
    }

    fn hand_over(&self, id: &TopicPartition) {
        let ready = self
            .slots()
            .get_mut(id)
            .and_then(|slot| slot.waiting.take().map(|assigned| (Arc::clone(&slot.partition), assigned)));
        let Some((partition, assigned)) = ready else { return };
        self.missing.store(false, Ordering::Relaxed);
        self.unbar(&id.topic);
        tracing::info!(partition = %id, "partition assigned");
        self.tell(Ok((partition, assigned)));
    }

    /// Starts partitions whose offset is known by now.
    fn start_waiting(&self, consumer: &BaseConsumer<Self>) {
        if self.is_closing() || self.may_ask().is_none() {
            return;
        }
        for (id, at) in self.starting_points(consumer, self.next_to_ask()) {
            let sought = consumer.seek(&id.topic, id.partition, at, ASK_TIMEOUT);
            match sought.and_then(|()| consumer.resume(&list([&id]))) {
                Ok(()) => self.hand_over(&id),
                Err(error) => tracing::debug!(partition = %id, %error, "partition cannot be started yet"),
            }
        }
    }

    /// One that is asked for alone, or all that wait.
    fn next_to_ask(&self) -> Vec<TopicPartition> {
        let slots = self.slots();
        let waits = |id: &TopicPartition| slots.get(id).is_some_and(|slot| slot.waiting.is_some());
        let mut alone = self.alone();
        while let Some(id) = alone.pop() {
            if waits(&id) {
                return vec![id];
            }
        }
        slots.keys().filter(|id| waits(id)).cloned().collect()
    }

    fn alone(&self) -> MutexGuard<'_, Vec<TopicPartition>> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Behind the committed offset, or at the beginning where there is none; without those of which it is not known yet.
    fn starting_points(
        &self,
        consumer: &BaseConsumer<Self>,
        ids: Vec<TopicPartition>,
    ) -> HashMap<TopicPartition, Offset> {
        let mut known = HashMap::new();
        if ids.is_empty() {
            return known;
        }
        let began = Instant::now();
        let timeout = if ids.len() == 1 { ASK_ONE_TIMEOUT } else { ASK_TIMEOUT };
        match consumer.committed_offsets(list(&ids), timeout) {
            Ok(committed) => {
                for element in committed.elements() {
                    match (element.error(), element.offset()) {
                        (Ok(()), at @ Offset::Offset(_)) => drop(known.insert(id(&element), at)),
                        (Ok(()), _) => drop(known.insert(id(&element), Offset::Beginning)),
                        (Err(error), _) => self.offset_trouble(&id(&element), &error),
                    }
                }
            }
            Err(error) => {
                let is_late = error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut);
                if is_late && ids.len() > 1 {
                    *self.alone() = ids.clone();
                }
                self.trouble(&error);
            }
        }
        if known.len() < ids.len() {
            self.asked(began);
        }
        known
    }

    fn offset_trouble(&self, id: &TopicPartition, error: &KafkaError) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => self.bar(&id.topic, error),
            _ => tracing::debug!(partition = %id, %error, "committed offset is not known yet"),
        }
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

    /// Drains, commits and forgets partitions, or merely forgets them when they are lost already.
    fn let_go(&self, consumer: &BaseConsumer<Self>, ids: &[TopicPartition]) -> Result<()> {
        let going: Vec<_> = {
            let slots = self.slots();
            ids.iter().filter_map(|id| slots.get(id)).map(|slot| Arc::clone(&slot.partition)).collect()
        };
        let lost = || consumer.assignment_lost();
        let mut waiter = self.wake.waiter();
        going.iter().for_each(|partition| partition.revoke());
        let deadline = Instant::now() + self.drain_deadline;
        let busy = going.iter().filter(|partition| partition.is_draining()).count();
        if busy > 0 {
            tracing::info!(partitions = busy, "partitions are taken away, finishing what they have begun");
        }
        while !lost() && Instant::now() < deadline && going.iter().any(|partition| partition.is_draining()) {
            waiter.wait_blocking(DRAIN_POLL);
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

fn id(element: &TopicPartitionListElem<'_>) -> TopicPartition {
    TopicPartition { topic: element.topic().to_owned(), partition: element.partition() }
}

fn list<'a>(ids: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for id in ids {
        list.add_partition(&id.topic, id.partition);
    }
    list
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
