//! Upkeep, in bounded statements.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{BatchSize, InboxEvent, OutboxEvent, Result, RetentionPolicies};
use omni_box_sql::Query;

use crate::PgStore;
use crate::store::interval;

impl PgStore {
    async fn release_stale(&self, query: &Query, older_than: Duration) -> Result<u64> {
        let mut session = self.session().await?;
        let done = sqlx::query(query.sql())
            .bind(interval(older_than))
            .execute(&mut *session)
            .await
            .map_err(self.failed("give stale claims back"))?;
        session.finish().await?;
        Ok(done.rows_affected())
    }

    pub(crate) async fn cleanup(
        &self,
        query: &Query,
        retention: Duration,
        batch: BatchSize,
        max_iterations: u32,
    ) -> Result<u64> {
        let mut total = 0;
        for _ in 0..max_iterations {
            let mut session = self.session().await?;
            let done = sqlx::query(query.sql())
                .bind(interval(retention))
                .bind(i64::from(batch.get()))
                .execute(&mut *session)
                .await
                .map_err(self.failed("delete old events"))?;
            session.finish().await?;
            total += done.rows_affected();
            if done.rows_affected() < u64::from(batch.get()) {
                break;
            }
        }
        Ok(total)
    }
}

#[async_trait]
impl RetentionPolicies<OutboxEvent> for PgStore {
    async fn release_stale_locks(&self, older_than: Duration) -> Result<u64> {
        self.release_stale(&self.queries.outbox_events.release_stale, older_than).await
    }

    async fn cleanup_old_events(
        &self,
        retention: Duration,
        batch: BatchSize,
        max_iterations: u32,
    ) -> Result<u64> {
        self.cleanup(&self.queries.outbox_events.purge, retention, batch, max_iterations).await
    }
}

#[async_trait]
impl RetentionPolicies<InboxEvent> for PgStore {
    async fn release_stale_locks(&self, older_than: Duration) -> Result<u64> {
        self.release_stale(&self.queries.inbox_events.release_stale, older_than).await
    }

    async fn cleanup_old_events(
        &self,
        retention: Duration,
        batch: BatchSize,
        max_iterations: u32,
    ) -> Result<u64> {
        self.cleanup(&self.queries.inbox_events.purge, retention, batch, max_iterations).await
    }
}
