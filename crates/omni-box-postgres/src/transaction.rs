//! Transactions that the store opens.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use omni_box_core::Result;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgTransactionManager;
use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool, Postgres, SqlSafeStr, SqlStr};
// sqlx counts nested transactions by this trait, and does not export it
use sqlx_core::transaction::TransactionManager;

use crate::error::failed;

/// An open transaction of a [`PgStore`](crate::PgStore), usable wherever a `&mut PgConnection` is. Dropping it rolls back.
///
/// It is no [`sqlx::Transaction`] because that keeps its connection to itself, and a connection that is in the middle of a
/// statement must be closed rather than go back to the pool.
pub struct PgTx {
    /// `None` once it has ended.
    conn: Option<PoolConnection<Postgres>>,
}

/// What every transaction begins with: what an inbox row or a lease says must survive a crash of the server.
const BEGIN: &str = "begin; select set_config('synchronous_commit', 'on', true) \
                     where current_setting('synchronous_commit') in ('off', 'local', 'remote_write')";

/// Silence after which the server ends a transaction of the engine's own.
const FROZEN_MILLIS: u32 = 5_000;

impl PgTx {
    pub(crate) async fn begin(pool: &PgPool) -> Result<Self> {
        Self::begin_with(pool, BEGIN.into_sql_str()).await
    }

    /// For transactions in which the engine only talks to the server: one that falls silent is that of a frozen process, which must not
    /// keep its locks from the relay that takes over.
    pub(crate) async fn begin_brief(pool: &PgPool) -> Result<Self> {
        let statement = format!("{BEGIN}; set local idle_in_transaction_session_timeout = {FROZEN_MILLIS}");
        Self::begin_with(pool, AssertSqlSafe(statement).into_sql_str()).await
    }

    /// Limits each statement, the wait for a lock, and the time between two statements, so that the server ends what a frozen process
    /// cannot. A lock is waited for a little less than a statement may last, so that the error tells which it was.
    pub(crate) async fn begin_handling(pool: &PgPool, timeout: Duration) -> Result<Self> {
        let millis = |d: Duration| i32::try_from(d.as_millis()).unwrap_or(i32::MAX).max(1);
        let statement = format!(
            "{BEGIN}; set local statement_timeout = {}; set local lock_timeout = {}; \
             set local idle_in_transaction_session_timeout = {}",
            millis(timeout),
            millis(timeout.mul_f32(0.9)),
            millis(timeout.saturating_add(Duration::from_secs(5))),
        );
        Self::begin_with(pool, AssertSqlSafe(statement).into_sql_str()).await
    }

    async fn begin_with(pool: &PgPool, statement: SqlStr) -> Result<Self> {
        let conn = pool.acquire().await.map_err(failed("get a connection"))?;
        // from here on a cancelled begin closes the connection: sqlx would not know that a transaction is open
        let mut starting = Starting(Some(conn));
        let conn = starting.0.as_mut().expect("taken below");
        PgTransactionManager::begin(conn, Some(statement)).await.map_err(failed("begin a transaction"))?;
        Ok(Self { conn: starting.0.take() })
    }

    /// Commits. `Ok` only if the server did: a transaction with a failed statement in it answers COMMIT with a rollback and no error, so it is
    /// asked first.
    pub(crate) async fn commit(mut self) -> Result<()> {
        self.execute("select 1")
            .await
            .map_err(failed("commit, since a statement of the transaction failed"))?;
        self.commit_checked().await
    }

    /// Commits a transaction of which every statement is known to have succeeded.
    pub(crate) async fn commit_checked(mut self) -> Result<()> {
        // savepoints that a handler left open are levels of their own
        while PgTransactionManager::get_transaction_depth(&self) > 0 {
            PgTransactionManager::commit(&mut self).await.map_err(failed("commit"))?;
        }
        drop(self.conn.take());
        Ok(())
    }

    pub(crate) async fn rollback(mut self) -> Result<()> {
        while PgTransactionManager::get_transaction_depth(&self) > 1 {
            PgTransactionManager::rollback(&mut self).await.map_err(failed("roll back"))?;
        }
        PgTransactionManager::rollback(&mut self).await.map_err(failed("roll back"))?;
        drop(self.conn.take());
        Ok(())
    }

    /// Closes the socket without a word to the server, which then rolls back.
    pub(crate) fn abandon(mut self) {
        drop(self.conn.take().map(PoolConnection::detach));
    }
}

impl Deref for PgTx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.conn.as_ref().expect("it has not ended")
    }
}

impl DerefMut for PgTx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.conn.as_mut().expect("it has not ended")
    }
}

impl Drop for PgTx {
    fn drop(&mut self) {
        if let Some(conn) = &mut self.conn {
            while PgTransactionManager::get_transaction_depth(conn) > 0 {
                PgTransactionManager::start_rollback(conn);
            }
        }
    }
}

impl fmt::Debug for PgTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PgTx")
    }
}

/// A connection on which BEGIN is under way.
struct Starting(Option<PoolConnection<Postgres>>);

impl Drop for Starting {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}
