//! Followers without a head, released in slices.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use omni_box_core::{KeyRef, Lease, OwnerId};

/// Followers that one statement releases at most.
pub const RELEASE_SLICE: usize = 10_000;

/// Keys to release, each once, and how many followers of each one statement may release: every key gets its part.
pub fn release_slices<'a>(keys: impl IntoIterator<Item = &'a KeyRef>) -> (Vec<&'a KeyRef>, usize) {
    let mut met = HashSet::new();
    let keys: Vec<&KeyRef> = keys.into_iter().filter(|key| met.insert(*key)).collect();
    let most = RELEASE_SLICE / keys.len().max(1);
    (keys, most.max(1))
}

/// Lanes in which followers without a head may wait: their owner goes on with the release at its next heartbeat. In memory, since the next
/// owner of a lane looks for such followers anyway.
#[derive(Debug, Default)]
pub struct Orphans(Mutex<HashSet<(OwnerId, Lease)>>);

impl Orphans {
    /// Notes lanes that were taken.
    pub fn add(&self, owner: OwnerId, leases: &[Lease]) {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.extend(leases.iter().map(|lease| (owner, *lease)));
    }

    /// Those of the leases of which lanes are noted.
    pub fn of(&self, owner: OwnerId, leases: &[Lease]) -> Vec<Lease> {
        let lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leases.iter().filter(|lease| lanes.contains(&(owner, **lease))).copied().collect()
    }

    /// Forgets all lanes of an owner but these.
    pub fn keep(&self, owner: OwnerId, leases: &[Lease]) {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|(other, lease)| *other != owner || leases.contains(lease));
    }
}
