//! What the owner of lanes writes of their events.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use omni_box_core::{EventId, KeyRef, LaneHold, LaneId, LaneSettlement};

use super::state::State;
use super::table::{OutboxRow, Row, Table};

/// Followers that one call releases at most.
const RELEASE_SLICE: usize = 10_000;

/// Topic and key.
type Key = (String, String);

impl State {
    /// Writes outcomes of events of the lanes in `mine`. Heads first: a key is released only when no head of it is left, and has followers
    /// only while it has one.
    /// Returns the keys of which followers wait still.
    pub(super) fn settle(
        &mut self,
        mine: &HashSet<LaneId>,
        settlement: &LaneSettlement,
        now: DateTime<Utc>,
    ) -> Vec<KeyRef> {
        let LaneSettlement { completed, holds, followers, release } = settlement;
        let mut unreleased = BTreeSet::new();
        let table = &mut self.tables.outbox;
        for id in completed {
            table.settle(*id, mine, |row| row.complete(now));
        }
        for hold in holds {
            table.hold(hold, mine, now);
        }
        if !release.is_empty() {
            let keys: HashSet<(LaneId, &str, &str)> = release
                .iter()
                .filter(|key| mine.contains(&key.lane))
                .map(|key| (key.lane, key.topic.as_str(), key.partition_key.as_str()))
                .collect();
            unreleased.extend(table.release_orphans(now, |row| {
                row.key().is_some_and(|(topic, key)| keys.contains(&(row.lane, topic, key)))
            }));
        }
        if !followers.is_empty() {
            unreleased.extend(self.follow(followers, mine, now));
        }
        unreleased.into_iter().collect()
    }

    /// Events wait behind the head of their key, if it still has one; else what waits there goes on ahead of them.
    fn follow(&mut self, ids: &[EventId], mine: &HashSet<LaneId>, now: DateTime<Utc>) -> BTreeSet<KeyRef> {
        let wanted: HashSet<EventId> = ids.iter().copied().collect();
        let heads = self.tables.outbox.heads();
        let is_wanted = |row: &&OutboxRow| wanted.contains(&row.id()) && mine.contains(&row.lane);
        let named: Vec<OutboxRow> = self.tables.outbox.rows().filter(is_wanted).cloned().collect();
        let keys: HashSet<Key> = named.iter().filter_map(owned_key).collect();
        for mut row in named {
            let has_head = owned_key(&row).is_some_and(|key| heads.contains(&key));
            if !row.is_pending() || row.held || !has_head {
                continue;
            }
            if row.is_deferred() {
                // joins at the end of its key, and from then on is an event like any other
                row.seq = self.next_seq();
                row.life.scheduled_at = Some(row.life.created_at);
            }
            row.held = true;
            row.life.updated_at = now;
            self.tables.outbox.put(row);
        }
        self.tables.outbox.release_orphans(now, |row| owned_key(row).is_some_and(|key| keys.contains(&key)))
    }
}

impl Table<OutboxRow> {
    /// Changes a pending event of these lanes.
    fn settle(&mut self, id: EventId, mine: &HashSet<LaneId>, apply: impl FnOnce(&mut OutboxRow)) {
        self.change(id, |row| {
            let is_mine = row.is_pending() && mine.contains(&row.lane);
            if is_mine {
                apply(row);
            }
            is_mine
        });
    }

    /// Attempts must be as they were read: a repeat counts nothing.
    fn hold(&mut self, hold: &LaneHold, mine: &HashSet<LaneId>, now: DateTime<Utc>) {
        let is_repeat = self.by_id(hold.id).is_some_and(|row| row.life.attempts_made != hold.attempts_made);
        if !is_repeat {
            self.settle(hold.id, mine, |row| row.fail(&hold.failure, now));
        }
    }

    /// Keys that have a head which waits.
    fn heads(&self) -> HashSet<Key> {
        self.pending().filter(|row| row.held && row.head).filter_map(owned_key).collect()
    }

    /// What waits behind a head that is gone becomes due again, in its old order; returns the keys of which more waits.
    pub(super) fn release_orphans(
        &mut self,
        now: DateTime<Utc>,
        concerns: impl Fn(&OutboxRow) -> bool,
    ) -> BTreeSet<KeyRef> {
        let heads = self.heads();
        let is_orphan = |row: &&OutboxRow| {
            let has_head = || owned_key(row).is_some_and(|key| heads.contains(&key));
            row.held && !row.head && concerns(row) && !has_head()
        };
        let mut orphans: Vec<OutboxRow> = self.pending().filter(is_orphan).cloned().collect();
        orphans.sort_by_key(|row| row.seq);
        let rest = orphans.split_off(orphans.len().min(RELEASE_SLICE));
        for mut row in orphans {
            row.held = false;
            row.life.updated_at = now;
            self.put(row);
        }
        let key_ref = |row: &OutboxRow| {
            owned_key(row).map(|(topic, partition_key)| KeyRef { lane: row.lane, topic, partition_key })
        };
        rest.iter().filter_map(key_ref).collect()
    }
}

fn owned_key(row: &OutboxRow) -> Option<Key> {
    row.key().map(|(topic, key)| (topic.to_owned(), key.to_owned()))
}
