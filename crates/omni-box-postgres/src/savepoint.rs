//! The savepoint of a message within its group.

use async_trait::async_trait;
use omni_box_core::{Error, Result, Savepoints};
use omni_box_sql::no_savepoint;
use sqlx::{Executor, PgConnection};

use crate::PgStore;
use crate::error::failed;

#[async_trait]
impl Savepoints<PgConnection> for PgStore {
    async fn start(&self, conn: &mut PgConnection) -> Result<()> {
        conn.execute("savepoint omni_box").await.map_err(failed("set a savepoint"))?;
        Ok(())
    }

    async fn advance(&self, conn: &mut PgConnection) -> Result<()> {
        // both in one round trip; released, because savepoints of one name pile up
        conn.execute(sqlx::raw_sql("release savepoint omni_box; savepoint omni_box"))
            .await
            .map_err(gone_or("advance a savepoint"))?;
        Ok(())
    }

    async fn rollback(&self, conn: &mut PgConnection) -> Result<()> {
        conn.execute("rollback to savepoint omni_box").await.map_err(gone_or("roll back to a savepoint"))?;
        Ok(())
    }
}

/// Tells a savepoint that is gone from everything else that may fail. PostgreSQL ends no transaction on its own without closing the connection.
fn gone_or(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
    /// No transaction is open; no such savepoint is set.
    const GONE: [&str; 2] = ["25P01", "3B001"];
    move |error| match &error {
        sqlx::Error::Database(native) if native.code().is_some_and(|code| GONE.contains(&&*code)) => {
            no_savepoint()
        }
        _ => failed(doing)(error),
    }
}
