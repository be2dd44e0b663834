//! Transactions of a whole group.
//!
//! A handler has a connection, and may send it COMMIT or ROLLBACK. A cursor that would outlive the transaction makes a COMMIT fail. A
//! session that reads only makes every write fail that comes behind its end. So neither a row that is completed already nor the effect of a
//! handler behind that statement can last.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::SealedTransactions;
use omni_box_core::{EventId, InboxEvent, Received, Result};
use sqlx::PgConnection;

use crate::PgStore;
use crate::inbox::Stored;
use crate::row::uuids;
use crate::transaction::PgTx;

#[async_trait]
impl SealedTransactions<PgStore> for PgStore {
    async fn begin_sealed(&self, timeout: Duration) -> Result<PgTx> {
        self.hooked(PgTx::begin_sealed(&self.connections, timeout).await?).await
    }

    async fn receive_completed(
        &self,
        conn: &mut PgConnection,
        events: &[&InboxEvent],
    ) -> Result<Vec<Received>> {
        self.receive_as(conn, events, Stored::Completed).await
    }

    async fn set_back(&self, conn: &mut PgConnection, ids: &[EventId]) -> Result<()> {
        sqlx::query(self.queries.inbox_set_back.sql())
            .persistent(self.inbox_plans.are_kept())
            .bind(uuids(ids))
            .execute(conn)
            .await
            .map_err(self.failed("set messages back that are left for later"))?;
        Ok(())
    }
}
