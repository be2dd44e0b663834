//! Partitions whose fetches fail: each change is logged once.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use omni_box_core::TopicPartition;
use rdkafka::error::KafkaError;

#[derive(Default)]
pub(super) struct Troubles(Mutex<BTreeSet<TopicPartition>>);

impl Troubles {
    fn partitions(&self) -> MutexGuard<'_, BTreeSet<TopicPartition>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a fetch failed.
    pub(super) fn failed(&self, id: &TopicPartition, error: &KafkaError) {
        if self.partitions().insert(id.clone()) {
            tracing::warn!(partition = %id, %error, "partition cannot be fetched, trying again");
        }
    }

    /// Notes that a fetch brought something.
    pub(super) fn fetched(&self, id: &TopicPartition) {
        if self.partitions().remove(id) {
            tracing::info!(partition = %id, "partition is fetched again");
        }
    }

    /// Forgets partitions that were taken away.
    pub(super) fn forget(&self, ids: &[TopicPartition]) {
        let mut partitions = self.partitions();
        partitions.retain(|id| !ids.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use omni_box_harness::Log;
    use rdkafka::error::RDKafkaErrorCode;

    use super::*;

    #[test]
    fn a_partition_that_fails_is_logged_once_a_change() {
        let log = Log::listen();
        let troubles = Troubles::default();
        let id = |partition| TopicPartition { topic: "t".to_owned(), partition };
        let error = KafkaError::MessageConsumption(RDKafkaErrorCode::BadMessage);
        troubles.fetched(&id(0));
        for _ in 0..3 {
            troubles.failed(&id(0), &error);
        }
        troubles.failed(&id(1), &error);
        for _ in 0..3 {
            troubles.fetched(&id(0));
        }
        troubles.forget(&[id(1)]);
        troubles.failed(&id(1), &error);
        let lines: Vec<_> =
            log.events().iter().map(|event| (event["partition"].clone(), event["message"].clone())).collect();
        let expected = [
            (id(0), "partition cannot be fetched, trying again"),
            (id(1), "partition cannot be fetched, trying again"),
            (id(0), "partition is fetched again"),
            (id(1), "partition cannot be fetched, trying again"),
        ];
        assert_eq!(lines, expected.map(|(id, line)| (id.to_string(), line.to_owned())));
    }
}
