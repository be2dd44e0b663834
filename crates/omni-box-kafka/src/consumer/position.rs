//! Positions in partitions: sought, listed, and where their logs begin and end.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use omni_box_core::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

/// What a partition asks of the consumer that owns it.
pub(super) trait Position: Send + Sync {
    /// Fetches from this offset next. Blocks.
    fn fetch_from(&self, id: &TopicPartition, offset: i64, timeout: Duration) -> KafkaResult<()>;
}

impl<C: ConsumerContext + 'static> Position for BaseConsumer<C> {
    fn fetch_from(&self, id: &TopicPartition, offset: i64, timeout: Duration) -> KafkaResult<()> {
        self.seek(&id.topic, id.partition, Offset::Offset(offset), timeout)
    }
}

/// An end of a log.
#[derive(Debug, Clone, Copy)]
pub(super) enum LogEnd {
    First,
    /// Behind the last record that is stable.
    Last,
}

/// What Kafka says of logs.
#[derive(Default)]
pub(super) struct LogEnds {
    pub(super) known: HashMap<TopicPartition, i64>,
    pub(super) refused: Vec<(TopicPartition, KafkaError)>,
}

/// Asks where logs begin or end. Blocks, for at most `timeout`.
pub(super) fn log_ends<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    ids: &[TopicPartition],
    which: LogEnd,
    timeout: Duration,
) -> LogEnds {
    let until = Instant::now() + timeout;
    let mut ends = LogEnds::default();
    if ids.is_empty() {
        return ends;
    }
    let Err(error) = ask(consumer, ids, which, timeout, &mut ends.known) else { return ends };
    if let [id] = ids {
        ends.refused.push((id.clone(), error));
        return ends;
    }
    // librdkafka fails the question for all, if one has an error
    for id in ids {
        let left = until.saturating_duration_since(Instant::now());
        let asked = if left.is_zero() {
            Err(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut))
        } else {
            ask(consumer, std::slice::from_ref(id), which, left, &mut ends.known)
        };
        if let Err(error) = asked {
            ends.refused.push((id.clone(), error));
        }
    }
    ends
}

fn ask<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    ids: &[TopicPartition],
    which: LogEnd,
    timeout: Duration,
    known: &mut HashMap<TopicPartition, i64>,
) -> KafkaResult<()> {
    let question = list(ids);
    let which = match which {
        LogEnd::First => Offset::Beginning,
        LogEnd::Last => Offset::End,
    };
    question.elements().iter_mut().try_for_each(|element| element.set_offset(which))?;
    for element in consumer.offsets_for_times(question, timeout)?.elements() {
        element.error()?;
        if let Offset::Offset(at) = element.offset() {
            known.insert(id(&element), at);
        }
    }
    Ok(())
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

pub(super) fn list_at<'a>(
    positions: impl IntoIterator<Item = (&'a TopicPartition, i64)>,
) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (id, at) in positions {
        let mut element = list.add_partition(&id.topic, id.partition);
        // fails for negative offsets only, which are never delivered
        let _ = element.set_offset(Offset::Offset(at));
    }
    list
}
