//! What all clones of a broker share.

pub(super) mod group;
pub(super) mod queue;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use omni_box_core::broker::Placed;
use omni_box_core::{Clock, ConsumerGroup, Error, ErrorKind, Result, SystemClock, TopicPartition};
use tokio::sync::watch;

use self::group::Group;
use self::queue::Queue;
use super::NewMessage;
use super::log::{Ending, Log};
use super::partitioner::partition_of;

/// What a record may take, as Kafka's `message.max.bytes` has it.
const MAX_MESSAGE_BYTES: usize = 1_048_588;

pub(in crate::broker) struct Shared {
    state: Mutex<State>,
    /// Those that wait look again.
    pub(in crate::broker) changed: watch::Sender<()>,
}

impl Shared {
    pub(in crate::broker) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self { state: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

pub(in crate::broker) struct State {
    topics: BTreeMap<String, Vec<Log>>,
    pub(in crate::broker) groups: BTreeMap<ConsumerGroup, Group>,
    /// What publishers have in flight.
    pub(in crate::broker) queues: BTreeMap<u64, Queue>,
    pub(in crate::broker) clock: Arc<dyn Clock>,
    /// Partitions of a topic that is made because it is used.
    pub(in crate::broker) on_first_use: Option<i32>,
    pub(in crate::broker) max_message_bytes: usize,
    pub(in crate::broker) is_cut: bool,
    /// How the next deliveries fail.
    pub(in crate::broker) failures: VecDeque<ErrorKind>,
    ids: u64,
    /// Takes turns for messages without a key.
    keyless: usize,
}

impl Default for State {
    fn default() -> Self {
        Self {
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            queues: BTreeMap::new(),
            clock: Arc::new(SystemClock),
            on_first_use: None,
            max_message_bytes: MAX_MESSAGE_BYTES,
            is_cut: false,
            failures: VecDeque::new(),
            ids: 0,
            keyless: 0,
        }
    }
}

impl State {
    /// A number that nothing else of this broker has.
    pub(in crate::broker) fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// Makes a topic, unless it is there.
    pub(in crate::broker) fn create_topic(&mut self, name: &str, partitions: i32) {
        assert!(partitions > 0, "a topic needs at least one partition, not {partitions}");
        if self.topics.contains_key(name) {
            return;
        }
        let logs = (0..partitions).map(|_| Log::default()).collect();
        self.topics.insert(name.to_owned(), logs);
        let groups: Vec<_> = self.groups.keys().cloned().collect();
        groups.iter().for_each(|group| self.rebalance(group));
    }

    /// Makes a topic if it is to be made by being used.
    pub(in crate::broker) fn use_topic(&mut self, name: &str) {
        if let Some(partitions) = self.on_first_use {
            self.create_topic(name, partitions);
        }
    }

    pub(in crate::broker) fn logs(&self, topic: &str) -> Result<&Vec<Log>> {
        self.topics.get(topic).ok_or_else(|| no_topic(topic))
    }

    pub(in crate::broker) fn log(&self, id: &TopicPartition) -> Result<&Log> {
        let log = usize::try_from(id.partition).ok().and_then(|at| self.logs(&id.topic).ok()?.get(at));
        log.ok_or_else(|| no_partition(id))
    }

    pub(in crate::broker) fn log_mut(&mut self, id: &TopicPartition) -> Result<&mut Log> {
        let logs = self.topics.get_mut(&id.topic);
        let log = usize::try_from(id.partition).ok().and_then(|at| logs?.get_mut(at));
        log.ok_or_else(|| no_partition(id))
    }

    /// Appends a message, and returns its offset.
    pub(in crate::broker) fn append(
        &mut self,
        message: NewMessage,
        transaction: Option<u64>,
    ) -> Result<Placed> {
        self.use_topic(&message.topic);
        let partitions = self.logs(&message.topic)?.len();
        let partition = match (message.partition, &message.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => as_number(partition_of(key, partitions)),
            (None, None) => {
                self.keyless += 1;
                as_number((self.keyless - 1) % partitions)
            }
        };
        let now = self.clock.now();
        let log = self.log_mut(&TopicPartition { topic: message.topic.clone(), partition })?;
        let offset = log.append(message.into_inbound(partition, now), transaction);
        Ok(Placed { partition, offset })
    }

    pub(in crate::broker) fn finish(&mut self, transaction: u64, ending: Ending) {
        self.topics.values_mut().flatten().for_each(|log| log.finish(transaction, ending));
    }

    /// Every partition of a topic.
    pub(in crate::broker) fn partitions_of(&self, topic: &str) -> Vec<TopicPartition> {
        let count = self.logs(topic).map_or(0, Vec::len);
        (0..count).map(|at| TopicPartition { topic: topic.to_owned(), partition: as_number(at) }).collect()
    }
}

fn as_number(partition: usize) -> i32 {
    i32::try_from(partition).expect("partitions are numbered by i32")
}

fn no_topic(topic: &str) -> Error {
    Error::new(ErrorKind::TopicUnavailable, format!("there is no topic {topic}; create it first"))
}

fn no_partition(id: &TopicPartition) -> Error {
    Error::new(ErrorKind::TopicUnavailable, format!("there is no partition {id}; create its topic first"))
}
