//! Upkeep.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{BatchSize, EventId, EventStatus, InboxEvent, OutboxEvent, Result, RetentionPolicies};

use super::MemoryStore;
use super::table::{InboxRow, OutboxRow, before};
use super::tables::Stored;

impl MemoryStore {
    async fn release_stale<R: Stored>(&self, older_than: Duration) -> Result<u64> {
        let cutoff = before(self.shared.now(), older_than);
        let is_stale =
            |row: &R| row.is_pending() && row.life().lock.as_ref().is_some_and(|lock| lock.at < cutoff);
        let tables = self.committed();
        let ids: Vec<EventId> = R::table(&tables).rows().filter(|row| is_stale(row)).map(R::id).collect();
        Ok(self.change(&ids, is_stale, R::unclaim).await?.len() as u64)
    }

    fn cleanup<R: Stored>(&self, retention: Duration, batch: BatchSize, max_iterations: u32) -> u64 {
        let cutoff = before(self.shared.now(), retention);
        let most = u64::from(batch.get()) * u64::from(max_iterations);
        self.delete(most, |row: &R| {
            row.life().status == EventStatus::Completed
                && row.life().completed_at.is_some_and(|at| at < cutoff)
        })
    }

    /// Deletes the first `most` rows that `is_old` lets through. What an open transaction looks at is skipped.
    pub(super) fn delete<R: Stored>(&self, most: u64, is_old: impl Fn(&R) -> bool) -> u64 {
        let mut state = self.shared.state();
        let is_free = |row: &&R| !state.is_locked(row.row_lock().as_ref());
        let old = R::table(&state.tables).rows().filter(|row| is_old(*row)).filter(is_free);
        let ids: Vec<EventId> = old.take(usize::try_from(most).unwrap_or(usize::MAX)).map(R::id).collect();
        for id in &ids {
            R::table_mut(&mut state.tables).remove(*id);
        }
        ids.len() as u64
    }
}

#[async_trait]
impl RetentionPolicies<OutboxEvent> for MemoryStore {
    async fn release_stale_locks(&self, older_than: Duration) -> Result<u64> {
        self.release_stale::<OutboxRow>(older_than).await
    }

    async fn cleanup_old_events(
        &self,
        retention: Duration,
        batch: BatchSize,
        max_iterations: u32,
    ) -> Result<u64> {
        Ok(self.cleanup::<OutboxRow>(retention, batch, max_iterations))
    }
}

#[async_trait]
impl RetentionPolicies<InboxEvent> for MemoryStore {
    async fn release_stale_locks(&self, older_than: Duration) -> Result<u64> {
        self.release_stale::<InboxRow>(older_than).await
    }

    async fn cleanup_old_events(
        &self,
        retention: Duration,
        batch: BatchSize,
        max_iterations: u32,
    ) -> Result<u64> {
        Ok(self.cleanup::<InboxRow>(retention, batch, max_iterations))
    }
}
