//! The lanes that this relay owns, and how much of each to read.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use omni_box_core::{LaneEvent, LaneId, LaneRead, LaneShare, Lease};
use tokio::time::Instant;

#[derive(Debug)]
struct Owned {
    epoch: i64,
    /// Since when it is above the fair share: nothing more is read of it, and it goes to its next owner.
    draining: Option<Instant>,
    /// How many events the last fetch found, and whether that was all it was allowed.
    found: u32,
    is_full: bool,
}

/// Owned lanes. The local clock only ever shortens a lease: it is counted from before the request was sent.
#[derive(Debug, Default)]
pub(crate) struct OwnedLanes {
    lanes: BTreeMap<LaneId, Owned>,
    valid_until: Option<Instant>,
}

/// What a lease call changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Lanes that are new here.
    pub(crate) gained: usize,
    /// Lanes that another relay took.
    pub(crate) lost: Vec<LaneId>,
}

impl OwnedLanes {
    /// Takes in the answer to a lease request sent at `asked`; lanes above the fair share begin to drain.
    pub(crate) fn renewed(&mut self, share: &LaneShare, asked: Instant, ttl: Duration) -> Change {
        self.valid_until = Some(asked + ttl);
        let answer: HashMap<LaneId, i64> =
            share.leases.iter().map(|lease| (lease.lane, lease.epoch)).collect();
        let lost: Vec<LaneId> = self
            .lanes
            .iter()
            .filter(|(lane, owned)| answer.get(lane) != Some(&owned.epoch))
            .map(|(lane, _)| *lane)
            .collect();
        for lane in &lost {
            self.lanes.remove(lane);
        }
        let mut gained = 0;
        for (lane, epoch) in answer {
            self.lanes.entry(lane).or_insert_with(|| {
                gained += 1;
                Owned { epoch, draining: None, found: 0, is_full: false }
            });
        }
        let surplus = self.lanes.len().saturating_sub(share.fair_share);
        for (index, owned) in self.lanes.values_mut().rev().enumerate() {
            owned.draining = (index < surplus).then(|| owned.draining.unwrap_or(asked));
        }
        Change { gained, lost }
    }

    /// Whether events of a lane may be sent now.
    pub(crate) fn may_send(&self, lane: LaneId, now: Instant) -> bool {
        self.is_valid(now) && self.lanes.contains_key(&lane)
    }

    /// Whether the leases are valid by the local clock.
    pub(crate) fn is_valid(&self, now: Instant) -> bool {
        self.valid_until.is_some_and(|until| now < until)
    }

    /// For how long the leases are valid by the local clock.
    pub(crate) fn valid_for(&self, now: Instant) -> Option<Duration> {
        let left = self.valid_until?.checked_duration_since(now)?;
        (!left.is_zero()).then_some(left)
    }

    /// Lets the leases be valid no longer, until they are renewed.
    pub(crate) fn expire(&mut self) {
        self.valid_until = None;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Writes the names of all lanes to a list, in order.
    pub(crate) fn list(&self, lanes: &mut Vec<LaneId>) {
        lanes.clear();
        lanes.extend(self.lanes.keys());
    }

    /// All leases.
    pub(crate) fn leases(&self) -> Vec<Lease> {
        self.lanes.iter().map(|(lane, owned)| Lease { lane: *lane, epoch: owned.epoch }).collect()
    }

    /// The lease of one lane.
    pub(crate) fn lease(&self, lane: LaneId) -> Option<Lease> {
        self.lanes.get(&lane).map(|owned| Lease { lane, epoch: owned.epoch })
    }

    /// Leases of lanes that drain and have nothing in flight.
    pub(crate) fn drained(&self, in_flight: impl Fn(LaneId) -> usize) -> Vec<Lease> {
        let drained =
            self.lanes.iter().filter(|(lane, owned)| owned.draining.is_some() && in_flight(**lane) == 0);
        drained.map(|(lane, owned)| Lease { lane: *lane, epoch: owned.epoch }).collect()
    }

    /// Since when the first of the lanes that drain has been.
    pub(crate) fn draining_since(&self) -> Option<Instant> {
        self.lanes.values().filter_map(|owned| owned.draining).min()
    }

    /// Whether a lane drains since a time or longer.
    pub(crate) fn is_draining(&self, lane: LaneId, since: Instant) -> bool {
        self.lanes.get(&lane).and_then(|owned| owned.draining).is_some_and(|begun| begun <= since)
    }

    /// Leases of lanes that have nothing in flight.
    pub(crate) fn without(&self, in_flight: impl Fn(LaneId) -> usize) -> Vec<Lease> {
        self.leases().into_iter().filter(|lease| in_flight(lease.lane) == 0).collect()
    }

    pub(crate) fn remove(&mut self, lane: LaneId) {
        self.lanes.remove(&lane);
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How much to read of each lane, and above which `seq`: lanes that filled their last limit share what the others leave.
    pub(crate) fn plan(&self, limit: u32, above: impl Fn(LaneId) -> i64) -> Vec<LaneRead> {
        let open: Vec<(&LaneId, &Owned)> =
            self.lanes.iter().filter(|(_, owned)| owned.draining.is_none()).collect();
        if open.is_empty() || limit == 0 {
            return Vec::new();
        }
        let even = limit.div_ceil(open.len() as u32);
        let hot = open.iter().filter(|(_, owned)| owned.is_full).count() as u32;
        let cold_limit =
            |owned: &Owned| if hot == 0 { even } else { (owned.found * 2).clamp(even.min(8), even) };
        let cold: u32 =
            open.iter().filter(|(_, owned)| !owned.is_full).map(|(_, owned)| cold_limit(owned)).sum();
        let hot_limit = limit.saturating_sub(cold).checked_div(hot).map_or(even, |share| share.max(even));
        let read = |(lane, owned): (&LaneId, &Owned)| LaneRead {
            lane: *lane,
            limit: if owned.is_full { hot_limit } else { cold_limit(owned) },
            above: above(*lane),
        };
        open.into_iter().map(read).collect()
    }

    /// Notes what a fetch found. Returns whether some lane may have more.
    pub(crate) fn fetched(&mut self, plan: &[LaneRead], events: &[LaneEvent]) -> bool {
        let mut found: HashMap<LaneId, u32> = HashMap::new();
        for event in events {
            *found.entry(event.lane).or_default() += 1;
        }
        let mut may_have_more = false;
        for LaneRead { lane, limit, .. } in plan {
            let Some(owned) = self.lanes.get_mut(lane) else { continue };
            owned.found = found.get(lane).copied().unwrap_or(0);
            owned.is_full = owned.found >= *limit;
            may_have_more |= owned.is_full;
        }
        may_have_more
    }
}
