//! The sequence of `seq`, which is the order of the outbox: what was restored or copied without it starts over.

use omni_box_core::Result;
use omni_box_sql::SchemaDifference;
use sqlx::PgConnection;

use crate::{PgStore, Table};

/// What is compared with the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// What is due in the order of `seq`: at a cost that does not grow with the table.
    Due,
    /// Everything.
    All,
}

impl PgStore {
    /// Whether the sequence is behind an event that waits, so that new events would be sent before it.
    pub(crate) async fn sequence_behind(
        &self,
        conn: &mut PgConnection,
        waiting: Waiting,
    ) -> Result<Option<SchemaDifference>> {
        let table = self.config.qualified(Table::OutboxEvents);
        let (last, pending): (Option<i64>, i64) = sqlx::query_as(self.queries.control_sequence.sql())
            .bind(&table)
            .bind(waiting == Waiting::All)
            .fetch_one(conn)
            .await
            .map_err(self.failed("compare the sequence of events with those that wait"))?;
        let behind = |last| SchemaDifference::SequenceBehind { table, last, pending };
        Ok(last.filter(|last| *last < pending).map(behind))
    }
}
