//! Circuit breakers that processes share.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::{BreakerReport, BreakerState, Breakers};
use omni_box_core::{OwnerId, Result, Store};
use omni_box_sql::{breaker_state, micros};

use crate::SqliteStore;
use crate::error::failed;

/// What is read of a breaker: failures in a row, whether it is open, microseconds for which it stays so, whether its trial is free.
type Row = (i64, bool, i64, bool);

#[async_trait]
impl Breakers for SqliteStore {
    async fn admit(&self, name: &str, asker: OwnerId, trial: Duration) -> Result<BreakerState> {
        const DOING: &str = "ask a circuit breaker";
        let row: Option<Row> = {
            let mut reader = self.reader().await?;
            sqlx::query_as(self.queries.breaker_read.sql())
                .bind(name)
                .fetch_optional(&mut *reader)
                .await
                .map_err(failed(DOING))?
        };
        let Some((failures, is_open, rest, is_free)) = row else {
            return Ok(BreakerState::Closed { failures: 0 });
        };
        if !is_free {
            return Ok(breaker_state(failures, is_open, rest));
        }
        let mut tx = self.begin().await?;
        let taken = sqlx::query(self.queries.breaker_admit.sql())
            .bind(name)
            .bind(asker.as_uuid().to_string())
            .bind(micros(trial))
            .execute(&mut *tx)
            .await
            .map_err(failed(DOING))?;
        tx.commit().await?;
        Ok(match taken.rows_affected() {
            0 => BreakerState::Open { rest: Duration::ZERO },
            _ => BreakerState::Trial,
        })
    }

    async fn report(&self, name: &str, report: &BreakerReport) -> Result<BreakerState> {
        let mut tx = self.begin().await?;
        let row: Row = sqlx::query_as(self.queries.breaker_report.sql())
            .bind(name)
            .bind(i64::from(report.failures))
            .bind(report.has_succeeded)
            .bind(i64::from(report.threshold))
            .bind(micros(report.recovery))
            .bind(report.trial.map(|trial| trial.as_uuid().to_string()))
            .fetch_one(&mut *tx)
            .await
            .map_err(failed("report to a circuit breaker"))?;
        tx.commit().await?;
        let (failures, is_open, rest, _) = row;
        Ok(breaker_state(failures, is_open, rest))
    }
}
