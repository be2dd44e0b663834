//! One bounded look at the tables.

use async_trait::async_trait;
use omni_box_core::Result;
use omni_box_core::store::{GroupSample, Inspection, Sample};
use omni_box_sql::{Table, sampled_group, sampled_outbox};
use sqlx::Executor;

use crate::PgStore;
use crate::row::Reader;
use crate::transaction::Limits;

#[async_trait]
impl Inspection for PgStore {
    async fn sample(&self) -> Result<Sample> {
        const DOING: &str = "take a sample of the tables";
        // the planner expects more than there is: compiling the statement would take longer than running it
        let mut tx = self.begin_within(Limits::BRIEF).await?;
        tx.execute("set local jit = off").await.map_err(self.failed(DOING))?;
        let outbox = sqlx::query(self.queries.sample_outbox.sql())
            .bind(self.config.qualified(Table::OutboxEvents))
            .fetch_one(&mut *tx)
            .await
            .map_err(self.failed(DOING))?;
        let groups = sqlx::query(self.queries.sample_inbox.sql())
            .bind(Sample::GROUPS as i32)
            .fetch_all(&mut *tx)
            .await
            .map_err(self.failed(DOING))?;
        tx.commit_checked().await?;
        let mut sample = sampled_outbox(&mut Reader::new(&outbox)).map_err(self.failed(DOING))?;
        let group = |row| -> sqlx::Result<GroupSample> { sampled_group(&mut Reader::new(row)) };
        sample.groups = groups.iter().map(group).collect::<Result<_, _>>().map_err(self.failed(DOING))?;
        Ok(sample)
    }
}
