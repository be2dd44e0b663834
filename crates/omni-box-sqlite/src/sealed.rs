//! Transactions of a whole group, under a seal.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::SealedTransactions;
use omni_box_core::{EventId, InboxEvent, Received, Result, Store};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::error::failed;
use crate::inbox::Stored;
use crate::query::ids;
use crate::transaction::SqliteTx;

#[async_trait]
impl SealedTransactions<SqliteStore> for SqliteStore {
    async fn begin_sealed(&self, timeout: Duration) -> Result<SqliteTx> {
        self.begin_handling(timeout).await?.sealed().await
    }

    async fn receive_completed(
        &self,
        conn: &mut SqliteConnection,
        events: &[&InboxEvent],
    ) -> Result<Vec<Received>> {
        self.receive_as(conn, events, Stored::Completed).await
    }

    async fn set_back(&self, conn: &mut SqliteConnection, set_back: &[EventId]) -> Result<()> {
        sqlx::query(self.queries.inbox_set_back.sql())
            .bind(ids(set_back))
            .execute(conn)
            .await
            .map_err(failed("set messages back that are left for later"))?;
        Ok(())
    }
}
