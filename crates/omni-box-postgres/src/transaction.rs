//! Transactions that the store opens.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use omni_box_core::{Error, ErrorKind, Result};
use omni_box_sql::no_seal;
use sqlx::postgres::PgTransactionManager;
use sqlx::{AssertSqlSafe, Executor, PgConnection, SqlSafeStr, SqlStr};
// sqlx counts nested transactions by this trait, and does not export it
use sqlx_core::transaction::TransactionManager;

use crate::connection::{Connections, Lent};
use crate::error::{failed, is_division_by_zero};

/// An open transaction of a [`PgStore`](crate::PgStore), usable wherever a `&mut PgConnection` is. Dropping it rolls back.
///
/// It is not a [`sqlx::Transaction`] because that keeps its connection to itself. A connection that is in the middle of a statement must be
/// closed rather than go back to the pool. Only a commit gives the connection back.
pub struct PgTx {
    lent: Lent,
    is_sealed: bool,
}

/// What every transaction begins with: what an inbox row or a lease says must survive a crash of the server.
const BEGIN: &str = "begin; select set_config('synchronous_commit', 'on', true) \
                     where current_setting('synchronous_commit') in ('off', 'local', 'remote_write')";

/// What a sealed transaction begins with. Whatever its connection runs behind its end cannot write: the session reads only, and this
/// transaction is the exception. [`UNSEAL`] takes that back in the transaction itself, so that it lasts exactly if the transaction does.
/// Where an operator, or a failover, lets sessions read only, it fails by [a division](is_division_by_zero) instead.
const READ_ONLY_BEHIND: &str = "begin; select 1 / (1 - current_setting('transaction_read_only')::boolean::integer); \
                                set default_transaction_read_only = on; commit; ";

/// What a sealed transaction ends its begin with. A cursor that outlives its transaction is read at the commit, and this one cannot be.
const SEAL: &str = "; declare omni_box_seal no scroll cursor with hold for \
                    select pg_catalog.current_setting('omni_box.a_handler_must_not_commit')";

/// Fails if the transaction has ended, which took the cursor along, and if a statement in it has failed.
const UNSEAL: &str = "close omni_box_seal; reset default_transaction_read_only";

/// How long a transaction may take in which only the engine works; less, where the server or the role has less.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// A statement.
    statement: Duration,
    /// Waiting for a lock.
    lock: Duration,
    /// Whether rows are looked up by index, however small their table was when the plan was made that the connection keeps.
    is_by_index: bool,
}

impl Limits {
    /// Statements of the engine take up to a second, and their callers give them up after half a minute.
    pub(crate) const BRIEF: Self =
        Self { statement: Duration::from_secs(30), lock: Duration::from_secs(10), is_by_index: false };

    /// Silence after which the server ends a transaction of the engine's own.
    const SILENCE: Duration = Duration::from_secs(5);

    /// No longer wait for a lock than `lock`.
    pub(crate) fn lock(self, lock: Duration) -> Self {
        Self { lock: self.lock.min(lock), ..self }
    }

    /// Plans by index. For statements that are not run without it: plans are kept.
    pub(crate) fn by_index(self) -> Self {
        Self { is_by_index: true, ..self }
    }

    fn sql(self) -> String {
        let Self { statement, lock, is_by_index } = self;
        let limits = [
            ("statement_timeout", statement),
            ("lock_timeout", lock),
            ("idle_in_transaction_session_timeout", Self::SILENCE),
        ]
        .map(|(setting, limit)| {
            let millis = limit.as_millis().max(1);
            format!(
                "; select set_config('{setting}', '{millis}', true) where current_setting('{setting}')::interval \
                 not between '1 us' and '{millis} ms'"
            )
        })
        .concat();
        if is_by_index { limits + "; set local enable_seqscan = off" } else { limits }
    }
}

impl PgTx {
    pub(crate) async fn begin(connections: &Connections) -> Result<Self> {
        Self::begin_with(connections, BEGIN.into_sql_str()).await
    }

    /// For transactions in which the engine only talks to the server. One that falls silent is that of a frozen process, which must not
    /// keep its locks from the next owner.
    pub(crate) async fn begin_brief(connections: &Connections, limits: Limits) -> Result<Self> {
        let statement = BEGIN.to_owned() + &limits.sql();
        Self::begin_with(connections, AssertSqlSafe(statement).into_sql_str()).await
    }

