//! Upkeep, in bounded statements.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{BatchSize, InboxEvent, OutboxEvent, Result, RetentionPolicies, Store};
use omni_box_sql::{Query, micros};

use crate::SqliteStore;
use crate::error::failed;

/// Claims given back by one statement.
const RELEASE_SLICE: u32 = 1_000;

impl SqliteStore {
    async fn release_stale(&self, query: &Query, older_than: Duration) -> Result<u64> {
        let slice = BatchSize::new(RELEASE_SLICE)?;
        self.in_steps(query, older_than, slice, u32::MAX, "give stale claims back").await
    }

    pub(crate) async fn cleanup(
        &self,
        query: &Query,
        retention: Duration,
        batch: BatchSize,
        max_iterations: u32,
    ) -> Result<u64> {
        self.in_steps(query, retention, batch, max_iterations, "delete old events").await
    }

    /// A transaction for each step, so that others get the write lock in between.
    async fn in_steps(
        &self,
        query: &Query,
        age: Duration,
        batch: BatchSize,
        max_iterations: u32,
        doing: &'static str,
    ) -> Result<u64> {
        let mut total = 0;
        for _ in 0..max_iterations {
            let mut tx = self.begin().await?;
            let done = sqlx::query(query.sql())
                .bind(micros(age))
                .bind(i64::from(batch.get()))
                .execute(&mut *tx)
                .await
                .map_err(failed(doing))?;
            tx.commit().await?;
            total += done.rows_affected();
            if done.rows_affected() < u64::from(batch.get()) {
                break;
            }
        }
        Ok(total)
    }
}

#[async_trait]
impl RetentionPolicies<OutboxEvent> for SqliteStore {
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
impl RetentionPolicies<InboxEvent> for SqliteStore {
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
