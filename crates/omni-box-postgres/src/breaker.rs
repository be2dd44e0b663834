//! Circuit breakers that processes share.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::{BreakerReport, BreakerState, Breakers};
use omni_box_core::{OwnerId, Result};
use omni_box_sql::breaker_state;

use crate::PgStore;
use crate::store::interval;

/// As a number of the table; more are as many as it counts.
fn count(events: u32) -> i32 {
    i32::try_from(events).unwrap_or(i32::MAX)
}

#[async_trait]
impl Breakers for PgStore {
    async fn admit(&self, name: &str, asker: OwnerId, trial: Duration) -> Result<BreakerState> {
        let mut session = self.session().await?;
        let row: Option<(i32, bool, i64, bool)> = sqlx::query_as(self.queries.breaker_admit.sql())
            .bind(name)
            .bind(asker.as_uuid())
            .bind(interval(trial))
            .fetch_optional(&mut *session)
            .await
            .map_err(self.failed("ask a circuit breaker"))?;
        session.finish().await?;
        Ok(match row {
            Some((.., true)) => BreakerState::Trial,
            Some((failures, is_open, rest, _)) => breaker_state(failures.into(), is_open, rest),
            None => BreakerState::Closed { failures: 0 },
        })
    }

    async fn report(&self, name: &str, report: &BreakerReport) -> Result<BreakerState> {
        let mut session = self.session().await?;
        let row: (i32, bool, i64) = sqlx::query_as(self.queries.breaker_report.sql())
            .bind(name)
            .bind(count(report.failures))
            .bind(report.has_succeeded)
            .bind(count(report.threshold))
            .bind(interval(report.recovery))
            .bind(report.trial.map(OwnerId::as_uuid))
            .fetch_one(&mut *session)
            .await
            .map_err(self.failed("report to a circuit breaker"))?;
        session.finish().await?;
        let (failures, is_open, rest) = row;
        Ok(breaker_state(failures.into(), is_open, rest))
    }
}
