//! The partitions that are assigned, each with its queue.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use omni_box_core::{AssignedPartition, TopicPartition, Wake};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;

use super::message::inbound;
use super::partition::{Handle, Partition};
use super::position::{Position, list};

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
    wake: Wake,
}

impl<C: ConsumerContext + 'static> Slots<C> {
    pub(super) fn new(window: usize, wake: Wake) -> Self {
        Self { slots: Mutex::default(), window, wake }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<TopicPartition, Slot<C>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Splits a partition's queue off, before it is assigned: none of its messages goes elsewhere.
    pub(super) fn prepare(&self, owner: &Arc<BaseConsumer<C>>, id: TopicPartition) {
        let Some(mut queue) = owner.split_partition_queue(&id.topic, id.partition) else { return };
        let wake = self.wake.clone();
        queue.set_nonempty_callback(move || wake.wake());
        let consumer: Weak<BaseConsumer<C>> = Arc::downgrade(owner);
        let (partition, messages) = Partition::new(id.clone(), self.window, self.wake.clone(), consumer);
        let ack = Box::new(Handle(Arc::clone(&partition)));
        let waiting = Some(AssignedPartition { partition: id.clone(), messages, ack });
        self.slots().insert(id, Slot { partition, queue, waiting });
    }

    /// Takes what waits for the group's offset to be known.
    pub(super) fn take_waiting(&self, id: &TopicPartition) -> Option<(Arc<Partition>, AssignedPartition)> {
        let mut slots = self.slots();
        let slot = slots.get_mut(id)?;
        let assigned = slot.waiting.take()?;
        Some((Arc::clone(&slot.partition), assigned))
    }

    /// Does the rewinds, then feeds every partition that has room and passes on how that went. `true`: there may be more.
    pub(super) fn feed(
        &self,
        position: &dyn Position,
        mut report: impl FnMut(&TopicPartition, Result<(), KafkaError>),
    ) -> bool {
        let mut more = false;
        for Slot { partition, queue, .. } in self.slots().values() {
            partition.rewind(position);
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
                report(&partition.id, Ok(()));
            }
            if let Some(error) = trouble {
                report(&partition.id, Err(error));
            }
        }
        more
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
    pub(super) fn started(&self, topic: &str) -> TopicPartitionList {
        let is_read = |(id, slot): &(&TopicPartition, &Slot<C>)| id.topic == topic && slot.waiting.is_none();
        list(self.slots().iter().filter(is_read).map(|(id, _)| id))
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
