//! Moves lanes on behind what is done, for all their owners, and sweeps them for what was made due by hand.
//!
//! What is completed stays in the index of what is in line, so that a completion writes no index. Readers begin above `read_to` of a lane
//! instead, which says that nothing is due at or below it but what was set aside. The store asks the table for that, not its callers.

use std::time::Duration;

use omni_box_core::{Lease, OwnerId, Result};
use tokio::time::timeout;

use crate::outbox::lane_number;
use crate::{PgStore, Table};

impl PgStore {
    /// Moves `read_to` of leased lanes on and sweeps a slice, within `limit`. A failure costs nothing but the walk of the next owner.
    /// `proven` was taken before any snapshot of this call.
    pub(crate) async fn move_on(
        &self,
        owner: OwnerId,
        leases: &[Lease],
        proven: Option<(i64, String)>,
        limit: Duration,
    ) {
        match timeout(limit, self.try_move_on(owner, leases, proven)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(kind = ?error.kind(), "lanes were not moved on"),
            Err(_) => tracing::debug!("lanes were not moved on in time"),
        }
    }

    async fn try_move_on(
        &self,
        owner: OwnerId,
        leases: &[Lease],
        proven: Option<(i64, String)>,
    ) -> Result<()> {
        if leases.is_empty() {
            return Ok(());
        }
        let (proven, server) = proven.unzip();
        let (is_moved, swept_to) = self.progress.begin(owner, leases, proven);
        let lanes: Vec<i16> = leases.iter().map(|lease| lane_number(lease.lane)).collect();
        if is_moved {
            let mut session = self.session().await?;
            let read_to: Option<i64> = sqlx::query_scalar(self.queries.lanes_advance.sql())
                .bind(owner.as_uuid())
                .bind(&lanes)
                .bind(self.config.qualified(Table::OutboxEvents))
                .bind(proven)
                .bind(server)
                .fetch_one(&mut *session)
                .await
                .map_err(self.failed("move lanes on"))?;
            session.finish().await?;
            self.progress.moved(owner, read_to);
        }
        if let Some(after) = swept_to {
            let mut session = self.session().await?;
            let end: Option<i64> = sqlx::query_scalar(self.queries.lanes_sweep.sql())
                .bind(owner.as_uuid())
                .bind(&lanes)
                .bind(after)
                .fetch_one(&mut *session)
                .await
                .map_err(self.failed("sweep lanes"))?;
            session.finish().await?;
            self.progress.swept(owner, end);
        }
        Ok(())
    }
}
