//! The model of a table whose rows are claimed: rows in the order of their creation, and what a claim may take.

use std::collections::BTreeMap;

use omni_box_core::{ClaimToken, Event as _, EventId, EventStatus, Failure, OutboxEvent, Retry};

use crate::model::call::{Checked, mismatch};
use crate::model::clock::{Minute, end};
use crate::model::failure::{charged, check_life, due};

#[derive(Debug, Clone)]
pub(super) struct Row {
    /// As it was given.
    pub(super) event: OutboxEvent,
    /// As the trace calls it.
    pub(super) name: String,
    pub(super) key: Option<usize>,
    pub(super) identity: Option<u8>,
    /// When it is due, if it was scheduled for later. Its place in its key is the store's choice then.
    pub(super) scheduled: Option<Minute>,
    pub(super) status: EventStatus,
    pub(super) attempts: u32,
    pub(super) max_attempts: u32,
    pub(super) is_tried: bool,
    /// When it is tried again, after a failure; `Some(None)`: when an operator says so.
    #[expect(clippy::option_option, reason = "there are three cases")]
    pub(super) again: Option<Option<Minute>>,
    /// Who has it, and since when.
    pub(super) claim: Option<(ClaimToken, Minute)>,
    pub(super) completed_at: Minute,
    pub(super) is_deleted: bool,
}

impl Row {
    pub(super) fn id(&self) -> EventId {
        self.event.id()
    }

    pub(super) fn is_pending(&self) -> bool {
        !self.is_deleted && self.status == EventStatus::Pending
    }

    pub(super) fn is_claimed_by(&self, token: &ClaimToken) -> bool {
        self.is_pending() && self.claim.as_ref().is_some_and(|(by, _)| by == token)
    }

    /// What waits for its retry holds its key; what was scheduled for later holds nothing before it is due.
    fn is_in_line(&self, now: Minute) -> bool {
        self.again.is_some() || self.scheduled.is_none_or(|at| at <= now)
    }

    fn is_due(&self, now: Minute) -> bool {
        match self.again {
            Some(until) => until.is_some_and(|until| until <= now),
            None => self.scheduled.is_none_or(|at| at <= now),
        }
    }

    /// Whether its place among others is that of its creation.
    fn has_place(&self) -> bool {
        self.scheduled.is_none() && self.again.is_none()
    }

    /// Compares it with what the store has.
    pub(super) fn compare(&self, stored: Option<&OutboxEvent>) -> Checked {
        let name = &self.name;
        let stored = match stored {
            None if self.is_deleted => return Ok(()),
            None => return mismatch(format!("{name} is not there")),
            Some(_) if self.is_deleted => return mismatch(format!("{name} is there, and was deleted")),
            Some(stored) => stored,
        };
        let life = stored.lifecycle();
        check_life(name, life, self.status, self.attempts, self.is_tried)?;
        let (has, should) = (
            life.lock().map(|lock| lock.by.as_str()),
            self.claim.as_ref().filter(|_| self.is_pending()).map(|(token, _)| token.as_str()),
        );
        if has != should {
            return mismatch(format!("{name} is claimed by {has:?}, and should be by {should:?}"));
        }
        let given = &self.event;
        if (stored.topic(), stored.partition_key(), stored.content())
            != (given.topic(), given.partition_key(), given.content())
        {
            return mismatch(format!("{name} is not stored as it was given"));
        }
        Ok(())
    }
}

/// Which claims count.
#[derive(Debug, Clone, Copy)]
pub(super) enum Claims {
    /// All: no claim is made by it.
    All,
    /// Those within so many minutes and a half.
    Within(u8),
}

/// Whether an event is the head of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    No,
    Yes,
    /// If the store puts it first.
    Perhaps,
}

/// What has committed.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    pub(super) now: Minute,
}

impl Table {
    pub(super) fn by_identity(&self, identity: u8) -> Option<&Row> {
        self.rows.iter().find(|row| row.identity == Some(identity))
    }

