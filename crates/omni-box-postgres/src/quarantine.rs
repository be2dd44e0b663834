//! Messages that are kept as raw bytes.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::{Quarantine, QuarantineEntry};
use omni_box_core::{BatchSize, ConsumerGroup, QuarantinedMessage, Result};
use omni_box_sql::{quarantine_entry, quarantined_message};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::PgStore;
use crate::outbox::require_transaction;
use crate::row::Reader;
use crate::store::interval;

#[async_trait]
impl Quarantine<PgConnection> for PgStore {
    async fn list(
        &self,
        group: &ConsumerGroup,
        after: Option<&QuarantineEntry>,
        limit: BatchSize,
    ) -> Result<Vec<QuarantineEntry>> {
        let mut session = self.session().await?;
        let rows = sqlx::query(self.queries.quarantine_list.sql())
            .bind(group.as_str())
            .bind(after.map(|entry| entry.kept_at))
            .bind(after.map(|entry| entry.id))
            .bind(i64::from(limit.get()))
            .fetch_all(&mut *session)
            .await
            .map_err(self.failed("list the quarantine"))?;
        session.finish().await?;
        let entries = rows.iter().map(|row| quarantine_entry(&mut Reader::new(row)));
        entries.collect::<Result<_, sqlx::Error>>().map_err(self.failed("read the quarantine"))
    }

    async fn show(&self, id: Uuid) -> Result<Option<QuarantinedMessage>> {
        let mut session = self.session().await?;
        let row = sqlx::query(self.queries.quarantine_show.sql())
            .bind(id)
            .fetch_optional(&mut *session)
            .await
            .map_err(self.failed("look into the quarantine"))?;
        session.finish().await?;
        let message = row.map(|row| quarantined_message(&mut Reader::new(&row))).transpose();
        message.map_err(self.failed("read the quarantine"))
    }

    async fn remove(&self, conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Uuid>> {
        require_transaction(conn).await?;
        sqlx::query_scalar(self.queries.quarantine_remove.sql())
            .bind(ids)
            .fetch_all(conn)
            .await
            .map_err(self.failed("take messages out of quarantine"))
    }

    async fn purge(&self, group: &ConsumerGroup, older_than: Duration, limit: BatchSize) -> Result<u64> {
        let mut session = self.session().await?;
        let done = sqlx::query(self.queries.quarantine_purge.sql())
            .bind(group.as_str())
            .bind(interval(older_than))
            .bind(i64::from(limit.get()))
            .execute(&mut *session)
            .await
            .map_err(self.failed("clean the quarantine up"))?;
        session.finish().await?;
        Ok(done.rows_affected())
    }
}
