//! Positions in partitions: committed, sought, listed.

use std::time::Duration;

use omni_box_core::TopicPartition;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

/// What a partition asks of the consumer that owns it. Both calls block.
pub(super) trait Position: Send + Sync {
    /// Commits the offset of the next message that the group wants.
    fn commit(&self, id: &TopicPartition, position: i64) -> KafkaResult<()>;

    /// Fetches from this offset next.
    fn seek(&self, id: &TopicPartition, offset: Offset, timeout: Duration) -> KafkaResult<()>;
}

impl<C: ConsumerContext + 'static> Position for BaseConsumer<C> {
    fn commit(&self, id: &TopicPartition, position: i64) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(1);
        let mut element = list.add_partition(&id.topic, id.partition);
        // fails for negative offsets only, which are never delivered
        let _ = element.set_offset(Offset::Offset(position));
        Consumer::commit(self, &list, CommitMode::Sync)
    }

    fn seek(&self, id: &TopicPartition, offset: Offset, timeout: Duration) -> KafkaResult<()> {
        Consumer::seek(self, &id.topic, id.partition, offset, timeout)
    }
}

pub(super) fn id(element: &TopicPartitionListElem<'_>) -> TopicPartition {
    TopicPartition { topic: element.topic().to_owned(), partition: element.partition() }
}

pub(super) fn list<'a>(ids: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for id in ids {
        list.add_partition(&id.topic, id.partition);
    }
    list
}
