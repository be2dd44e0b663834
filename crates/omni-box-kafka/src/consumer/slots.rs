//! The partitions that are assigned, each with its queue.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use omni_box_core::{AssignedPartition, TopicPartition, Wake};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;

use super::committer::Committer;
use super::handle::Handle;
use super::message::inbound;
use super::partition::{Fetched, Partition};
use super::position::Position;

/// Messages of one partition before the next one has its turn.
const TURN: usize = 256;

struct Slot<C: ConsumerContext + 'static> {
    partition: Arc<Partition>,
    queue: PartitionQueue<C>,
    /// What is handed over once the group's offset is known; the partition is paused until then.
    waiting: Option<AssignedPartition>,
}

pub(super) struct Slots<C: ConsumerContext + 'static> {
    slots: Mutex<HashMap<TopicPartition, Slot<C>>>,
    window: usize,
    /// What all partitions together may hold that is not done.
    bytes: usize,
    wake: Wake,
    committer: Arc<Committer>,
}

impl<C: ConsumerContext + 'static> Slots<C> {
    pub(super) fn new(window: usize, bytes: usize, wake: Wake, committer: Arc<Committer>) -> Self {
        Self { slots: Mutex::default(), window, bytes, wake, committer }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<TopicPartition, Slot<C>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Splits a partition's queue off, before it is assigned: none of its messages goes elsewhere.
    pub(super) fn prepare(&self, owner: &Arc<BaseConsumer<C>>, id: TopicPartition) {
        let Some(mut queue) = owner.split_partition_queue(&id.topic, id.partition) else { return };
        let wake = self.wake.clone();
        queue.set_nonempty_callback(move || wake.wake());
        let (partition, waiting) = self.fresh(&id);
        self.slots().insert(id, Slot { partition, queue, waiting });
    }

    /// A partition, and what the application gets of it.
    fn fresh(&self, id: &TopicPartition) -> (Arc<Partition>, Option<AssignedPartition>) {
        let (partition, messages) = Partition::new(id.clone(), self.window, self.wake.clone());
        let ack = Box::new(Handle::new(Arc::clone(&partition), Arc::clone(&self.committer)));
        (partition, Some(AssignedPartition { partition: id.clone(), messages, ack }))
    }

    /// Takes what waits for the group's offset to be known.
    pub(super) fn take_waiting(
        &self,
        id: &TopicPartition,
        offset: i64,
    ) -> Option<(Arc<Partition>, AssignedPartition)> {
        let mut slots = self.slots();
        let slot = slots.get_mut(id)?;
        let assigned = slot.waiting.take()?;
        slot.partition.start_at(offset);
        Some((Arc::clone(&slot.partition), assigned))
    }

    /// Does the rewinds, then feeds every partition that has room and passes on how that went. `true`: there may be more.
    pub(super) fn feed(
        &self,
        position: &dyn Position,
        mut report: impl FnMut(&TopicPartition, Result<(), KafkaError>),
    ) -> bool {
        let mut more = false;
        let slots = self.slots();
        let share = self.bytes / slots.len().max(1);
        for Slot { partition, queue, .. } in slots.values() {
            partition.rewind(position);
            let (mut trouble, mut has_ended) = (None, false);
            let fed = partition.feed(TURN, share, || match fetch(queue) {
                Ok(Fetched::End) => {
                    has_ended = true;
                    Fetched::End
                }
                Ok(fetched) => fetched,
                Err(error) => {
                    trouble = Some(error);
                    Fetched::Nothing
                }
            });
            more |= fed == TURN || trouble.is_some();
            if has_ended && partition.wants_commit() {
                self.committer.ask([Arc::clone(partition)]);
            }
            if fed > 0 || has_ended {
                report(&partition.id, Ok(()));
            }
            if let Some(error) = trouble {
                report(&partition.id, Err(error));
            }
        }
        more
    }

    /// Takes a message of a partition that is fed no more; says whether there was one.
    pub(super) fn take_message(&self, id: &TopicPartition) -> bool {
        let slots = self.slots();
        let Some(Slot { queue, .. }) = slots.get(id) else { return false };
        loop {
            match fetch(queue) {
                Ok(Fetched::Message(_)) => return true,
                Ok(Fetched::End) => {}
                Ok(Fetched::Nothing) | Err(_) => return false,
            }
        }
    }

    /// Takes what was fetched of partitions that are fed no more.
    pub(super) fn look_behind(&self, ids: &[TopicPartition]) {
        let slots = self.slots();
        for Slot { partition, queue, .. } in ids.iter().filter_map(|id| slots.get(id)) {
            while partition.is_probed() {
                match fetch(queue) {
                    Ok(Fetched::Nothing) => break,
                    Ok(fetched) => partition.look_behind(&fetched),
                    Err(error) => tracing::debug!(partition = %partition.id, %error, "kafka consumer"),
                }
            }
        }
    }

    /// Tells those who have waited for a commit too long.
    pub(super) fn expire_commits(&self) {
        let now = Instant::now();
        self.slots().values().for_each(|slot| slot.partition.expire_commits(now));
    }

    /// Partitions whose log ended before `time`, behind which may be records without a message.
    pub(super) fn ended_before(&self, time: Instant) -> Vec<TopicPartition> {
        let slots = self.slots();
        let ended = slots.values().filter(|slot| slot.partition.ended_before(time).is_some());
        ended.map(|slot| slot.partition.id.clone()).collect()
    }

    pub(super) fn ids(&self) -> Vec<TopicPartition> {
        self.slots().keys().cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots().is_empty()
    }

    pub(super) fn all_topics(&self, test: impl Fn(&str) -> bool) -> bool {
        self.slots().keys().all(|id| test(&id.topic))
    }

    pub(super) fn is_waiting(&self, id: &TopicPartition) -> bool {
        self.slots().get(id).is_some_and(|slot| slot.waiting.is_some())
    }

    pub(super) fn waiting(&self) -> Vec<TopicPartition> {
        self.slots().iter().filter(|(_, slot)| slot.waiting.is_some()).map(|(id, _)| id.clone()).collect()
    }

    /// A topic's partitions that are handed over.
    pub(super) fn started(&self, topic: &str) -> Vec<TopicPartition> {
        let is_read = |(id, slot): &(&TopicPartition, &Slot<C>)| id.topic == topic && slot.waiting.is_none();
        self.slots().iter().filter(is_read).map(|(id, _)| id.clone()).collect()
    }

    /// Where the next message of each partition comes from, if it is handed over.
    pub(super) fn positions(&self) -> Vec<(TopicPartition, Option<i64>)> {
        self.slots().iter().map(|(id, slot)| (id.clone(), slot.partition.next())).collect()
    }

    /// Takes partitions away from the application, and makes them wait to be handed over again.
    pub(super) fn renew(&self, ids: &[TopicPartition]) {
        let mut slots = self.slots();
        for id in ids {
            if let Some(slot) = slots.get_mut(id) {
                slot.partition.lose();
                (slot.partition, slot.waiting) = self.fresh(id);
            }
        }
    }

    pub(super) fn partitions(&self, ids: &[TopicPartition]) -> Vec<Arc<Partition>> {
        let slots = self.slots();
        ids.iter().filter_map(|id| slots.get(id)).map(|slot| Arc::clone(&slot.partition)).collect()
    }

    pub(super) fn remove(&self, ids: &[TopicPartition]) {
        ids.iter().for_each(|id| drop(self.slots().remove(id)));
    }

    /// Takes all partitions away without waiting for what is in progress.
    pub(super) fn lose_all(&self) {
        self.slots().values().for_each(|slot| slot.partition.lose());
    }
}

fn fetch<C: ConsumerContext>(queue: &PartitionQueue<C>) -> Result<Fetched, KafkaError> {
    match queue.poll(Duration::ZERO) {
        None => Ok(Fetched::Nothing),
        Some(Ok(message)) => Ok(Fetched::Message(inbound(&message))),
        Some(Err(KafkaError::PartitionEOF(_))) => Ok(Fetched::End),
        Some(Err(error)) => Err(error),
    }
}