    pub(super) fn row_mut(&mut self, id: EventId) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.id() == id)
    }

    fn counts(&self, row: &Row, claims: Claims) -> bool {
        match (&row.claim, claims) {
            (None, _) => false,
            (Some(_), Claims::All) => true,
            (Some((_, since)), Claims::Within(minutes)) => end(*since, minutes) > self.now,
        }
    }

    fn heads(&self, claims: Claims) -> Vec<Head> {
        let now = self.now;
        let mut heads = vec![Head::No; self.rows.len()];
        let mut keys: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (place, row) in self.rows.iter().enumerate().filter(|(_, row)| row.is_pending()) {
            match row.key {
                Some(key) => keys.entry(key).or_default().push(place),
                None if row.is_due(now) && !self.counts(row, claims) => heads[place] = Head::Yes,
                None => {}
            }
        }
        for places in keys.values() {
            if places.iter().any(|place| self.counts(&self.rows[*place], claims)) {
                continue;
            }
            let line: Vec<usize> =
                places.iter().copied().filter(|place| self.rows[*place].is_in_line(now)).collect();
            let is_scheduled = |place: &usize| self.rows[*place].scheduled.is_some();
            let first = line.iter().copied().find(|place| !is_scheduled(place));
            let mut candidates: Vec<usize> = line.iter().copied().filter(is_scheduled).collect();
            candidates.extend(first);
            let is_only = candidates.len() == 1;
            for place in candidates.into_iter().filter(|place| self.rows[*place].is_due(now)) {
                heads[place] = if is_only { Head::Yes } else { Head::Perhaps };
            }
        }
        heads
    }

    /// Judges what a fetch or a claim returned, in order.
    pub(super) fn check(&self, claims: Claims, limit: u32, answer: &[EventId]) -> Checked {
        let heads = self.heads(claims);
        if answer.len() > limit as usize {
            return mismatch(format!("{} events came, at most {limit} may", answer.len()));
        }
        let mut places = Vec::with_capacity(answer.len());
        for id in answer {
            let Some(place) = self.rows.iter().position(|row| row.id() == *id) else {
                return mismatch(format!("{id} came, and has not committed"));
            };
            let row = &self.rows[place];
            if heads[place] == Head::No {
                return mismatch(format!(
                    "{} came, and is not due, or not the first of its key, or one of its key is claimed",
                    row.name
                ));
            }
            let rival = places.iter().map(|place: &usize| &self.rows[*place]);
            if let Some(other) = rival.into_iter().find(|other| other.key == row.key && row.key.is_some()) {
                return mismatch(format!("{} and {} are of one key", other.name, row.name));
            }
            places.push(place);
        }
        let placed: Vec<usize> =
            places.iter().copied().filter(|place| self.rows[*place].has_place()).collect();
        if !placed.is_sorted() {
            return mismatch("what came is not in the order of creation");
        }
        for (place, head) in heads.iter().enumerate() {
            let row = &self.rows[place];
            if *head != Head::Yes || places.contains(&place) {
                continue;
            }
            if answer.len() < limit as usize {
                return mismatch(format!("{} is due, and did not come", row.name));
            }
            if row.has_place() && placed.last().is_some_and(|last| *last > place) {
                return mismatch(format!("{} is due, and later ones came", row.name));
            }
        }
        Ok(())
    }

    pub(super) fn claim(&mut self, ids: &[EventId], token: &ClaimToken) {
        let now = self.now;
        for id in ids {
            if let Some(row) = self.row_mut(*id) {
                row.claim = Some((token.clone(), now));
            }
        }
    }

    /// Claims one by its id; whatever its key.
    pub(super) fn process(&mut self, id: EventId, token: &ClaimToken) -> bool {
        let now = self.now;
        let Some(row) = self.row_mut(id).filter(|row| row.is_pending()) else { return false };
        let is_free = row.claim.as_ref().is_none_or(|(by, _)| by == token);
        if is_free {
            row.claim = Some((token.clone(), now));
        }
        is_free
    }

    /// Returns those that were completed.
    pub(super) fn complete(&mut self, ids: &[EventId], token: &ClaimToken) -> Vec<EventId> {
        let now = self.now;
        self.change(ids, token, |row| {
            row.status = EventStatus::Completed;
            row.completed_at = now;
            row.claim = None;
        })
    }

    pub(super) fn fail(&mut self, id: EventId, token: &ClaimToken, failure: &Failure) -> bool {
        let now = self.now;
        let failed = self.change(&[id], token, |row| {
            row.attempts = charged(row.attempts, row.max_attempts, failure.attempt);
            row.is_tried = true;
            row.claim = None;
            if failure.retry == Retry::Never {
                row.status = EventStatus::Failed;
            } else {
                row.again = Some(due(failure.retry, now));
            }
        });
        !failed.is_empty()
    }

    pub(super) fn refresh(&mut self, ids: &[EventId], token: &ClaimToken) -> Vec<EventId> {
        let now = self.now;
        self.change(ids, token, |row| row.claim = Some((token.clone(), now)))
    }

    pub(super) fn release(&mut self, ids: &[EventId], token: &ClaimToken) {
        self.change(ids, token, |row| row.claim = None);
    }

    /// Gives back claims that are older than so many minutes and a half.
    pub(super) fn release_stale(&mut self, minutes: u8) -> u64 {
        let now = self.now;
        let mut released = 0;
        for row in self.rows.iter_mut().filter(|row| row.is_pending()) {
            if row.claim.take_if(|(_, since)| end(*since, minutes) <= now).is_some() {
                released += 1;
            }
        }
        released
    }

    /// Those that a clean-up of what is older than so many minutes and a half may delete.
    pub(super) fn outdated(&self, minutes: u8) -> Vec<EventId> {
        let is_outdated = |row: &&Row| {
            !row.is_deleted
                && row.status == EventStatus::Completed
                && end(row.completed_at, minutes) <= self.now
        };
        self.rows.iter().filter(is_outdated).map(Row::id).collect()
    }

    /// Changes what the token has, sorted by id.
    fn change(
        &mut self,
        ids: &[EventId],
        token: &ClaimToken,
        mut apply: impl FnMut(&mut Row),
    ) -> Vec<EventId> {
        let mut changed = Vec::new();
        for row in &mut self.rows {
            if ids.contains(&row.id()) && row.is_claimed_by(token) {
                apply(row);
                changed.push(row.id());
            }
        }
        changed.sort();
        changed
    }
}
