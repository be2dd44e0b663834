//! Transactions that the store opens.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use omni_box_core::{Error, ErrorKind, Result};
use omni_box_sql::{no_seal, no_transaction};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteTransactionManager;
use sqlx::{AssertSqlSafe, Connection, SqlSafeStr, SqlStr, Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::{Mutex, OwnedMutexGuard};
// sqlx counts nested transactions by this trait, and does not export it
use sqlx_core::transaction::TransactionManager;

use crate::error::{failed, is_nested_begin};
use crate::seal::Seal;

/// An open transaction of a [`SqliteStore`](crate::SqliteStore), usable wherever a `&mut SqliteConnection` is. Dropping it rolls back.
///
/// It holds the write lock of the file from its beginning to its end.
pub struct SqliteTx {
    /// `None` once it has ended.
    conn: Option<PoolConnection<Sqlite>>,
    /// COMMIT or ROLLBACK was sent, and how it ended is not known.
    is_ending: bool,
    /// Tells the statement that runs to stop.
    interrupt: Option<Arc<AtomicBool>>,
    seal: Option<Seal>,
    /// Released after the connection, by the order of fields: who comes next finds the lock free, or about to be.
    _turn: Option<OwnedMutexGuard<()>>,
}

/// Who may wait for the write lock. SQLite's own waiters sleep and look again, and the first to look gets it. Here they queue, so that a
/// lease is renewed in its turn however many others write.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queue(Arc<Mutex<()>>);

impl Queue {
    async fn wait(&self, timeout: Duration) -> Result<OwnedMutexGuard<()>> {
        tokio::time::timeout(timeout, Arc::clone(&self.0).lock_owned()).await.map_err(|_| {
            Error::new(
                ErrorKind::Contention,
                format!(
                    "cannot begin a transaction: another one of this process has held the write lock for {timeout:?}"
                ),
            )
        })
    }
}

impl SqliteTx {
    /// Takes the write lock. What a caller's pool may have left out is set first, since it cannot be changed inside a transaction. In
    /// WAL mode `extra` is the same as `full`, and in other modes it takes nothing away from a caller who has chosen it.
    pub(crate) async fn begin(pool: &SqlitePool, queue: &Queue, busy_timeout: Duration) -> Result<Self> {
        let turn = queue.wait(busy_timeout).await?;
        let statement = format!(
            "pragma synchronous = extra; pragma foreign_keys = on; pragma busy_timeout = {}; begin immediate",
            busy_timeout.as_millis()
        );
        Self::begin_with(pool, AssertSqlSafe(statement).into_sql_str(), Some(turn)).await
    }

    /// A view of the file as it is now, for several reads. It waits for no writer, and no writer waits for it.
    pub(crate) async fn begin_read(pool: &SqlitePool) -> Result<Self> {
        Self::begin_with(pool, "begin deferred".into_sql_str(), None).await
    }

    async fn begin_with(
        pool: &SqlitePool,
        statement: SqlStr,
        turn: Option<OwnedMutexGuard<()>>,
    ) -> Result<Self> {
        let mut conn = loop {
            let conn = pool.acquire().await.map_err(failed("get a connection"))?;
            // SQLite ended the transaction before on its own, and sqlx counts it as open from then on
            if !conn.is_in_transaction() {
                break conn;
            }
            drop(conn.detach());
        };
        // a begin that is cancelled is rolled back by sqlx
        SqliteTransactionManager::begin(&mut conn, Some(statement))
            .await
            .map_err(failed("begin a transaction"))?;
        Ok(Self { conn: Some(conn), is_ending: false, interrupt: None, seal: None, _turn: turn })
    }

    /// From here on a statement that runs when the transaction is cut off is interrupted. Without that, one that never ends would keep the
    /// write lock without end, as no server watches over it. Takes the place of a progress handler of the connection.
    pub(crate) async fn interruptible(mut self) -> Result<Self> {
        /// Steps of SQLite's machine between two looks; some hundred microseconds.
        const STEPS: i32 = 10_000;
        let interrupt = Arc::new(AtomicBool::new(false));
        let is_interrupted = Arc::clone(&interrupt);
        self.lock_handle()
            .await
            .map_err(failed("begin a transaction"))?
            .set_progress_handler(STEPS, move || !is_interrupted.load(Ordering::Relaxed));
        self.interrupt = Some(interrupt);
        Ok(self)
    }

    /// From here on only [`commit`](Self::commit) commits. Takes the place of the connection's hooks of commit and rollback.
    pub(crate) async fn sealed(mut self) -> Result<Self> {
        self.seal = Some(Seal::set(&mut self).await.map_err(failed("seal a transaction"))?);
        Ok(self)
    }

    /// Commits. A transaction that SQLite has ended on its own fails here, and a sealed one that was ended otherwise.
    pub(crate) async fn commit(mut self) -> Result<()> {
        if let Some(seal) = self.seal.clone() {
            if !seal.lift() {
                // whatever is open on the connection by now is not this transaction
                self.abandon();
                return Err(no_seal());
            }
            Seal::remove(&mut self).await.map_err(failed("commit"))?;
        }
        self.is_ending = true;
        // savepoints that a handler left open are levels of their own
        while SqliteTransactionManager::get_transaction_depth(&self) > 0 {
            if let Err(error) = SqliteTransactionManager::commit(&mut self).await {
                // the transaction is open still; if it cannot be ended, dropping closes the connection
                let _ = self.rollback().await;
                return Err(failed("commit")(error));
            }
        }
        drop(self.conn.take());
        Ok(())
    }

    pub(crate) async fn rollback(mut self) -> Result<()> {
        if self.seal.is_some() {
            // with its hooks
            self.abandon();
            return Ok(());
        }
        self.is_ending = true;
        while SqliteTransactionManager::get_transaction_depth(&self) > 0 {
            SqliteTransactionManager::rollback(&mut self).await.map_err(failed("roll back"))?;
        }
        drop(self.conn.take());
        Ok(())
    }

    /// Closes the connection as soon as its statement ends, which rolls back.
    pub(crate) fn abandon(mut self) {
        self.cut_off();
    }

    fn cut_off(&mut self) {
        if let Some(interrupt) = &self.interrupt {
            interrupt.store(true, Ordering::Relaxed);
        }
        drop(self.conn.take().map(PoolConnection::detach));
    }
}

impl Deref for SqliteTx {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        self.conn.as_ref().expect("it has not ended")
    }
}

