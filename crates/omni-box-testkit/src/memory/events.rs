//! What the two tables have in common: create, look up, and the marks of claims.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use omni_box_core::{ClaimToken, Created, Error, ErrorKind, Event, EventId, Failure, Result};

use super::key::LockKey;
use super::lock::LONGEST_WAIT;
use super::state::State;
use super::tables::Stored;
use super::{MemoryConn, MemoryStore};

impl MemoryConn {
    pub(super) async fn create<R: Stored>(&mut self, events: &[R::Event]) -> Result<Vec<Created<R::Event>>> {
        self.check()?;
        let result = self.try_create::<R>(events).await;
        self.finish(result)
    }

    /// All waiting comes first, so that a call that is cancelled has written nothing.
    async fn try_create<R: Stored>(&mut self, events: &[R::Event]) -> Result<Vec<Created<R::Event>>> {
        for event in events {
            if let Some(identity) = event.identity() {
                self.find_or_lock::<R>(&identity).await?;
            }
            if self.existing::<R>(event).is_none() {
                self.lock(LockKey::Id(event.id())).await?;
            }
        }
        events
            .iter()
            .map(|event| match self.existing::<R>(event) {
                Some(row) => Ok(Created::Existing(row.event())),
                None => self.store::<R>(event).map(|row| Created::New(row.event())),
            })
            .collect()
    }

    pub(super) fn existing<R: Stored>(&self, event: &R::Event) -> Option<&R> {
        R::table(&self.view).by_identity(&event.identity()?)
    }

    /// Inserts an event whose identity and id are locked, and not there.
    pub(super) fn store<R: Stored>(&mut self, event: &R::Event) -> Result<R> {
        let mut state = self.shared.state();
        let seq = state.next_seq();
        let is_taken = R::table(&state.tables).by_id(event.id()).is_some()
            || R::table(&self.view).by_id(event.id()).is_some();
        drop(state);
        if is_taken {
            let error = format!("id {} is that of another event", event.id());
            return Err(Error::new(ErrorKind::Conflict, error));
        }
        let row = R::new(event, seq, self.shared.now());
        R::table_mut(&mut self.view).put(row.clone());
        R::written(&mut self.writes).insert(event.id());
        Ok(row)
    }

    pub(super) fn event<R: Stored>(&self, id: EventId) -> Result<Option<R::Event>> {
        self.check()?;
        Ok(R::table(&self.view).by_id(id).map(R::event))
    }
}

impl MemoryStore {
    /// Changes those rows that `applies` lets through, in a transaction of its own, and returns which those were. Waits for open
    /// transactions that work on them.
    pub(super) async fn change<R: Stored>(
        &self,
        ids: &[EventId],
        applies: impl Fn(&R) -> bool + Send,
        apply: impl Fn(&mut R, DateTime<Utc>) + Send,
    ) -> Result<Vec<EventId>> {
        let attempt = |state: &mut State| {
            let table = R::table(&state.tables);
            let applicable = |id: &&EventId| table.by_id(**id).is_some_and(&applies);
            // an id that is given twice is changed once
            let chosen: BTreeSet<EventId> = ids.iter().filter(applicable).copied().collect();
            let mut locks = chosen.iter().filter_map(|id| table.by_id(*id)?.row_lock());
            if locks.any(|lock| state.locks.contains_key(&lock)) {
                return None;
            }
            let now = self.shared.now();
            for id in &chosen {
                R::table_mut(&mut state.tables).change(*id, |row| {
                    apply(row, now);
                    true
                });
            }
            Some(chosen.into_iter().collect())
        };
        self.shared.wait_for(LONGEST_WAIT, attempt).await
    }

    pub(super) async fn claim_one<R: Stored>(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        let is_free = |row: &R| row.is_pending() && (row.life().lock.is_none() || row.is_claimed_by(token));
        Ok(!self.change(&[id], is_free, |row, now| row.claim(token, now)).await?.is_empty())
    }

    pub(super) async fn complete_claimed<R: Stored>(
        &self,
        ids: &[EventId],
        token: &ClaimToken,
    ) -> Result<Vec<EventId>> {
        self.change(ids, |row: &R| row.is_claimed_by(token), R::complete).await
    }

    pub(super) async fn fail_claimed<R: Stored>(
        &self,
        id: EventId,
        token: &ClaimToken,
        failure: &Failure,
    ) -> Result<bool> {
        let is_mine = |row: &R| row.is_claimed_by(token);
        Ok(!self.change(&[id], is_mine, |row, now| row.fail(failure, now)).await?.is_empty())
    }
}
