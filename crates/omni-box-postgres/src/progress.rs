//! What owners' calls have reached of moving their lanes on.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use omni_box_core::{Lease, OwnerId};
use tokio::time::Instant;

/// A slice of the table is swept this often at most.
const SWEEP_PAUSE: Duration = Duration::from_secs(5);

/// The same once all was swept.
const SWEPT_PAUSE: Duration = Duration::from_secs(12);

/// What an owner's last calls have reached. In memory only: the table knows better.
#[derive(Debug)]
struct Reached {
    leases: Vec<Lease>,
    /// The lowest `read_to` of its lanes, if all could be looked at.
    read_to: Option<i64>,
    /// Where the last slice of a sweep has ended.
    swept_to: i64,
    sweep_due: Instant,
}

impl Reached {
    fn new(now: Instant) -> Self {
        Self { leases: Vec::new(), read_to: None, swept_to: i64::MIN, sweep_due: now }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<HashMap<OwnerId, Reached>>);

impl Progress {
    fn owners(&self) -> MutexGuard<'_, HashMap<OwnerId, Reached>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets an owner.
    pub(crate) fn forget(&self, owner: OwnerId) {
        self.owners().remove(&owner);
    }

    /// Whether `read_to` may move, given what is proven; and behind which `seq` a slice is to be swept, if one is.
    pub(crate) fn begin(&self, owner: OwnerId, leases: &[Lease], proven: Option<i64>) -> (bool, Option<i64>) {
        let now = Instant::now();
        let mut owners = self.owners();
        let reached = owners.entry(owner).or_insert_with(|| Reached::new(now));
        if reached.leases != leases {
            (reached.leases, reached.read_to) = (leases.to_vec(), None);
        }
        let is_swept = now >= reached.sweep_due;
        if is_swept {
            reached.sweep_due = now + SWEEP_PAUSE;
        }
        // with a sweep, too: it finds a sequence that was set back
        let is_moved = is_swept || reached.read_to.is_none() || reached.read_to < proven;
        (is_moved, is_swept.then_some(reached.swept_to))
    }

    /// Notes the lowest `read_to` of an owner's lanes, if all could be looked at.
    pub(crate) fn moved(&self, owner: OwnerId, read_to: Option<i64>) {
        if let Some(reached) = self.owners().get_mut(&owner) {
            reached.read_to = read_to;
        }
    }

    /// Notes where a slice has ended; `None`: at the end of what is swept.
    pub(crate) fn swept(&self, owner: OwnerId, end: Option<i64>) {
        if let Some(reached) = self.owners().get_mut(&owner) {
            reached.swept_to = end.unwrap_or(i64::MIN);
            if end.is_none() {
                reached.sweep_due = Instant::now() + SWEPT_PAUSE;
            }
        }
    }
}
