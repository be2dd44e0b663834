//! What a relay believes.

use std::collections::{BTreeMap, BTreeSet};

use omni_box_core::{
    Event as _, EventId, LaneEvent, LaneHold, LaneId, LaneRead, LaneSettlement, Lease, OwnerId,
};

use super::operation::Outcome;
use super::table::{Held, Keys, Table, lanes_of};
use crate::model::failure::Again;

/// An event that a relay has read and not settled.
#[derive(Debug, Clone)]
pub(super) struct InFlight {
    id: EventId,
    lane: LaneId,
    seq: i64,
    attempts: u32,
    is_behind: bool,
}

/// A relay: forgets all of it in a crash.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) owner: OwnerId,
    pub(super) leases: Vec<Lease>,
    pub(super) in_flight: Vec<InFlight>,
    /// How far it has read its lanes for good.
    bounds: BTreeMap<LaneId, i64>,
    /// Leases that it has lost, or had under another name before a crash, and what it had read of them.
    pub(super) lost: Option<Lost>,
    /// What it wrote last.
    pub(super) last: Option<(OwnerId, Vec<Lease>, LaneSettlement)>,
}

/// What a relay could still write, though it should not.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) owner: OwnerId,
    pub(super) leases: Vec<Lease>,
    pub(super) in_flight: Vec<InFlight>,
}

impl Relay {
    pub(super) fn new() -> Self {
        Self {
            owner: OwnerId::generate(),
            leases: Vec::new(),
            in_flight: Vec::new(),
            bounds: BTreeMap::new(),
            lost: None,
            last: None,
        }
    }

    /// Begins anew under another name.
    pub(super) fn crash(&mut self) {
        let before = std::mem::replace(self, Self::new());
        self.lost = Some(Lost { owner: before.owner, leases: before.leases, in_flight: before.in_flight });
    }

    /// Takes a new set of leases; what belongs to others is lost.
    pub(super) fn renew(&mut self, leases: Vec<Lease>) {
        let lost: Vec<Lease> = self.leases.iter().filter(|lease| !leases.contains(lease)).copied().collect();
        self.lose(&lost);
        self.leases = leases;
    }

    pub(super) fn lose(&mut self, lost: &[Lease]) {
        if lost.is_empty() {
            return;
        }
        let lanes = lanes_of(lost);
        self.bounds.retain(|lane, _| !lanes.contains(lane));
        let (gone, kept) = self.in_flight.drain(..).partition(|event| lanes.contains(&event.lane));
        self.in_flight = kept;
        self.leases.retain(|lease| !lost.contains(lease));
        self.lost = Some(Lost { owner: self.owner, leases: lost.to_vec(), in_flight: gone });
    }

    pub(super) fn reads(&self, limit: u32) -> Vec<LaneRead> {
        let above = |lane| self.bounds.get(&lane).copied().unwrap_or(LaneRead::ALL);
        self.leases
            .iter()
            .map(|lease| LaneRead { lane: lease.lane, limit, above: above(lease.lane) })
            .collect()
    }

    /// What is settled as a hold or a follower may be left as it was.
    pub(super) fn unread(&mut self, before: &[InFlight], settlement: &LaneSettlement) {
        let is_settled = |event: &&InFlight| {
            settlement.followers.contains(&event.id)
                || settlement.holds.iter().any(|hold| hold.id == event.id)
        };
        for event in before.iter().filter(is_settled) {
            if let Some(bound) = self.bounds.get_mut(&event.lane) {
                *bound = (*bound).min(event.seq - 1);
            }
        }
    }

    pub(super) fn read(&mut self, answer: &[LaneEvent], bounds: BTreeMap<LaneId, i64>) {
        for (lane, to) in bounds {
            let bound = self.bounds.entry(lane).or_insert(to);
            *bound = to.max(*bound);
        }
        self.in_flight.extend(answer.iter().map(|read| InFlight {
            id: read.event.id(),
            lane: read.lane,
            seq: read.seq,
            attempts: read.event.lifecycle().attempts_made(),
            is_behind: read.is_behind_head,
        }));
    }

    pub(super) fn ids(&self) -> Vec<EventId> {
        self.in_flight.iter().map(|event| event.id).collect()
    }
}

/// Makes a settlement of the first events in flight and takes them off; what is left in flight stays. Never two heads of one key: what
/// was sent behind a head that failed meanwhile follows it.
pub(super) fn settlement(
    in_flight: &mut Vec<InFlight>,
    outcomes: &[Outcome],
    releases: bool,
    table: &Table,
    keys: &Keys,
) -> LaneSettlement {
    let mut settlement = LaneSettlement::default();
    let count = outcomes.len().min(in_flight.len());
    let mut chosen: Vec<(InFlight, Outcome)> =
        in_flight.drain(..count).zip(outcomes.iter().copied()).collect();
    for (event, outcome) in &mut chosen {
        // what must not be published is never completed nor held
        if event.is_behind && !matches!(outcome, Outcome::Kept) {
            *outcome = Outcome::Follows;
        }
    }
    let ends = |outcome: &Outcome| match outcome {
        Outcome::Completed => true,
        Outcome::Held(fault) => fault.again == Again::Never,
        Outcome::Follows | Outcome::Kept => false,
    };
    let done: BTreeSet<EventId> =
        chosen.iter().filter(|(_, outcome)| ends(outcome)).map(|(event, _)| event.id).collect();
    let mut heads: BTreeMap<usize, EventId> = (0..keys.0.len())
        .filter_map(|key| Some((key, table.head(key)?.id())))
        .filter(|(_, head)| !done.contains(head))
        .collect();
    let mut kept = Vec::new();
    let mut released = BTreeSet::new();
    for (event, outcome) in chosen {
        let row = table.row(event.id);
        let key = row.and_then(|row| row.key);
        // also where the head waits once more: then nothing is released
        let is_written = matches!(outcome, Outcome::Completed | Outcome::Held(_));
        if is_written && releases && row.is_some_and(|row| matches!(row.held, Held::Head(_))) {
            released.extend(key);
        }
        match outcome {
            Outcome::Completed => settlement.completed.push(event.id),
            Outcome::Follows => settlement.followers.push(event.id),
            Outcome::Kept => kept.push(event),
            Outcome::Held(fault) => {
                let is_second = !ends(&outcome)
                    && key.is_some_and(|key| *heads.entry(key).or_insert(event.id) != event.id);
                if is_second {
                    settlement.followers.push(event.id);
                } else {
                    let (attempts_made, failure) = (event.attempts, fault.failure());
                    settlement.holds.push(LaneHold { id: event.id, attempts_made, failure });
                }
            }
        }
    }
    kept.append(in_flight);
    *in_flight = kept;
    settlement.release = released.into_iter().map(|key| keys.0[key].clone()).collect();
    settlement
}
