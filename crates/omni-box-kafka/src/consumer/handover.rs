//! How partitions go: drained, committed, given back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use omni_box_core::{ErrorKind, Result, Wake};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

use super::partition::{Partition, commit_error};
use super::position::Position;

/// Longest wait between two looks at a drain.
const DRAIN_POLL: Duration = Duration::from_millis(100);

/// Drains partitions and commits what is done of them. Of partitions that are lost already nothing is committed.
///
/// # Errors
/// That of a commit that failed.
pub(super) fn let_go<C: ConsumerContext + 'static>(
    consumer: &BaseConsumer<C>,
    going: &[Arc<Partition>],
    wake: &Wake,
    drain_deadline: Duration,
) -> Result<()> {
    drain(consumer, going, wake, drain_deadline);
    let lost = consumer.assignment_lost();
    let mut commits = Vec::new();
    for partition in going {
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
        match Position::commit(consumer, &partition.id, rest).map_err(commit_error) {
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
    failed.map_or(Ok(()), Err)
}

/// Waits until the application has let all partitions go, or they are lost, or the deadline has passed.
fn drain<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    going: &[Arc<Partition>],
    wake: &Wake,
    drain_deadline: Duration,
) {
    let mut waiter = wake.waiter();
    going.iter().for_each(|partition| partition.revoke());
    let deadline = Instant::now() + drain_deadline;
    let is_draining = |partition: &&Arc<Partition>| partition.is_draining();
    let busy = going.iter().filter(is_draining).count();
    if busy > 0 {
        tracing::info!(partitions = busy, "partitions are taken away, finishing what they have begun");
    }
    while !consumer.assignment_lost()
        && Instant::now() < deadline
        && going.iter().any(|partition| partition.is_draining())
    {
        waiter.wait_blocking(DRAIN_POLL);
    }
}
