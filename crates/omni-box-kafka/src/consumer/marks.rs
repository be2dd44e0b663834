//! Who waits for a partition's positions to be committed.

use std::time::{Duration, Instant};

use omni_box_core::{Error, ErrorKind, Result};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::oneshot;

use crate::error::classified;

/// How long a commit is waited for, in which it is tried again while the group is between two generations.
const COMMIT_DEADLINE: Duration = Duration::from_secs(10);

/// The commits of one partition that were asked for.
#[derive(Default)]
pub(super) struct Commits {
    is_due: bool,
    waiters: Vec<Waiter>,
    /// The last error, until a commit succeeds.
    refused: Option<KafkaError>,
}

struct Waiter {
    target: i64,
    until: Instant,
    answer: oneshot::Sender<Result<()>>,
}

impl Commits {
    /// Asks for a commit without waiting for it.
    pub(super) fn ask(&mut self) {
        self.is_due = true;
    }

    pub(super) fn is_due_alone(&self) -> bool {
        self.is_due && self.waiters.is_empty()
    }

    /// Asks for a commit. The answer's sender is dropped when the partition goes.
    pub(super) fn wait_for(&mut self, target: i64) -> oneshot::Receiver<Result<()>> {
        let (answer, answered) = oneshot::channel();
        self.waiters.push(Waiter { target, until: Instant::now() + COMMIT_DEADLINE, answer });
        self.ask();
        answered
    }

    /// Whether a commit is asked for that is not on its way.
    pub(super) fn take_due(&mut self) -> bool {
        std::mem::take(&mut self.is_due)
    }

    pub(super) fn succeed(&mut self, position: i64) {
        self.refused = None;
        self.answer(|waiter| (waiter.target <= position).then_some(Ok(())));
    }

    /// Tells those whose position was refused, unless it is worth another try; `true`: it is.
    pub(super) fn fail(&mut self, position: i64, error: &KafkaError) -> bool {
        self.refused = Some(error.clone());
        // a commit that meets the end of a rebalance is of a generation that was; the partition may be kept
        let is_between = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::RebalanceInProgress | RDKafkaErrorCode::IllegalGeneration)
        );
        if is_between && !self.waiters.is_empty() {
            self.is_due = true;
            return true;
        }
        self.answer(|waiter| (waiter.target <= position).then(|| Err(commit_error(error.clone()))));
        false
    }

    /// Tells those who have waited too long.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.waiters.iter().all(|waiter| waiter.until > now) {
            return;
        }
        let refused = self.refused.clone();
        self.answer(|waiter| (waiter.until <= now).then(|| Err(refusal(refused.as_ref()))));
    }

    /// Why the last commit did not succeed.
    pub(super) fn refusal(&self) -> Error {
        refusal(self.refused.as_ref())
    }

    /// Leaves those who wait without an answer.
    pub(super) fn end(&mut self) {
        self.waiters.clear();
        self.is_due = false;
    }

    fn answer(&mut self, with: impl Fn(&Waiter) -> Option<Result<()>>) {
        for at in (0..self.waiters.len()).rev() {
            if let Some(answer) = with(&self.waiters[at]) {
                // the caller may have stopped waiting
                let _ = self.waiters.swap_remove(at).answer.send(answer);
            }
        }
    }
}

fn refusal(refused: Option<&KafkaError>) -> Error {
    match refused {
        Some(error) => commit_error(error.clone()),
        None => Error::new(ErrorKind::Unavailable, "kafka did not take the position in time, commit again"),
    }
}

fn commit_error(error: KafkaError) -> Error {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::RebalanceInProgress) => {
            Error::new(ErrorKind::Unavailable, "group is rebalancing, commit again").with_source(error)
        }
        _ => classified("offset was not committed", error),
    }
}
