//! Claims of whole batches, and marks of what was claimed.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::Due;
use omni_box_core::{
    BatchSize, BulkOperations, ClaimToken, DistributedLocking, Event, EventId, FetchFilters, InboxEvent,
    OutboxEvent, Result,
};

use super::MemoryStore;
use super::table::{InboxRow, OutboxRow, Row, before};
use super::tables::Stored;

impl MemoryStore {
    async fn refresh_claims<R: Stored>(&self, token: &ClaimToken, ids: &[EventId]) -> Result<Vec<EventId>> {
        self.change(ids, |row: &R| row.is_claimed_by(token), |row, now| row.claim(token, now)).await
    }

    async fn release_claims<R: Stored>(&self, token: &ClaimToken, ids: &[EventId]) -> Result<()> {
        self.change(ids, |row: &R| row.is_claimed_by(token), R::unclaim).await?;
        Ok(())
    }
}

#[async_trait]
impl BulkOperations<OutboxEvent> for MemoryStore {
    async fn complete_many(&self, ids: &[EventId], token: &ClaimToken) -> Result<Vec<EventId>> {
        self.complete_claimed::<OutboxRow>(ids, token).await
    }
}

#[async_trait]
impl BulkOperations<InboxEvent> for MemoryStore {
    async fn complete_many(&self, ids: &[EventId], token: &ClaimToken) -> Result<Vec<EventId>> {
        self.complete_claimed::<InboxRow>(ids, token).await
    }
}

#[async_trait]
impl DistributedLocking<OutboxEvent> for MemoryStore {
    async fn claim(
        &self,
        token: &ClaimToken,
        limit: BatchSize,
        ttl: Duration,
        filters: &FetchFilters,
    ) -> Result<Vec<OutboxEvent>> {
        OutboxEvent::check_filters(filters)?;
        let (mut state, now) = (self.shared.state(), self.shared.now());
        let table = &mut state.tables.outbox;
        let due: Vec<OutboxRow> =
            table.due(limit, filters, Some(before(now, ttl)), now).into_iter().cloned().collect();
        let claim = |mut row: OutboxRow| {
            row.claim(token, now);
            table.put(row.clone());
            row.event()
        };
        Ok(due.into_iter().map(claim).collect())
    }

    async fn refresh(&self, token: &ClaimToken, ids: &[EventId]) -> Result<Vec<EventId>> {
        self.refresh_claims::<OutboxRow>(token, ids).await
    }

    async fn release(&self, token: &ClaimToken, ids: &[EventId]) -> Result<()> {
        self.release_claims::<OutboxRow>(token, ids).await
    }
}

#[async_trait]
impl DistributedLocking<InboxEvent> for MemoryStore {
    async fn claim(
        &self,
        token: &ClaimToken,
        limit: BatchSize,
        ttl: Duration,
        filters: &FetchFilters,
    ) -> Result<Vec<InboxEvent>> {
        let (mut state, now) = (self.shared.state(), self.shared.now());
        // what an open transaction works on is skipped
        let is_free = |row: &InboxRow| !state.is_locked(row.row_lock().as_ref());
        let due = Due::new(limit, filters, now)?.taking_over(ttl);
        let mut claimed = state.tables.inbox.due(due, is_free)?;
        for event in &mut claimed {
            state.tables.inbox.change(event.id(), |row| {
                Row::claim(row, token, now);
                *event = row.event();
                true
            });
        }
        Ok(claimed)
    }

    async fn refresh(&self, token: &ClaimToken, ids: &[EventId]) -> Result<Vec<EventId>> {
        self.refresh_claims::<InboxRow>(token, ids).await
    }

    async fn release(&self, token: &ClaimToken, ids: &[EventId]) -> Result<()> {
        self.release_claims::<InboxRow>(token, ids).await
    }
}
