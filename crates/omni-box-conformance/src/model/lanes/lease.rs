//! The model of leases.

use std::collections::{BTreeMap, BTreeSet};

use omni_box_core::{LaneId, LaneShare, Lease, OwnerId};

use crate::model::call::{Checked, mismatch};
use crate::model::clock::{Minute, end};

/// How long a lease lives: so many minutes and a half.
pub(super) const TTL: u8 = 2;

#[derive(Debug, Clone, Default)]
struct Lane {
    owner: Option<OwnerId>,
    epoch: i64,
    /// When it expires.
    until: Minute,
}

/// Who owns which lane, and who is alive.
#[derive(Debug, Clone)]
pub(super) struct Leases {
    lanes: BTreeMap<LaneId, Lane>,
    alive: BTreeMap<OwnerId, Minute>,
}

/// Leases by what becomes of a settlement.
pub(super) struct Check {
    /// Not the owner's any more.
    pub(super) lost: BTreeSet<LaneId>,
    /// Expired, but not taken by another relay: a store may count them as lost.
    pub(super) expired: BTreeSet<LaneId>,
}

impl Leases {
    /// All lanes, without an owner.
    pub(super) fn free(leases: &[Lease]) -> Self {
        let lane = |lease: &Lease| (lease.lane, Lane { epoch: lease.epoch, ..Lane::default() });
        Self { lanes: leases.iter().map(lane).collect(), alive: BTreeMap::new() }
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = LaneId> {
        self.lanes.keys().copied()
    }

    /// The clock of the next case begins at 0 again; no relay has anything.
    pub(super) fn rewind(&mut self) {
        self.alive.clear();
        self.lanes.values_mut().for_each(|lane| (lane.owner, lane.until) = (None, 0));
    }

    /// Judges the answer to a request for leases.
    pub(super) fn lease(&mut self, owner: OwnerId, now: Minute, share: &LaneShare) -> Checked {
        let until = end(now, TTL);
        self.alive.insert(owner, until);
        self.alive.retain(|_, until| *until > now);
        let fair = self.lanes.len().div_ceil(self.alive.len());
        if share.fair_share != fair {
            return mismatch(format!("fair share is {}, should be {fair}", share.fair_share));
        }
        let is_free = |lane: &Lane| lane.owner.is_none() || lane.until <= now;
        let kept = self.lanes.values().filter(|lane| lane.owner == Some(owner) && lane.until > now).count();
        let free = self.lanes.values().filter(|lane| is_free(lane)).count();
        let least = kept.max(fair.min(kept + free));
        if share.leases.len() < least {
            return mismatch(format!("{} lanes were leased, {least} should be", share.leases.len()));
        }
        let mut own = 0;
        for Lease { lane, epoch } in &share.leases {
            let Some(before) = self.lanes.get_mut(lane) else {
                return mismatch(format!("lane {lane} does not exist, or was leased twice"));
            };
            let is_mine = before.owner == Some(owner);
            own += usize::from(is_mine);
            let is_right = match (is_mine, before.until > now) {
                (true, true) => *epoch == before.epoch,
                // renewed, or taken anew
                (true, false) => *epoch >= before.epoch,
                (false, true) if before.owner.is_some() => {
                    return mismatch(format!(
                        "lane {lane} was taken from an owner whose lease has not expired"
                    ));
                }
                (false, _) => *epoch > before.epoch,
            };
            if !is_right {
                return mismatch(format!("lane {lane} has epoch {epoch} after {}", before.epoch));
            }
            *before = Lane { owner: Some(owner), epoch: *epoch, until };
        }
        let distinct: BTreeSet<LaneId> = share.leases.iter().map(|lease| lease.lane).collect();
        if distinct.len() < share.leases.len() {
            return mismatch("a lane was leased twice");
        }
        let silent = self
            .lanes
            .iter()
            .find(|(id, lane)| lane.owner == Some(owner) && lane.until > now && !distinct.contains(id));
        if let Some((lane, _)) = silent {
            return mismatch(format!("the lease of lane {lane} has not expired, but is not in the answer"));
        }
        if share.leases.len() > own.max(fair) {
            return mismatch(format!("{} lanes are leased, more than the fair share", share.leases.len()));
        }
        Ok(())
    }

    pub(super) fn release(&mut self, owner: OwnerId, leases: &[Lease]) {
        for lease in leases {
            if let Some(lane) = self.lanes.get_mut(&lease.lane)
                && lane.owner == Some(owner)
                && lane.epoch == lease.epoch
            {
                lane.owner = None;
            }
        }
    }

    pub(super) fn leave(&mut self, owner: OwnerId) {
        self.alive.remove(&owner);
        self.lanes.values_mut().filter(|lane| lane.owner == Some(owner)).for_each(|lane| lane.owner = None);
    }

    pub(super) fn check(&self, owner: OwnerId, leases: &[Lease], now: Minute) -> Check {
        let mut check = Check { lost: BTreeSet::new(), expired: BTreeSet::new() };
        for lease in leases {
            match self.lanes.get(&lease.lane) {
                Some(lane) if lane.owner == Some(owner) && lane.epoch == lease.epoch => {
                    if lane.until <= now {
                        check.expired.insert(lease.lane);
                    }
                }
                _ => {
                    check.lost.insert(lease.lane);
                }
            }
        }
        check
    }
}
