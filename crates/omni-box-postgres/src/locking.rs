//! Claims of whole batches, and marks of what was claimed.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{
    BatchSize, BulkOperations, ClaimToken, DistributedLocking, Event, EventId, FetchFilters, InboxEvent,
    OutboxEvent, Result,
};
use omni_box_sql::Query;
use uuid::Uuid;

use crate::PgStore;
use crate::row::uuids;
use crate::rows::Claim;

impl PgStore {
    /// Runs a statement on events that a token has claimed; returns those it changed. Planned anew each time: see `plans`.
    async fn marked(&self, query: &Query, ids: &[EventId], token: &ClaimToken) -> Result<Vec<EventId>> {
        let mut session = self.session().await?;
        let ids: Vec<Uuid> = sqlx::query_scalar(query.sql())
            .persistent(false)
            .bind(uuids(ids))
            .bind(token.as_str())
            .fetch_all(&mut *session)
            .await
            .map_err(self.failed("mark claimed events"))?;
        session.finish().await?;
        Ok(ids.into_iter().map(EventId::from).collect())
    }
}

#[async_trait]
impl BulkOperations<OutboxEvent> for PgStore {
    async fn complete_many(&self, ids: &[EventId], token: &ClaimToken) -> Result<Vec<EventId>> {
        self.marked(&self.queries.outbox_complete, ids, token).await
    }
}

#[async_trait]
impl BulkOperations<InboxEvent> for PgStore {
    async fn complete_many(&self, ids: &[EventId], token: &ClaimToken) -> Result<Vec<EventId>> {
        self.marked(&self.queries.inbox_complete, ids, token).await
    }
}

#[async_trait]
impl DistributedLocking<OutboxEvent> for PgStore {
    async fn claim(
        &self,
        token: &ClaimToken,
        limit: BatchSize,
        ttl: Duration,
        filters: &FetchFilters,
    ) -> Result<Vec<OutboxEvent>> {
        OutboxEvent::check_filters(filters)?;
        self.due(self.session().await?, limit, filters, Some(Claim { token, ttl })).await
    }

    async fn refresh(&self, token: &ClaimToken, ids: &[EventId]) -> Result<Vec<EventId>> {
        self.marked(&self.queries.outbox_events.refresh, ids, token).await
    }

    async fn release(&self, token: &ClaimToken, ids: &[EventId]) -> Result<()> {
        self.marked(&self.queries.outbox_events.release, ids, token).await?;
        Ok(())
    }
}

#[async_trait]
impl DistributedLocking<InboxEvent> for PgStore {
    async fn claim(
        &self,
        token: &ClaimToken,
        limit: BatchSize,
        ttl: Duration,
        filters: &FetchFilters,
    ) -> Result<Vec<InboxEvent>> {
        InboxEvent::check_filters(filters)?;
        self.due(self.session().await?, limit, filters, Some(Claim { token, ttl })).await
    }

    async fn refresh(&self, token: &ClaimToken, ids: &[EventId]) -> Result<Vec<EventId>> {
        self.marked(&self.queries.inbox_events.refresh, ids, token).await
    }

    async fn release(&self, token: &ClaimToken, ids: &[EventId]) -> Result<()> {
        self.marked(&self.queries.inbox_events.release, ids, token).await?;
        Ok(())
    }
}
