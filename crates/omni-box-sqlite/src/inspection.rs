//! One bounded look at the tables.

use async_trait::async_trait;
use omni_box_core::Result;
use omni_box_core::store::{GroupSample, Inspection, Sample};
use omni_box_sql::{sampled_group, sampled_outbox};

use crate::SqliteStore;
use crate::error::failed;
use crate::row::Reader;

#[async_trait]
impl Inspection for SqliteStore {
    async fn sample(&self) -> Result<Sample> {
        const DOING: &str = "take a sample of the tables";
        let mut reader = self.reader().await?;
        let outbox = sqlx::query(self.queries.sample_outbox.sql())
            .fetch_one(&mut *reader)
            .await
            .map_err(failed(DOING))?;
        let groups = sqlx::query(self.queries.sample_inbox.sql())
            .bind(Sample::GROUPS as i64)
            .fetch_all(&mut *reader)
            .await
            .map_err(failed(DOING))?;
        let mut sample = sampled_outbox(&mut Reader::new(&outbox)).map_err(failed(DOING))?;
        let group = |row| -> sqlx::Result<GroupSample> { sampled_group(&mut Reader::new(row)) };
        sample.groups = groups.iter().map(group).collect::<Result<_, _>>().map_err(failed(DOING))?;
        Ok(sample)
    }
}
