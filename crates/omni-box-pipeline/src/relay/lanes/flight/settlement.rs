//! What is to be written about events that were reported.

use std::collections::{HashSet, VecDeque};

use omni_box_core::{Event, EventId, Failure, KeyRef, LaneHold, LaneId, LaneSettlement, OutboxEvent, Retry};
use tokio::time::Instant;

use super::{Flight, State, is_key, key_of, lower};
use crate::outcome::Outcome;

impl Flight {
    pub(super) fn record_failure(
        &mut self,
        event: &OutboxEvent,
        key: Option<KeyRef>,
        seq: i64,
        was_head: bool,
        failure: Failure,
    ) -> Outcome {
        let gives_up = failure.retry == Retry::Never;
        let hold = LaneHold { id: event.id(), attempts_made: event.lifecycle().attempts_made(), failure };
        match key {
            Some(key) if !gives_up => {
                self.blocked.entry(key.clone()).or_default().unwritten.insert(seq);
                self.stop_behind(&key);
                self.failed.entry(key).or_default().push((seq, hold));
            }
            key => {
                self.outgoing.holds.push(hold);
                self.release_behind(key, was_head);
            }
        }
        if gives_up { Outcome::Failed } else { Outcome::Retried }
    }

    /// After an event is done with: the next of its key goes, in memory and, behind a held head, in the table.
    pub(super) fn release_behind(&mut self, key: Option<KeyRef>, was_head: bool) {
        let Some(key) = key else { return };
        if self.one_per_key {
            match self.queues.get_mut(&key).map(VecDeque::pop_front) {
                Some(Some(next)) => self.ready.push(next),
                Some(None) => {
                    self.queues.remove(&key);
                }
                None => {}
            }
        }
        if was_head {
            self.outgoing.release.push(key);
        }
    }

    /// Stops a key: what was not sent yet becomes followers.
    pub(super) fn stop_behind(&mut self, key: &KeyRef) {
        let mut waiting: Vec<EventId> = self.queues.remove(key).into_iter().flatten().collect();
        let entries = &self.entries;
        self.ready.retain(|id| {
            let is_of_key = entries.get(id).is_some_and(|entry| is_key(key, entry));
            if is_of_key {
                waiting.push(*id);
            }
            !is_of_key
        });
        for id in waiting {
            self.follow(id);
        }
    }

    /// Lets an event wait behind the head of its key.
    pub(super) fn follow(&mut self, id: EventId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.state = State::Reported;
        if let Some(key) = key_of(entry.lane, &entry.event) {
            self.blocked.entry(key).or_default().unwritten.insert(entry.seq);
        }
        self.outgoing.followers.push(id);
        self.outgoing_since.get_or_insert_with(Instant::now);
    }

    /// When the oldest outcome that is not written yet came in.
    pub(crate) fn outgoing_since(&self) -> Option<Instant> {
        self.outgoing_since
    }

    /// How many outcomes wait to be written.
    pub(crate) fn outgoing(&self) -> usize {
        self.outgoing.completed.len()
            + self.outgoing.release.len()
            + self.outgoing.followers.len()
            + self.outgoing.holds.len()
            + self.failed.len()
    }

    /// Takes what is to be written, with the lanes it concerns. A hold waits until nothing of its key is in the publisher's
    /// hands, so that its head is the first that did not arrive. Its followers wait with it.
    pub(crate) fn take_settlement(&mut self) -> (LaneSettlement, HashSet<LaneId>) {
        self.outgoing_since = None;
        let mut settlement = std::mem::take(&mut self.outgoing);
        if !self.failed.is_empty() {
            let busy: HashSet<KeyRef> = self
                .entries
                .values()
                .filter(|entry| matches!(entry.state, State::Sent(_)))
                .filter_map(|entry| key_of(entry.lane, &entry.event))
                .filter(|key| self.failed.contains_key(key))
                .collect();
            let settled: Vec<KeyRef> =
                self.failed.keys().filter(|key| !busy.contains(*key)).cloned().collect();
            for key in settled {
                let mut failed = self.failed.remove(&key).unwrap_or_default();
                failed.sort_by_key(|(seq, _)| *seq);
                let mut failed = failed.into_iter().map(|(_, hold)| hold);
                settlement.holds.extend(failed.next());
                settlement.followers.extend(failed.map(|hold| hold.id));
            }
            if !busy.is_empty() {
                let entries = &self.entries;
                let stay = |id: &EventId| {
                    entries.get(id).is_some_and(|entry| busy.iter().any(|key| is_key(key, entry)))
                };
                let (stay, go): (Vec<_>, Vec<_>) = settlement.followers.into_iter().partition(stay);
                settlement.followers = go;
                self.outgoing.followers = stay;
            }
        }
        let lanes =
            ids_of(&settlement).filter_map(|id| self.entries.get(id)).map(|entry| entry.lane).collect();
        (settlement, lanes)
    }

    /// Forgets what was written; `fetch` is the number of the latest fetch that has begun.
    pub(crate) fn settled(&mut self, settlement: &LaneSettlement, fetch: u64) {
        let holds = settlement.holds.iter().map(|hold| &hold.id);
        for entry in settlement.followers.iter().chain(holds).filter_map(|id| self.entries.get(id)) {
            let block = key_of(entry.lane, &entry.event).and_then(|key| self.blocked.get_mut(&key));
            if let Some(block) = block {
                block.unwritten.remove(&entry.seq);
                block.written = fetch;
            }
            // it may have been left as it was: its key has no head any more, or it was not as it had been read
            lower(&mut self.bounds, fetch, entry);
        }
        let ids: Vec<EventId> = ids_of(settlement).copied().collect();
        for id in ids {
            self.forget(id);
        }
    }

    /// Releases keys again of which a settlement has released a part.
    pub(crate) fn release_again(&mut self, keys: Vec<KeyRef>, now: Instant) {
        if !keys.is_empty() {
            self.outgoing.release.extend(keys);
            self.outgoing_since.get_or_insert(now);
        }
    }
}

/// What a settlement speaks of.
fn ids_of(settlement: &LaneSettlement) -> impl Iterator<Item = &EventId> {
    let holds = settlement.holds.iter().map(|hold| &hold.id);
    settlement.completed.iter().chain(&settlement.followers).chain(holds)
}
