//! How far each lane has been read for good.

use std::collections::{BTreeMap, HashMap};

use omni_box_core::{LaneId, LaneRead};

#[derive(Debug)]
struct Bound {
    above: i64,
    /// A fetch up to this number began before something below its bound was forgotten.
    lowered: u64,
}

/// What the fetches of lanes may leave out. A bound rises by a fetch that was taken in whole, and falls when something that was read is
/// to be read again.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    lanes: HashMap<LaneId, Bound>,
}

impl Bounds {
    /// Up to where a lane need not be read.
    pub(crate) fn above(&self, lane: LaneId) -> i64 {
        self.lanes.get(&lane).map_or(LaneRead::ALL, |bound| bound.above)
    }

    /// Takes in the bounds of fetch number `fetch`, all of whose events have been taken in.
    pub(crate) fn raise(&mut self, fetch: u64, bounds: &BTreeMap<LaneId, i64>) {
        for (lane, to) in bounds {
            let bound = self.lanes.entry(*lane).or_insert(Bound { above: LaneRead::ALL, lowered: 0 });
            if fetch > bound.lowered {
                bound.above = bound.above.max(*to);
            }
        }
    }

    /// What is at `seq` is to be read again; `fetch` is the number of the latest fetch that has begun.
    pub(crate) fn lower(&mut self, fetch: u64, lane: LaneId, seq: i64) {
        let bound = self.lanes.entry(lane).or_insert(Bound { above: LaneRead::ALL, lowered: 0 });
        bound.above = bound.above.min(seq.saturating_sub(1));
        bound.lowered = bound.lowered.max(fetch);
    }

    /// A lane is to be read from its beginning, as the lane of another owner would be.
    pub(crate) fn forget(&mut self, fetch: u64, lane: LaneId) {
        self.lower(fetch, lane, LaneRead::ALL);
    }

    /// All lanes are to be read from their beginning.
    pub(crate) fn forget_all(&mut self, fetch: u64) {
        for bound in self.lanes.values_mut() {
            *bound = Bound { above: LaneRead::ALL, lowered: fetch };
        }
    }
}
