//! The savepoint of a message within its group.

use async_trait::async_trait;
use omni_box_core::{Error, Result, Savepoints};
use omni_box_sql::no_savepoint;
use sqlx::{Executor, SqliteConnection};

use crate::SqliteStore;
use crate::error::{failed, is_no_savepoint};

#[async_trait]
impl Savepoints<SqliteConnection> for SqliteStore {
    async fn start(&self, conn: &mut SqliteConnection) -> Result<()> {
        conn.execute("savepoint omni_box").await.map_err(failed("set a savepoint"))?;
        Ok(())
    }

    async fn advance(&self, conn: &mut SqliteConnection) -> Result<()> {
        // released, because savepoints of one name pile up
        conn.execute(sqlx::raw_sql("release savepoint omni_box; savepoint omni_box"))
            .await
            .map_err(gone_or("advance a savepoint"))?;
        Ok(())
    }

    async fn rollback(&self, conn: &mut SqliteConnection) -> Result<()> {
        conn.execute("rollback to savepoint omni_box").await.map_err(gone_or("roll back to a savepoint"))?;
        Ok(())
    }
}

/// Tells a savepoint that is gone from everything else that may fail.
fn gone_or(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
    move |error| if is_no_savepoint(&error) { no_savepoint() } else { failed(doing)(error) }
}
