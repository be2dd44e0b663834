//! Who handles the messages of a group.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::{GroupHandling, GroupMembers};
use omni_box_core::{ConsumerGroup, OwnerId, Result, Store};
use omni_box_sql::micros;

use crate::SqliteStore;
use crate::error::failed;

#[async_trait]
impl GroupMembers for SqliteStore {
    async fn join(
        &self,
        group: &ConsumerGroup,
        member: OwnerId,
        handling: GroupHandling,
        ttl: Duration,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        let joined = sqlx::query(self.queries.inbox_join.sql())
            .bind(group.as_str())
            .bind(member.as_uuid().to_string())
            .bind(handling.as_str())
            .bind(micros(ttl))
            .execute(&mut *tx)
            .await
            .map_err(failed("join a group"))?;
        tx.commit().await?;
        Ok(joined.rows_affected() > 0)
    }

    async fn leave(&self, member: OwnerId) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query(self.queries.inbox_leave.sql())
            .bind(member.as_uuid().to_string())
            .execute(&mut *tx)
            .await
            .map_err(failed("leave a group"))?;
        tx.commit().await
    }
}