impl DerefMut for SqliteTx {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.conn.as_mut().expect("it has not ended")
    }
}

impl Drop for SqliteTx {
    fn drop(&mut self) {
        // one that has ended must not interrupt the one that has its connection now
        if self.conn.is_none() {
            return;
        }
        // cancelled in the middle of its end, or refused: sqlx may count a level that is not there, or ignore a rollback that is needed
        if self.is_ending || self.interrupt.is_some() || self.seal.is_some() {
            self.cut_off();
            return;
        }
        let Some(mut conn) = self.conn.take() else { return };
        // each is queued behind whatever statement still runs
        for _ in 0..SqliteTransactionManager::get_transaction_depth(&conn) {
            SqliteTransactionManager::start_rollback(&mut conn);
        }
    }
}

impl fmt::Debug for SqliteTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SqliteTx")
    }
}

/// Refuses a connection that would commit each statement by itself. sqlx counts only transactions that were begun through it, and goes on
/// counting one that SQLite has ended on its own. BEGIN, which is refused exactly while a transaction is open, tells.
pub(crate) async fn require_transaction(conn: &mut SqliteConnection) -> Result<()> {
    let doing = "find out whether a transaction is open";
    if conn.is_in_transaction() {
        return match sqlx::query("begin").execute(&mut *conn).await {
            Err(error) if is_nested_begin(&error) => Ok(()),
            Err(error) => Err(failed(doing)(error)),
            Ok(_) => {
                sqlx::query("rollback").execute(conn).await.map_err(failed(doing))?;
                Err(Error::new(
                    ErrorKind::Contention,
                    "SQLite has rolled the transaction back after an earlier failure (a full disk?): run it again",
                ))
            }
        };
    }
    // by sqlx, so that it is undone if this is cancelled
    match conn.begin().await {
        Err(error) if is_nested_begin(&error) => Ok(()),
        Err(error) => Err(failed(doing)(error)),
        Ok(probe) => {
            probe.rollback().await.map_err(failed(doing))?;
            Err(no_transaction())
        }
    }
}
