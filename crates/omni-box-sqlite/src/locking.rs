//! Claims of whole batches, and marks of what was claimed.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{
    BatchSize, BulkOperations, ClaimToken, DistributedLocking, Event, EventId, FetchFilters, InboxEvent,
    OutboxEvent, Result, Store,
};
use omni_box_sql::Query;
use uuid::Uuid;

use crate::SqliteStore;
use crate::error::failed;
use crate::inbox::inbox_events;
use crate::outbox::outbox_events;
use crate::query::{array, ids};

impl SqliteStore {
    /// Runs a statement on events that a token has claimed; returns those it changed.
    async fn marked(&self, query: &Query, events: &[EventId], token: &ClaimToken) -> Result<Vec<EventId>> {
        let mut tx = self.begin().await?;
        let marked: Vec<String> = sqlx::query_scalar(query.sql())
            .bind(ids(events))
            .bind(token.as_str())
            .fetch_all(&mut *tx)
            .await
            .map_err(failed("mark claimed events"))?;
        tx.commit().await?;
        let marked = marked.iter().filter_map(|id| id.parse::<Uuid>().ok());
        Ok(marked.map(EventId::from).collect())
    }

    /// Claims what `claimable` has found, and reads it.
    async fn claim_found<K>(
        &self,
        mut tx: crate::SqliteTx,
        found: Vec<K>,
        token: &ClaimToken,
        [claim, read]: [&Query; 2],
    ) -> Result<Vec<sqlx::sqlite::SqliteRow>>
    where
        K: Into<serde_json::Value>,
    {
        if found.is_empty() {
            tx.rollback().await?;
            return Ok(Vec::new());
        }
        let found = array(found);
        sqlx::query(claim.sql())
            .bind(&found)
            .bind(token.as_str())
            .execute(&mut *tx)
            .await
            .map_err(failed("claim events"))?;
        let rows = sqlx::query(read.sql())
            .bind(&found)
            .fetch_all(&mut *tx)
            .await
            .map_err(failed("read claimed events"))?;
        tx.commit().await?;
        Ok(rows)
    }
}

#[async_trait]
impl BulkOperations<OutboxEvent> for SqliteStore {
    async fn complete_many(&self, ids: &[EventId], token: &ClaimToken) -> Result<Vec<EventId>> {
        self.marked(&self.queries.outbox_complete, ids, token).await
    }
}

#[async_trait]
impl BulkOperations<InboxEvent> for SqliteStore {
    async fn complete_many(&self, ids: &[EventId], token: &ClaimToken) -> Result<Vec<EventId>> {
        self.marked(&self.queries.inbox_complete, ids, token).await
    }
}

#[async_trait]
impl DistributedLocking<OutboxEvent> for SqliteStore {
    async fn claim(
        &self,
        token: &ClaimToken,
        limit: BatchSize,
        ttl: Duration,
        filters: &FetchFilters,
    ) -> Result<Vec<OutboxEvent>> {
        OutboxEvent::check_filters(filters)?;
        let mut tx = self.begin().await?;
        let found = self.due_rows::<OutboxEvent>(&mut tx, limit, filters, Some(ttl)).await?;
        let queries = [&self.queries.outbox_claim, &self.queries.outbox_read];
        outbox_events(&self.claim_found(tx, found, token, queries).await?)
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
impl DistributedLocking<InboxEvent> for SqliteStore {
    async fn claim(
        &self,
        token: &ClaimToken,
        limit: BatchSize,
        ttl: Duration,
        filters: &FetchFilters,
    ) -> Result<Vec<InboxEvent>> {
        InboxEvent::check_filters(filters)?;
        let mut tx = self.begin().await?;
        let found = self.due_rows::<InboxEvent>(&mut tx, limit, filters, Some(ttl)).await?;
        let queries = [&self.queries.inbox_claim, &self.queries.inbox_read];
        inbox_events(&self.claim_found(tx, found, token, queries).await?)
    }

    async fn refresh(&self, token: &ClaimToken, ids: &[EventId]) -> Result<Vec<EventId>> {
        self.marked(&self.queries.inbox_events.refresh, ids, token).await
    }

    async fn release(&self, token: &ClaimToken, ids: &[EventId]) -> Result<()> {
        self.marked(&self.queries.inbox_events.release, ids, token).await?;
        Ok(())
    }
}
