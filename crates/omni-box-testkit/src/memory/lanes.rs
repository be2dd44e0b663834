//! Lanes: leases, and the fetch of their owner.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use omni_box_core::{
    Activity, DeliveryMode, Error, ErrorKind, EventId, LaneEvent, LaneFetch, LaneId, LaneRead,
    LaneSettlement, LaneShare, Lease, LeaseRequest, OrderedLanes, OwnerId, Result, Settled,
};

use super::MemoryStore;
use super::lane::Lane;
use super::state::State;
use super::table::{OutboxRow, Row, Table, after};

impl State {
    /// Those leases that are still the owner's, and those that are not.
    pub(super) fn check(&self, owner: OwnerId, leases: &[Lease]) -> (HashSet<LaneId>, Vec<LaneId>) {
        let is_mine = |lease: &&Lease| self.lanes.iter().any(|lane| lane.is_held_by(owner, lease));
        let (mine, lost): (Vec<&Lease>, Vec<&Lease>) = leases.iter().partition(is_mine);
        (
            mine.into_iter().map(|lease| lease.lane).collect(),
            lost.into_iter().map(|lease| lease.lane).collect(),
        )
    }

    fn share(&mut self, request: &LeaseRequest, now: DateTime<Utc>) -> LaneShare {
        let (owner, until) = (request.owner, after(now, request.ttl));
        self.relays.insert(owner, until);
        self.relays.retain(|_, alive_until| *alive_until >= now);
        let fair_share = self.lanes.len().div_ceil(self.relays.len());
        let mut leases = Vec::new();
        for lane in self.lanes.iter_mut().filter(|lane| lane.owner == Some(owner)) {
            lane.leased_until = Some(until);
            leases.push(lane.lease());
        }
        let room = fair_share.saturating_sub(leases.len());
        for lane in self.lanes.iter_mut().filter(|lane| lane.is_free(now)).take(room) {
            lane.owner = Some(owner);
            lane.epoch += 1;
            lane.leased_until = Some(until);
            leases.push(lane.lease());
            lane.may_have_orphans = true;
        }
        let is_mine = |lane: &Lane| lane.owner == Some(owner) && lane.may_have_orphans;
        let looked_at: HashSet<LaneId> =
            self.lanes.iter().filter(|lane| is_mine(lane)).map(|lane| lane.id).collect();
        let left = self.tables.outbox.release_orphans(now, |row| looked_at.contains(&row.lane));
        for lane in self.lanes.iter_mut().filter(|lane| looked_at.contains(&lane.id)) {
            lane.may_have_orphans = left.iter().any(|key| key.lane == lane.id);
        }
        leases.sort_by_key(|lease| lease.lane);
        LaneShare { leases, fair_share }
    }
}

impl Table<OutboxRow> {
    /// What is due of lanes, in the order of `seq`; each with its place in its lane.
    fn due_of(
        &self,
        reads: &[LaneRead],
        in_flight: &HashSet<EventId>,
        resting: &[String],
        now: DateTime<Utc>,
    ) -> Vec<(u32, &OutboxRow)> {
        let rests = |row: &OutboxRow| row.head && resting.contains(&row.record.topic);
        let limits: HashMap<LaneId, u32> = reads.iter().map(|read| (read.lane, read.limit)).collect();
        let mut places: HashMap<LaneId, u32> = HashMap::new();
        let mut due = Vec::new();
        for row in self.pending().filter(|row| row.is_due(now) && (row.head || !row.held)) {
            let place = places.entry(row.lane).or_default();
            let has_room = limits.get(&row.lane).is_some_and(|limit| *place < *limit);
            if has_room && !in_flight.contains(&row.id()) && !rests(row) {
                due.push((*place, row));
                *place += 1;
            }
        }
        due
    }
}

#[async_trait]
impl OrderedLanes for MemoryStore {
    async fn lease(&self, request: &LeaseRequest) -> Result<LaneShare> {
        let (mut state, now) = (self.shared.state(), self.shared.now());
        if state.mode != DeliveryMode::Lanes {
            let error = format!(
                "lanes cannot be taken, the delivery mode is {} now: start this relay again",
                state.mode
            );
            return Err(Error::new(ErrorKind::Misconfigured, error));
        }
        Ok(state.share(request, now))
    }

    async fn release(&self, owner: OwnerId, leases: &[Lease]) -> Result<()> {
        for lane in &mut self.shared.state().lanes {
            if leases.iter().any(|lease| lane.is_held_by(owner, lease)) {
                lane.give_back();
            }
        }
        self.shared.wake.wake();
        Ok(())
    }

    async fn leave(&self, owner: OwnerId) -> Result<()> {
        let mut state = self.shared.state();
        state.relays.remove(&owner);
        state.lanes.iter_mut().filter(|lane| lane.owner == Some(owner)).for_each(Lane::give_back);
        drop(state);
        self.shared.wake.wake();
        Ok(())
    }

    async fn fetch(
        &self,
        lanes: &[LaneRead],
        in_flight: &[EventId],
        resting: &[String],
        max_bytes: u64,
    ) -> Result<LaneFetch> {
        let (tables, now) = (self.committed(), self.shared.now());
        let in_flight: HashSet<EventId> = in_flight.iter().copied().collect();
        // from which seq on a key is held: all of it while it has a head, else what comes after the first follower
        let mut held: HashMap<(&str, &str), i64> = HashMap::new();
        for row in tables.outbox.pending().filter(|row| row.held) {
            let Some(key) = row.key() else { continue };
            let from = if row.head { i64::MIN } else { row.seq };
            held.entry(key).and_modify(|first| *first = from.min(*first)).or_insert(from);
        }
        let is_behind = |row: &OutboxRow| {
            let first = row.key().and_then(|key| held.get(&key));
            !row.head && first.is_some_and(|first| *first < row.seq || row.is_deferred())
        };
        let mut due = tables.outbox.due_of(lanes, &in_flight, resting, now);
        // the first of each lane, then the second of each, while the bytes last
        due.sort_by_key(|(place, row)| (*place, row.lane));
        let mut bytes = 0;
        due.retain(|(_, row)| {
            let fits = bytes < max_bytes.max(1);
            bytes += row.record.content.payload.as_str().len() as u64;
            fits
        });
        due.sort_by_key(|(_, row)| (row.lane, row.seq));
        let read = |(_, row): (u32, &OutboxRow)| LaneEvent {
            event: row.event(),
            lane: row.lane,
            seq: row.seq,
            is_held_head: row.head,
            is_behind_head: is_behind(row),
            read_at: now,
        };
        Ok(due.into_iter().map(read).collect::<Vec<_>>().into())
    }

    async fn settle(&self, owner: OwnerId, leases: &[Lease], settlement: &LaneSettlement) -> Result<Settled> {
        if settlement.is_empty() {
            return Ok(Settled::default());
        }
        let (mut state, now) = (self.shared.state(), self.shared.now());
        let (mine, lost) = state.check(owner, leases);
        let unreleased = state.settle(&mine, settlement, now);
        Ok(Settled { lost, unreleased })
    }

    /// Every commit with events in it wakes everybody, so there is nothing to note.
    async fn announce(&self, _owner: OwnerId, _leases: &[Lease], _activity: Activity) -> Result<()> {
        Ok(())
    }
}
