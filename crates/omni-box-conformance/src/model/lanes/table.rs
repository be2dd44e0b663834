//! The model of the outbox table: rows in a list, and what a settlement does to them.

use std::collections::{BTreeMap, BTreeSet};

use omni_box_core::Event as _;
use omni_box_core::{
    EventId, EventStatus, KeyRef, LaneHold, LaneId, LaneSettlement, Lease, OutboxEvent, Retry,
};

use crate::model::call::{Checked, mismatch};
use crate::model::clock::Minute;
use crate::model::failure::{charged, check_life, due};

/// Counts what happens, so that before and after are told apart.
pub(super) type Tick = u32;

#[derive(Debug, Clone)]
pub(super) struct Row {
    /// As it was given.
    pub(super) event: OutboxEvent,
    /// As the trace calls it.
    pub(super) name: String,
    pub(super) key: Option<usize>,
    /// `None`: it has no key, and was not read yet.
    pub(super) lane: Option<LaneId>,
    pub(super) identity: Option<u8>,
    pub(super) created: Tick,
    pub(super) committed: Tick,
    /// When it is due, if it was scheduled for later. Its place among others is the store's choice then.
    pub(super) scheduled: Option<Minute>,
    pub(super) status: EventStatus,
    pub(super) attempts: u32,
    pub(super) max_attempts: u32,
    pub(super) is_tried: bool,
    pub(super) held: Held,
    /// As it was read.
    pub(super) seq: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    No,
    /// Until then; `None`: until an operator says so.
    Head(Option<Minute>),
    Follower,
}

impl Row {
    pub(super) fn id(&self) -> EventId {
        self.event.id()
    }

    pub(super) fn is_pending(&self) -> bool {
        self.status == EventStatus::Pending
    }

    /// Compares it with what the store has.
    pub(super) fn compare(&self, stored: &OutboxEvent) -> Checked {
        let name = &self.name;
        check_life(name, stored.lifecycle(), self.status, self.attempts, self.is_tried)?;
        let given = &self.event;
        if (stored.topic(), stored.partition_key(), stored.content())
            != (given.topic(), given.partition_key(), given.content())
        {
            return mismatch(format!("{name} is not stored as it was given"));
        }
        Ok(())
    }

    fn is_head(&self) -> bool {
        self.is_pending() && matches!(self.held, Held::Head(_))
    }

    /// Whether the contract puts it before another one of its lane.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        if self.scheduled.is_some() || other.scheduled.is_some() {
            return false;
        }
        let is_same_transaction = self.committed == other.committed;
        self.committed < other.created || (is_same_transaction && self.created < other.created)
    }
}

/// How an event may come in a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    No,
    /// It must come. `is_head`: as the head of a held key.
    Yes {
        is_head: bool,
    },
    /// As one that is behind a head, or not at all.
    Behind,
    /// The head of its key is done, and the key was not released: everything of the key is behind it still, or everything is due.
    Limbo,
}

/// What has committed.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    /// Keys whose head was done without a release.
    limbo: BTreeSet<usize>,
    pub(super) now: Minute,
    tick: Tick,
}

impl Table {
    pub(super) fn tick(&mut self) -> Tick {
        self.tick += 1;
        self.tick
    }

    pub(super) fn row(&self, id: EventId) -> Option<&Row> {
        self.rows.iter().find(|row| row.id() == id)
    }

    pub(super) fn by_identity(&self, identity: u8) -> Option<&Row> {
        self.rows.iter().find(|row| row.identity == Some(identity))
    }

    pub(super) fn head(&self, key: usize) -> Option<&Row> {
        self.rows.iter().find(|row| row.key == Some(key) && row.is_head())
    }

    /// Makes the rows of a transaction everybody's.
    pub(super) fn commit(&mut self, rows: Vec<Row>) {
        let committed = self.tick();
        self.rows.extend(rows.into_iter().map(|row| Row { committed, ..row }));
    }

    pub(super) fn due(&self, row: &Row) -> Due {
        if !row.is_pending() {
            return Due::No;
        }
        if let Held::Head(until) = row.held {
            return match until {
                Some(until) if until <= self.now => Due::Yes { is_head: true },
                _ => Due::No,
            };
        }
        if row.scheduled.is_some_and(|at| at > self.now) {
            return Due::No;
        }
        match row.key {
            Some(key) if self.head(key).is_some() => Due::Behind,
            Some(key) if self.limbo.contains(&key) => Due::Limbo,
            _ => Due::Yes { is_head: false },
        }
    }

