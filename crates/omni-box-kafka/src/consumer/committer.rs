//! Commits the positions of all partitions: one request for all of them, one request at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use omni_box_core::{Waiter, Wake};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};

use super::partition::Partition;
use super::position::list_at;

/// Pause after a commit that met the end of a generation.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest sleep of the thread: it ends so long after the consumer.
const IDLE: Duration = Duration::from_secs(1);

/// Sends commits from a thread of its own, as librdkafka's answer has to be waited for.
///
/// librdkafka finishes an assignment only while no commit is on its way: a request for each partition could put it off without end.
pub(super) struct Committer {
    state: Mutex<State>,
    /// Wakes the thread.
    asked: Wake,
    /// Rings after each request.
    answered: Wake,
}

#[derive(Default)]
struct State {
    due: Vec<Arc<Partition>>,
    is_busy: bool,
}

impl Committer {
    pub(super) fn new(answered: Wake) -> Self {
        Self { state: Mutex::default(), asked: Wake::new(), answered }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has partitions' positions committed, by the same request.
    pub(super) fn ask(&self, partitions: impl IntoIterator<Item = Arc<Partition>>) {
        self.state().due.extend(partitions);
        self.asked.wake();
    }

    /// Whether all is committed, or refused, that was asked for.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        state.due.is_empty() && !state.is_busy
    }

    /// Starts the thread, which ends with the consumer.
    pub(super) fn start<C: ConsumerContext + 'static>(
        self: &Arc<Self>,
        consumer: &Arc<BaseConsumer<C>>,
    ) -> std::io::Result<()> {
        let (committer, consumer) = (Arc::clone(self), Arc::downgrade(consumer));
        let mut waiter = self.asked.waiter();
        let thread = std::thread::Builder::new().name("omni-box-kafka-commits".to_owned());
        thread.spawn(move || committer.run(&consumer, &mut waiter)).map(drop)
    }

    fn run<C: ConsumerContext + 'static>(&self, consumer: &Weak<BaseConsumer<C>>, waiter: &mut Waiter) {
        loop {
            waiter.wait_blocking(IDLE);
            let Some(consumer) = consumer.upgrade() else { return };
            while self.commit_due(&consumer) {
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Commits what is due; `true`: some of it is due again.
    fn commit_due<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>) -> bool {
        let due = {
            let mut state = self.state();
            state.is_busy = true;
            std::mem::take(&mut state.due)
        };
        let mark = |partition: Arc<Partition>| partition.take_due().map(|at| (partition, at));
        let marks: Vec<_> = due.into_iter().filter_map(mark).collect();
        let mut again = Vec::new();
        let mut settle = |(partition, at): &(Arc<Partition>, i64), result: &KafkaResult<()>| match result {
            Ok(()) => partition.committed(*at),
            Err(error) if partition.not_committed(*at, error) => again.push(Arc::clone(partition)),
            Err(_) => {}
        };
        match commit(consumer, &marks) {
            // the request tells only that some partition was refused
            Err(error) if marks.len() > 1 && is_of_one(error.rdkafka_error_code()) => {
                for mark in &marks {
                    settle(mark, &commit(consumer, std::slice::from_ref(mark)));
                }
            }
            result => marks.iter().for_each(|mark| settle(mark, &result)),
        }
        let is_again = !again.is_empty();
        {
            let mut state = self.state();
            state.due.extend(again);
            state.is_busy = false;
        }
        if !marks.is_empty() {
            self.answered.wake();
        }
        is_again
    }
}

fn commit<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    marks: &[(Arc<Partition>, i64)],
) -> KafkaResult<()> {
    if marks.is_empty() {
        return Ok(());
    }
    let positions = list_at(marks.iter().map(|(partition, at)| (&partition.id, *at)));
    consumer.commit(&positions, CommitMode::Sync)
}

/// Whether an error may be that of a single partition.
fn is_of_one(code: Option<RDKafkaErrorCode>) -> bool {
    matches!(
        code,
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::InvalidCommitOffsetSize
        )
    )
}
