//! Messages that are kept as raw bytes.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::{Quarantine, QuarantineEntry};
use omni_box_core::{BatchSize, ConsumerGroup, QuarantinedMessage, Result, Store};
use omni_box_sql::{micros, quarantine_entry, quarantined_message};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::SqliteStore;
use crate::error::failed;
use crate::query::array;
use crate::row::Reader;
use crate::transaction::require_transaction;

#[async_trait]
impl Quarantine<SqliteConnection> for SqliteStore {
    async fn list(
        &self,
        group: &ConsumerGroup,
        after: Option<&QuarantineEntry>,
        limit: BatchSize,
    ) -> Result<Vec<QuarantineEntry>> {
        let mut reader = self.reader().await?;
        let rows = sqlx::query(self.queries.quarantine_list.sql())
            .bind(group.as_str())
            .bind(after.map(|entry| entry.kept_at.timestamp_micros()))
            .bind(after.map(|entry| entry.id.to_string()))
            .bind(i64::from(limit.get()))
            .fetch_all(&mut *reader)
            .await
            .map_err(failed("list the quarantine"))?;
        let entries = rows.iter().map(|row| quarantine_entry(&mut Reader::new(row)));
        entries.collect::<Result<_, sqlx::Error>>().map_err(failed("read the quarantine"))
    }

    async fn show(&self, id: Uuid) -> Result<Option<QuarantinedMessage>> {
        let mut reader = self.reader().await?;
        let row = sqlx::query(self.queries.quarantine_show.sql())
            .bind(id.to_string())
            .fetch_optional(&mut *reader)
            .await
            .map_err(failed("look into the quarantine"))?;
        let message = row.map(|row| quarantined_message(&mut Reader::new(&row))).transpose();
        message.map_err(failed("read the quarantine"))
    }

    async fn remove(&self, conn: &mut SqliteConnection, ids: &[Uuid]) -> Result<Vec<Uuid>> {
        require_transaction(conn).await?;
        let removed: Vec<String> = sqlx::query_scalar(self.queries.quarantine_remove.sql())
            .bind(array(ids.iter().map(Uuid::to_string)))
            .fetch_all(conn)
            .await
            .map_err(failed("take messages out of quarantine"))?;
        Ok(removed.iter().filter_map(|id| id.parse().ok()).collect())
    }

    async fn purge(&self, group: &ConsumerGroup, older_than: Duration, limit: BatchSize) -> Result<u64> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(self.queries.quarantine_purge.sql())
            .bind(group.as_str())
            .bind(micros(older_than))
            .bind(i64::from(limit.get()))
            .execute(&mut *tx)
            .await
            .map_err(failed("clean the quarantine up"))?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }
}
