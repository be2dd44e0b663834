//! Transactions of a whole group. No statement ends a transaction in memory.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::SealedTransactions;
use omni_box_core::{EventId, InboxEvent, Received, Result, Store};

use super::{MemoryConn, MemoryStore, MemoryTx};

#[async_trait]
impl SealedTransactions<MemoryStore> for MemoryStore {
    async fn begin_sealed(&self, timeout: Duration) -> Result<MemoryTx> {
        self.begin_handling(timeout).await
    }

    async fn receive_completed(
        &self,
        conn: &mut MemoryConn,
        events: &[&InboxEvent],
    ) -> Result<Vec<Received>> {
        conn.check()?;
        let result = conn.try_receive_completed(events).await;
        conn.finish(result)
    }

    async fn set_back(&self, conn: &mut MemoryConn, ids: &[EventId]) -> Result<()> {
        conn.check()?;
        conn.set_back(ids);
        Ok(())
    }
}
