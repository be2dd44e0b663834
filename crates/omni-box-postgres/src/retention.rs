//! Upkeep, in bounded statements.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use omni_box_core::{BatchSize, InboxEvent, OutboxEvent, Result, RetentionPolicies};
use omni_box_sql::Query;

use crate::PgStore;
use crate::store::interval;

/// Steps through the outbox for an iteration of its clean-up, each of a thousand events or a batch.
const STEPS: u64 = 16;
/// Steps that met nothing that was created long ago: what lies behind so many is younger still.
const YOUNG_STEPS: u32 = 2;
/// Claims given back by one statement.
const RELEASE_SLICE: u32 = 1_000;

impl PgStore {
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

    /// A step after the other, until one is not full.
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
            let mut session = self.session().await?;
            let done = sqlx::query(query.sql())
                .bind(interval(age))
                .bind(i64::from(batch.get()))
                .execute(&mut *session)
                .await
                .map_err(self.failed(doing))?;
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

    /// In steps by `seq`, each with a place where it ended. What is not to be deleted is met once, and at most [`STEPS`] steps are made for
    /// an iteration that finds less than a batch.
    async fn cleanup_old_events(
        &self,
        retention: Duration,
        batch: BatchSize,
        max_iterations: u32,
    ) -> Result<u64> {
        let most = u64::from(batch.get()) * u64::from(max_iterations);
        let (mut total, mut place, mut young) = (0, i64::MIN, 0);
        for _ in 0..u64::from(max_iterations) * STEPS {
            let limit = (most - total).min(u64::from(batch.get()));
            if limit == 0 || young > YOUNG_STEPS {
                break;
            }
            let mut session = self.session().await?;
            let (deleted, end, is_old): (i64, Option<i64>, bool) =
                sqlx::query_as(self.queries.outbox_events.purge.sql())
                    .bind(interval(retention))
                    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                    .bind(place)
                    .fetch_one(&mut *session)
                    .await
                    .map_err(self.failed("delete old events"))?;
            session.finish().await?;
            total += deleted.unsigned_abs();
            let Some(end) = end else { break };
            place = end;
            young = if is_old { 0 } else { young + 1 };
        }
        Ok(total)
    }
}

#[async_trait]
impl RetentionPolicies<InboxEvent> for PgStore {
    async fn release_stale_locks(&self, older_than: Duration) -> Result<u64> {
        self.release_stale(&self.queries.inbox_events.release_stale, older_than).await
    }

    /// Each step begins where the one before has ended.
    async fn cleanup_old_events(
        &self,
        retention: Duration,
        batch: BatchSize,
        max_iterations: u32,
    ) -> Result<u64> {
        let (mut total, mut place) = (0, None::<DateTime<Utc>>);
        for _ in 0..max_iterations {
            let mut session = self.session().await?;
            let (deleted, end): (i64, Option<DateTime<Utc>>) =
                sqlx::query_as(self.queries.inbox_events.purge.sql())
                    .bind(interval(retention))
                    .bind(i64::from(batch.get()))
                    .bind(place)
                    .fetch_one(&mut *session)
                    .await
                    .map_err(self.failed("delete old events"))?;
            session.finish().await?;
            total += deleted.unsigned_abs();
            if deleted.unsigned_abs() < u64::from(batch.get()) {
                break;
            }
            place = end;
        }
        Ok(total)
    }
}
