//! Who handles the messages of a group.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::{GroupHandling, GroupMembers};
use omni_box_core::{ConsumerGroup, OwnerId, Result};
use omni_box_sql::Table;

use crate::PgStore;
use crate::store::interval;
use crate::transaction::Limits;

#[async_trait]
impl GroupMembers for PgStore {
    async fn join(
        &self,
        group: &ConsumerGroup,
        member: OwnerId,
        handling: GroupHandling,
        ttl: Duration,
    ) -> Result<bool> {
        const DOING: &str = "join a group";
        let mut tx = self.begin_within(Limits::BRIEF).await?;
        sqlx::query(self.queries.inbox_lock_group.sql())
            .bind(self.config.qualified(Table::InboxMembers))
            .bind(group.as_str())
            .execute(&mut *tx)
            .await
            .map_err(self.failed(DOING))?;
        let has_joined: bool = sqlx::query_scalar(self.queries.inbox_join.sql())
            .bind(group.as_str())
            .bind(member.as_uuid())
            .bind(handling.as_str())
            .bind(interval(ttl))
            .fetch_one(&mut *tx)
            .await
            .map_err(self.failed(DOING))?;
        tx.commit_checked().await?;
        Ok(has_joined)
    }

    async fn leave(&self, member: OwnerId) -> Result<()> {
        let mut session = self.session().await?;
        sqlx::query(self.queries.inbox_leave.sql())
            .bind(member.as_uuid())
            .execute(&mut *session)
            .await
            .map_err(self.failed("leave a group"))?;
        session.finish().await
    }
}
