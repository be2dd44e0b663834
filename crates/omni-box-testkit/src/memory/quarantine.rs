//! Messages that are kept as raw bytes.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::{Quarantine, QuarantineEntry};
use omni_box_core::{BatchSize, ConsumerGroup, QuarantinedMessage, Result};
use uuid::Uuid;

use super::key::LockKey;
use super::table::before;
use super::tables::{Kept, QuarantineKey, Tables};
use super::{MemoryConn, MemoryStore};

fn place_of(kept: &QuarantinedMessage) -> QuarantineKey {
    let message = &kept.message;
    let group = kept.consumer_group.to_string();
    (group, message.topic.clone(), message.partition, message.offset, message.fingerprint())
}

fn lock_of((group, topic, partition, offset, _): &QuarantineKey) -> LockKey {
    LockKey::Quarantined(group.clone(), topic.clone(), *partition, *offset)
}

impl Kept {
    fn entry(&self) -> QuarantineEntry {
        let QuarantinedMessage { consumer_group, message, error } = &self.message;
        QuarantineEntry {
            id: self.id,
            consumer_group: consumer_group.clone(),
            position: message.position(),
            produced_at: message.timestamp,
            error: error.clone(),
            value_bytes: message.value.as_ref().map(|value| value.len() as u64),
            kept_at: self.at,
        }
    }
}

impl Tables {
    fn kept(&self, id: Uuid) -> Option<(&QuarantineKey, &Kept)> {
        self.quarantine.iter().find(|(_, kept)| kept.id == id)
    }

    /// What a group has, in the order in which it came.
    fn kept_by(&self, group: &ConsumerGroup) -> Vec<(&QuarantineKey, &Kept)> {
        let of_group = |(_, kept): &(&QuarantineKey, &Kept)| kept.message.consumer_group == *group;
        let mut kept: Vec<_> = self.quarantine.iter().filter(of_group).collect();
        kept.sort_by_key(|(_, kept)| kept.seq);
        kept
    }
}

impl MemoryConn {
    pub(super) async fn try_quarantine(&mut self, messages: &[QuarantinedMessage]) -> Result<()> {
        for kept in messages {
            self.lock(lock_of(&place_of(kept))).await?;
        }
        let (now, mut state) = (self.shared.now(), self.shared.state());
        for message in messages {
            let place = place_of(message);
            let is_known = state.tables.quarantine.contains_key(&place);
            if !is_known && !self.view.quarantine.contains_key(&place) {
                let (id, seq) = (Uuid::now_v7(), state.next_seq());
                let kept = Kept { id, seq, at: now, message: message.clone() };
                self.view.quarantine.insert_mut(place.clone(), kept);
                self.writes.quarantine.insert(place);
            }
        }
        Ok(())
    }

    /// All waiting comes first, so that a call that is cancelled has written nothing.
    async fn try_remove(&mut self, ids: &[Uuid]) -> Result<Vec<Uuid>> {
        let tables = self.shared.state().tables.clone();
        let mut places = Vec::with_capacity(ids.len());
        for id in ids {
            let found = self.view.kept(*id).or_else(|| tables.kept(*id)).map(|(place, _)| place.clone());
            if let Some(place) = found {
                self.lock(lock_of(&place)).await?;
                places.push((*id, place));
            }
        }
        let tables = self.shared.state().tables.clone();
        let mut removed = Vec::with_capacity(places.len());
        for (id, place) in places {
            let is_own = self.writes.quarantine.contains(&place);
            let kept = if is_own { &self.view } else { &tables }.quarantine.get(&place);
            if kept.is_some_and(|kept| kept.id == id) {
                removed.push(id);
            }
            self.view.quarantine.remove_mut(&place);
            self.writes.quarantine.insert(place);
        }
        Ok(removed)
    }
}

#[async_trait]
impl Quarantine<MemoryConn> for MemoryStore {
    async fn list(
        &self,
        group: &ConsumerGroup,
        after: Option<&QuarantineEntry>,
        limit: BatchSize,
    ) -> Result<Vec<QuarantineEntry>> {
        let tables = self.committed();
        // ids are made in the order in which messages come
        let is_behind =
            |kept: &&Kept| after.is_none_or(|after| (kept.at, kept.id) > (after.kept_at, after.id));
        let kept = tables.kept_by(group).into_iter().map(|(_, kept)| kept);
        Ok(kept.filter(is_behind).take(limit.get() as usize).map(Kept::entry).collect())
    }

    async fn show(&self, id: Uuid) -> Result<Option<QuarantinedMessage>> {
        Ok(self.committed().kept(id).map(|(_, kept)| kept.message.clone()))
    }

    async fn remove(&self, conn: &mut MemoryConn, ids: &[Uuid]) -> Result<Vec<Uuid>> {
        conn.check()?;
        let result = conn.try_remove(ids).await;
        conn.finish(result)
    }

    async fn purge(&self, group: &ConsumerGroup, older_than: Duration, limit: BatchSize) -> Result<u64> {
        let cutoff = before(self.shared.now(), older_than);
        let mut state = self.shared.state();
        let is_free = |place: &QuarantineKey| !state.locks.contains_key(&lock_of(place));
        let old = state
            .tables
            .kept_by(group)
            .into_iter()
            .filter(|(place, kept)| kept.at < cutoff && is_free(place));
        let places: Vec<QuarantineKey> =
            old.take(limit.get() as usize).map(|(place, _)| place.clone()).collect();
        for place in &places {
            state.tables.quarantine.remove_mut(place);
        }
        Ok(places.len() as u64)
    }
}