    /// Limits each statement, the wait for a lock, and the time between two statements, so that the server ends what a frozen process
    /// cannot. A lock is waited for a little less than a statement may last, so that the error tells which it was.
    pub(crate) async fn begin_handling(connections: &Connections, timeout: Duration) -> Result<Self> {
        Self::begin_with(connections, AssertSqlSafe(handling(timeout)).into_sql_str()).await
    }

    /// The same, for a transaction that only [`commit`](Self::commit) can commit.
    pub(crate) async fn begin_sealed(connections: &Connections, timeout: Duration) -> Result<Self> {
        let begin = handling(timeout).replacen("begin", "begin read write", 1);
        let statement = [READ_ONLY_BEHIND, &begin, SEAL].concat();
        match Self::begin_with(connections, AssertSqlSafe(statement).into_sql_str()).await {
            Ok(tx) => Ok(Self { is_sealed: true, ..tx }),
            Err(error) if is_division_by_zero(&error) => {
                connections.found_useless();
                let text = "cannot begin a transaction: the session reads only (the connection is closed)";
                Err(Error::new(ErrorKind::Unavailable, text))
            }
            Err(error) => Err(error),
        }
    }

    async fn begin_with(connections: &Connections, statement: SqlStr) -> Result<Self> {
        let mut lent = connections.lend().await?;
        PgTransactionManager::begin(&mut lent, Some(statement))
            .await
            .map_err(connections.failed("begin a transaction"))?;
        Ok(Self { lent, is_sealed: false })
    }

    /// Commits. `Ok` only if the server did. A transaction with a failed statement in it answers COMMIT with a rollback and no error, so it is
    /// asked first.
    pub(crate) async fn commit(mut self) -> Result<()> {
        let doing = "commit, since a statement of the transaction failed";
        if self.is_sealed {
            self.execute(sqlx::raw_sql(UNSEAL)).await.map_err(unsealed_or(doing))?;
        } else {
            self.execute("select 1").await.map_err(failed(doing))?;
        }
        self.commit_checked().await
    }

    /// Commits a transaction of which every statement is known to have succeeded.
    pub(crate) async fn commit_checked(mut self) -> Result<()> {
        // savepoints that a handler left open are levels of their own
        while PgTransactionManager::get_transaction_depth(&self) > 0 {
            PgTransactionManager::commit(&mut self).await.map_err(failed("commit"))?;
        }
        self.lent.give_back();
        Ok(())
    }

    /// Rolls back, and closes the connection: what went wrong may be its fault.
    pub(crate) async fn rollback(mut self) -> Result<()> {
        while PgTransactionManager::get_transaction_depth(&self) > 1 {
            PgTransactionManager::rollback(&mut self).await.map_err(failed("roll back"))?;
        }
        PgTransactionManager::rollback(&mut self).await.map_err(failed("roll back"))?;
        self.lent.close();
        Ok(())
    }

    /// Closes the socket without a word to the server, which then rolls back.
    pub(crate) fn abandon(self) {
        drop(self);
    }
}

fn handling(timeout: Duration) -> String {
    let millis = |d: Duration| i32::try_from(d.as_millis()).unwrap_or(i32::MAX).max(1);
    format!(
        "{BEGIN}; set local statement_timeout = {}; set local lock_timeout = {}; \
         set local idle_in_transaction_session_timeout = {}",
        millis(timeout),
        millis(timeout.mul_f32(0.9)),
        millis(timeout.saturating_add(Duration::from_secs(5))),
    )
}

/// Tells a seal that is gone from everything else that may fail.
fn unsealed_or(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
    const INVALID_CURSOR_NAME: &str = "34000";
    move |error| match &error {
        sqlx::Error::Database(native) if native.code().is_some_and(|code| code == INVALID_CURSOR_NAME) => {
            no_seal()
        }
        _ => failed(doing)(error),
    }
}

impl Deref for PgTx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.lent
    }
}

impl DerefMut for PgTx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.lent
    }
}

impl fmt::Debug for PgTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PgTx")
    }
}
