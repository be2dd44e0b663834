//! What open transactions keep from each other, and the wait for it.

use std::time::Duration;

use omni_box_core::{Error, ErrorKind, Result};
use tokio::time::{Instant, timeout_at};

use super::key::{LockKey, TxId};
use super::state::{Shared, State};

/// Longest wait for another transaction. Two that wait for each other end by it.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl Shared {
    /// Runs `attempt` until it has a result, each time some transaction has ended. What it does must be whole: nothing else happens
    /// meanwhile, and a wait that is cancelled leaves what earlier attempts did.
    ///
    /// # Errors
    /// [`Contention`](ErrorKind::Contention) when it took longer than `longest`.
    pub(super) async fn wait_for<T>(
        &self,
        longest: Duration,
        mut attempt: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T> {
        // before the first attempt, so that no end is missed
        let mut ends = self.ends.subscribe();
        let deadline = Instant::now() + longest;
        loop {
            if let Some(result) = attempt(&mut self.state()) {
                return Ok(result);
            }
            // the sender lives in `self`
            if timeout_at(deadline, ends.changed()).await.is_err() {
                return Err(Error::new(
                    ErrorKind::Contention,
                    format!(
                        "another transaction has kept a row locked for {longest:?}, run this one again (or the two wait for \
                         each other)"
                    ),
                ));
            }
        }
    }
}

impl State {
    /// Locks for a transaction. `None`: another one has it. `Some(true)`: this one had not.
    pub(super) fn try_lock(&mut self, key: &LockKey, tx: TxId) -> Option<bool> {
        match self.locks.get(key) {
            None => {
                self.locks.insert(key.clone(), tx);
                Some(true)
            }
            Some(holder) if *holder == tx => Some(false),
            Some(_) => None,
        }
    }

    pub(super) fn is_locked(&self, key: Option<&LockKey>) -> bool {
        key.is_some_and(|key| self.locks.contains_key(key))
    }
}
