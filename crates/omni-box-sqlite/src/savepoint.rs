//! The savepoint of a message within its group.

use async_trait::async_trait;
use omni_box_core::{Result, Savepoints};
use sqlx::{Executor, SqliteConnection};

use crate::SqliteStore;
use crate::error::failed;

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
            .map_err(failed("advance a savepoint"))?;
        Ok(())
    }

    async fn rollback(&self, conn: &mut SqliteConnection) -> Result<()> {
        conn.execute("rollback to savepoint omni_box").await.map_err(failed("roll back to a savepoint"))?;
        Ok(())
    }
}
