//! Where new partitions start.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use omni_box_core::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::position::{LogEnd, id, list, log_ends};
use super::questions::{ASK_TIMEOUT, Questions};
use super::slots::Slots;

/// How long the question for the offset of a single partition may take.
const ASK_ONE_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks Kafka for the group's offsets.
#[derive(Default)]
pub(super) struct Offsets {
    /// Partitions to ask for one by one. While a transaction holds one partition's offset up, librdkafka repeats the whole question and
    /// returns no other's.
    alone: Mutex<Vec<TopicPartition>>,
    /// Partitions of topics that were created again: what the group had committed was another topic's.
    anew: Mutex<BTreeSet<TopicPartition>>,
}

/// What Kafka has answered.
#[derive(Default)]
pub(super) struct Answer {
    /// The committed offset, or the log's beginning if the group has none.
    pub(super) known: HashMap<TopicPartition, i64>,
    /// Errors of single partitions, whose offset is not known yet.
    pub(super) refused: Vec<(TopicPartition, KafkaError)>,
    /// The error of the whole question.
    pub(super) failure: Option<KafkaError>,
}

impl Offsets {
    pub(super) fn ask<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        ids: &[TopicPartition],
        questions: &Questions,
    ) -> Answer {
        let mut answer = Answer::default();
        if ids.is_empty() {
            return answer;
        }
        let began = Instant::now();
        let (mut new, old): (Vec<_>, Vec<_>) = {
            let anew = self.anew();
            ids.iter().cloned().partition(|id| anew.contains(id))
        };
        let timeout = if ids.len() == 1 { ASK_ONE_TIMEOUT } else { ASK_TIMEOUT };
        let committed = if old.is_empty() {
            Ok(TopicPartitionList::new())
        } else {
            consumer.committed_offsets(list(&old), timeout)
        };
        match committed {
            Ok(committed) => {
                for element in committed.elements() {
                    let id = id(&element);
                    match (element.error(), element.offset()) {
                        (Ok(()), Offset::Offset(at)) => drop(answer.known.insert(id, at)),
                        (Ok(()), _) => new.push(id),
                        (Err(error), _) => answer.refused.push((id, error)),
                    }
                }
            }
            Err(error) => {
                let is_late = error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut);
                if is_late && ids.len() > 1 {
                    *self.alone() = ids.to_vec();
                }
                answer.failure = Some(error);
            }
        }
        // librdkafka gives such a partition up at once for errors that pass, such as those of a topic that was just created
        let left = timeout.saturating_sub(began.elapsed());
        let beginnings = log_ends(consumer, &new, LogEnd::First, left);
        answer.known.extend(beginnings.known);
        answer.refused.extend(beginnings.refused);
        if answer.known.len() < ids.len() {
            questions.asked(began);
        }
        answer
    }

    /// From now on these begin at their topics' beginnings, whatever the group has committed.
    pub(super) fn begin_anew(&self, ids: Vec<TopicPartition>) {
        self.anew().extend(ids);
    }

    /// Notes that a partition was started, or taken away.
    pub(super) fn started(&self, id: &TopicPartition) {
        self.anew().remove(id);
    }

    fn anew(&self) -> MutexGuard<'_, BTreeSet<TopicPartition>> {
        self.anew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partitions to ask for next: one that is asked for alone, or all that wait.
    pub(super) fn next<C: ConsumerContext>(&self, slots: &Slots<C>) -> Vec<TopicPartition> {
        let mut alone = self.alone();
        while let Some(id) = alone.pop() {
            if slots.is_waiting(&id) {
                return vec![id];
            }
        }
        slots.waiting()
    }

    fn alone(&self) -> MutexGuard<'_, Vec<TopicPartition>> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