    /// Whether a key has two heads, which no relay makes.
    pub(super) fn has_rival_heads(&self) -> bool {
        let mut heads = BTreeSet::new();
        self.rows.iter().filter(|row| row.is_head()).filter_map(|row| row.key).any(|key| !heads.insert(key))
    }

    /// Writes what of a settlement belongs to these lanes. `keys` are the keys by name.
    pub(super) fn settle(&mut self, mine: &BTreeSet<LaneId>, settlement: &LaneSettlement, keys: &Keys) {
        for id in &settlement.completed {
            if let Some(row) = self.pending(*id, mine) {
                row.status = EventStatus::Completed;
                self.end(*id);
            }
        }
        for LaneHold { id, attempts_made, failure } in &settlement.holds {
            let now = self.now;
            let Some(row) = self.pending(*id, mine).filter(|row| row.attempts == *attempts_made) else {
                continue;
            };
            row.attempts = charged(row.attempts, row.max_attempts, failure.attempt);
            row.is_tried = true;
            if failure.retry == Retry::Never {
                row.status = EventStatus::Failed;
                self.end(*id);
            } else {
                row.held = Held::Head(due(failure.retry, now));
                if let Some(key) = row.key {
                    self.limbo.remove(&key);
                }
            }
        }
        for key in &settlement.release {
            if mine.contains(&key.lane)
                && let Some(key) = keys.find(key)
                && self.head(key).is_none()
            {
                self.limbo.remove(&key);
                let followers = self.rows.iter_mut().filter(|row| row.key == Some(key));
                followers.for_each(|row| row.held = Held::No);
            }
        }
        // those that join the end of a key together have no order among themselves
        let tick = self.tick();
        for id in &settlement.followers {
            let heads: BTreeSet<usize> =
                self.rows.iter().filter(|row| row.is_head()).filter_map(|row| row.key).collect();
            let Some(row) = self.pending(*id, mine) else { continue };
            if row.held == Held::No && row.key.is_some_and(|key| heads.contains(&key)) {
                row.held = Held::Follower;
                if row.scheduled.take().is_some() {
                    // it joins at the end of its key
                    (row.created, row.committed, row.seq) = (tick, tick, None);
                }
            }
        }
    }

    fn pending(&mut self, id: EventId, mine: &BTreeSet<LaneId>) -> Option<&mut Row> {
        let row = self.rows.iter_mut().find(|row| row.id() == id)?;
        let is_mine = row.lane.is_some_and(|lane| mine.contains(&lane));
        (row.is_pending() && is_mine).then_some(row)
    }

    /// An event is done: if it was the head of its key, the others wait for the release.
    fn end(&mut self, id: EventId) {
        let Some(row) = self.rows.iter_mut().find(|row| row.id() == id) else { return };
        let was_head = matches!(row.held, Held::Head(_));
        row.held = Held::No;
        let Some(key) = row.key.filter(|_| was_head) else { return };
        if self.head(key).is_none() && self.rows.iter().any(|row| row.key == Some(key) && row.is_pending()) {
            self.limbo.insert(key);
        }
    }
}

/// The keys of the cases with their lanes.
#[derive(Debug, Clone)]
pub(super) struct Keys(pub(super) Vec<KeyRef>);

impl Keys {
    fn find(&self, key: &KeyRef) -> Option<usize> {
        self.0.iter().position(|known| known == key)
    }

    pub(super) fn lane(&self, key: usize) -> LaneId {
        self.0[key].lane
    }

    /// Orders candidates so that the first two are of one lane, if any two are.
    pub(super) fn choose(candidates: Vec<KeyRef>, count: usize) -> Self {
        let mut by_lane: BTreeMap<LaneId, Vec<KeyRef>> = BTreeMap::new();
        for key in candidates {
            by_lane.entry(key.lane).or_default().push(key);
        }
        let mut lanes: Vec<Vec<KeyRef>> = by_lane.into_values().collect();
        lanes.sort_by_key(|keys| usize::MAX - keys.len());
        let most = lanes[0].len().min(2);
        let mut keys: Vec<KeyRef> = lanes[0].drain(..most).collect();
        // then one of each other lane
        keys.extend(lanes.iter_mut().rev().flat_map(|keys| keys.drain(..)));
        keys.truncate(count);
        Self(keys)
    }
}

pub(super) fn lanes_of(leases: &[Lease]) -> BTreeSet<LaneId> {
    leases.iter().map(|lease| lease.lane).collect()
}
