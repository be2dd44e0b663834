//! Below which `seq` no event can appear any more.
//!
//! An insert locks the table before it takes its `seq`, and keeps the lock until its transaction has ended. So a `seq` is taken that was
//! seen. *Then* the holders of the lock are read. Once none of them is left, whatever lies at or below that `seq` has committed or never
//! will. A long transaction delays the proof; one that does not write to the table does not.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use omni_box_core::{Activity, LaneId, LaneRead, Lease};
use tokio::time::Instant;

/// A proof is looked for this often at most.
const PAUSE: Duration = Duration::from_millis(25);

/// Who writes to the table, whether one of them is prepared, and whether anything can be proven. Then the last `seq` that was taken, if
/// known, and the name of the server and its table.
pub(crate) type Writers = (Vec<String>, bool, bool, Option<i64>, Option<String>);

/// What is proven, and what is about to be.
#[derive(Debug, Default)]
pub(crate) struct Horizon(Mutex<Proof>);

#[derive(Debug, Default)]
struct Proof {
    proven: Option<i64>,
    /// Where it is.
    server: Option<String>,
    /// The highest `seq` that is known to have been taken.
    seen: Option<i64>,
    /// What is proven once these transactions have ended.
    candidate: Option<(i64, HashSet<String>)>,
    looked_at: Option<Instant>,
    is_looking: bool,
    /// Counts how often everything was forgotten.
    generation: u64,
    /// Lanes of which writers were told that their relay is idle.
    idle: HashSet<LaneId>,
    /// Counts how often that has changed.
    announcements: u64,
    /// A look after the last announcement has found no writer: each that comes knows of it.
    is_quiet: bool,
}

/// A look that is under way: the only one, so that looks are taken in in the order in which they were made.
pub(crate) struct Look<'a> {
    horizon: &'a Horizon,
    /// What had been seen when it began.
    seen: Option<i64>,
    began_at: Instant,
    generation: u64,
    announcements: u64,
}

impl Horizon {
    fn proof(&self) -> MutexGuard<'_, Proof> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The `seq` at or below which nothing can appear that a statement does not see which begins from now on.
    pub(crate) fn proven(&self) -> Option<i64> {
        self.proof().proven
    }

    /// The same, and the name of the server at which it holds.
    pub(crate) fn proven_at(&self) -> Option<(i64, String)> {
        let proof = self.proof();
        proof.proven.zip(proof.server.clone())
    }

    /// Notes that this `seq` was taken.
    pub(crate) fn saw(&self, seq: i64) {
        let mut proof = self.proof();
        proof.seen = proof.seen.max(Some(seq));
    }

    /// Notes what writers were told of lanes. Who writes already may not know of it.
    pub(crate) fn announced(&self, leases: &[Lease], activity: Activity) {
        let mut proof = self.proof();
        for lease in leases {
            match activity {
                Activity::Idle => proof.idle.insert(lease.lane),
                Activity::Busy => proof.idle.remove(&lease.lane),
            };
        }
        proof.announcements += 1;
        proof.is_quiet = false;
    }

    /// Whether each writer knows that the relay of these lanes is idle.
    pub(crate) fn is_quiet(&self, lanes: &[LaneRead]) -> bool {
        let proof = self.proof();
        proof.is_quiet && lanes.iter().all(|read| proof.idle.contains(&read.lane))
    }

    /// Forgets everything: another server may answer next.
    pub(crate) fn forget(&self) {
        let mut proof = self.proof();
        *proof = Proof {
            is_looking: proof.is_looking,
            generation: proof.generation + 1,
            announcements: proof.announcements,
            idle: std::mem::take(&mut proof.idle),
            looked_at: proof.looked_at,
            ..Proof::default()
        };
    }

    /// Begins a look, if one may prove something.
    pub(crate) fn begin(&self, now: Instant) -> Option<Look<'_>> {
        let mut proof = self.proof();
        let is_due = proof.looked_at.is_none_or(|looked_at| {
            now - looked_at >= PAUSE
                && (proof.candidate.is_some() || proof.seen > proof.proven || !proof.is_quiet)
        });
        if proof.is_looking || !is_due {
            return None;
        }
        proof.is_looking = true;
        Some(Look {
            horizon: self,
            seen: proof.seen,
            began_at: now,
            generation: proof.generation,
            announcements: proof.announcements,
        })
    }
}

impl Look<'_> {
    /// Takes in what it found.
    pub(crate) fn end(self, found: Writers) {
        let (writers, any_prepared, is_provable, last, server) = found;
        let mut proof = self.horizon.proof();
        proof.looked_at = Some(self.began_at);
        if proof.generation != self.generation {
            return;
        }
        proof.is_quiet |= proof.announcements == self.announcements && writers.is_empty() && !any_prepared;
        let is_restarted = last.is_some_and(|last| proof.proven.is_some_and(|proven| last < proven));
        let is_another = proof.server.is_some() && proof.server != server;
        proof.server = server;
        if !is_provable || is_restarted || is_another {
            (proof.proven, proof.candidate, proof.seen) = (None, None, None);
            return;
        }
        let writers: HashSet<String> = writers.into_iter().collect();
        if proof.candidate.is_none()
            && let Some(seen) = self.seen.filter(|seen| Some(*seen) > proof.proven)
        {
            proof.candidate = Some((seen, writers.clone()));
        }
        if let Some((seq, mut open)) = proof.candidate.take() {
            open.retain(|writer| writers.contains(writer));
            // one that was prepared meanwhile goes by another name now
            if open.is_empty() && !any_prepared {
                proof.proven = proof.proven.max(Some(seq));
            } else {
                proof.candidate = Some((seq, open));
            }
        }
        // the same statement read it, and perhaps after the locks: it counts from the next look on
        proof.seen = proof.seen.max(last);
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        self.horizon.proof().is_looking = false;
    }
}
