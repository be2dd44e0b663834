//! How partitions go: drained, committed, given back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use omni_box_core::{Error, ErrorKind, Result, TopicPartition, Wake};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

use super::committer::Committer;
use super::partition::Partition;
use super::position::{LogEnd, log_ends};
use super::slots::Slots;

/// Longest wait between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(100);
/// How long the last commit may take.
const LAST_COMMIT: Duration = Duration::from_secs(5);
/// How long the end of a log is looked for behind what is done.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// Partitions that an error names.
const NAMED: usize = 5;

/// Lets partitions go, on the consumer's thread.
pub(super) struct HandOver<'a, C: ConsumerContext + 'static> {
    pub(super) consumer: &'a BaseConsumer<C>,
    pub(super) slots: &'a Slots<C>,
    pub(super) committer: &'a Committer,
    pub(super) wake: &'a Wake,
    pub(super) drain_deadline: Duration,
}

impl<C: ConsumerContext + 'static> HandOver<'_, C> {
    /// Drains partitions and commits what is done of them, by one request. Of partitions that are lost already nothing is committed.
    ///
    /// # Errors
    /// That of a commit that failed or was not answered, with the partitions.
    pub(super) fn let_go(&self, ids: &[TopicPartition]) -> Result<()> {
        let going = self.slots.partitions(ids);
        self.drain(&going);
        let lost = self.consumer.assignment_lost();
        for partition in &going {
            if lost || partition.is_draining() {
                tracing::warn!(partition = %partition.id, lost, "partition goes with work in progress");
                // stops the work; what it acknowledged until now counts, unless the partition is another's already
                partition.lose();
            }
        }
        if !lost {
            self.look_behind(&going);
        }
        let mut rest = Vec::new();
        for partition in going {
            if let (Some(position), false) = (partition.finish(), lost) {
                rest.push((Arc::clone(&partition), position));
            }
            tracing::info!(partition = %partition.id, "partition given back");
        }
        self.commit(&rest)
    }

    /// Waits until the application has let all partitions go, or they are lost, or the deadline has passed.
    fn drain(&self, going: &[Arc<Partition>]) {
        going.iter().for_each(|partition| partition.revoke());
        let busy = going.iter().filter(|partition| partition.is_draining()).count();
        if busy > 0 {
            tracing::info!(partitions = busy, "partitions are taken away, finishing what they have begun");
        }
        self.wait(Instant::now() + self.drain_deadline, || {
            self.consumer.assignment_lost() || !going.iter().any(|partition| partition.is_draining())
        });
    }

    /// Lets positions pass records without a message behind the last one that is done.
    fn look_behind(&self, going: &[Arc<Partition>]) {
        // a message that waits says it all without a question
        let is_drained =
            |partition: &&Arc<Partition>| partition.is_drained() && !self.slots.take_message(&partition.id);
        let drained: Vec<_> = going.iter().filter(is_drained).map(Arc::clone).collect();
        let ids: Vec<_> = drained.iter().map(|partition| partition.id.clone()).collect();
        let until = Instant::now() + LAST_LOOK;
        for (id, end) in log_ends(self.consumer, &ids, LogEnd::Last, LAST_LOOK).known {
            for partition in drained.iter().filter(|partition| partition.id == id) {
                partition.log_ends_at(end, self.consumer);
            }
        }
        self.wait(until, || {
            self.slots.look_behind(&ids);
            !drained.iter().any(|partition| partition.is_probed())
        });
    }

    fn commit(&self, rest: &[(Arc<Partition>, i64)]) -> Result<()> {
        self.committer.ask(rest.iter().map(|(partition, _)| Arc::clone(partition)));
        self.wait(Instant::now() + LAST_COMMIT, || self.committer.is_idle());
        let mut failed: Option<Error> = None;
        let mut names = Vec::new();
        for (partition, position) in rest {
            // what is not sent by now would be sent for a partition that is another's
            partition.end_commits();
            match partition.refusal(*position) {
                None => {}
                // the group has moved on meanwhile: as if it had been lost a moment earlier
                Some(error) if error.kind() == ErrorKind::Closed => tracing::warn!(
                    partition = %partition.id,
                    error = %error.chain(),
                    "partition was taken away before its last commit; messages come again"
                ),
                Some(error) => {
                    names.push(partition.id.to_string());
                    failed = Some(error);
                }
            }
        }
        let Some(error) = failed else { return Ok(()) };
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        if more > 0 {
            names.push(format!("{more} more"));
        }
        let message = format!("last positions were not committed, messages come again: {}", names.join(", "));
        Err(Error::new(error.kind(), message).with_source(error))
    }

    /// Waits until something is so, or the time has come.
    fn wait(&self, until: Instant, is: impl Fn() -> bool) {
        let mut waiter = self.wake.waiter();
        loop {
            self.slots.expire_commits();
            if is() {
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            waiter.wait_blocking(left.min(LOOK));
        }
    }
}
