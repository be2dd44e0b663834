//! Where new partitions start.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use omni_box_core::TopicPartition;
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

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
        let timeout = if ids.len() == 1 { ASK_ONE_TIMEOUT } else { ASK_TIMEOUT };
        match consumer.committed_offsets(list(ids), timeout) {
            Ok(committed) => {
                let mut new = Vec::new();
                for element in committed.elements() {
                    let id = id(&element);
                    match (element.error(), element.offset()) {
                        (Ok(()), Offset::Offset(at)) => drop(answer.known.insert(id, at)),
                        (Ok(()), _) => new.push(id),
                        (Err(error), _) => answer.refused.push((id, error)),
                    }
                }
                // librdkafka gives such a partition up at once for errors that pass, such as those of a topic that was just created
                let left = timeout.saturating_sub(began.elapsed());
                let beginnings = log_ends(consumer, &new, LogEnd::First, left);
                answer.known.extend(beginnings.known);
                answer.refused.extend(beginnings.refused);
            }
            Err(error) => {
                let is_late = error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut);
                if is_late && ids.len() > 1 {
                    *self.alone() = ids.to_vec();
                }
                answer.failure = Some(error);
            }
        }
        if answer.known.len() < ids.len() {
            questions.asked(began);
        }
        answer
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
