//! Connections that the pool lends, and which of them go back.
//!
//! sqlx puts a connection back whenever it is dropped, also in the middle of a statement. First it asks the connection for a sign of life,
//! without a limit of time (<https://github.com/launchbadge/sqlx/issues/4349>). So a connection whose server has vanished, or whose
//! statement waits for a lock, keeps its place in the pool. That may last a quarter of an hour or longer. Here a connection goes back only
//! when its call has ended well; any other is closed, and its place is free at once.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use omni_box_core::{Error, Result};
use sqlx::pool::PoolConnection;
use sqlx::{Connection, Executor, PgConnection, PgPool, Postgres};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use crate::error;

/// How long a connection that does nothing has to answer.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// How long after a failed call each statement gets limits of time at the server.
const STRAIN: Duration = Duration::from_secs(60);

/// A pool of connections, and what is known of them. Clones share it.
#[derive(Clone)]
pub(crate) struct Connections {
    pool: PgPool,
    health: Arc<Health>,
}

#[derive(Default)]
struct Health {
    /// How often an error has said that a connection is of no use any more.
    useless: AtomicU64,
    /// How many of those the idle connections have been closed for.
    swept: AtomicU64,
    is_inspecting: AtomicBool,
    /// When a call failed last.
    failed: Mutex<Option<Instant>>,
}

impl Connections {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool, health: Arc::default() }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub(crate) async fn lend(&self) -> Result<Lent> {
        self.sweep();
        let seen = self.health.useless.load(Ordering::Relaxed);
        let conn = self.pool.acquire().await.map_err(self.failed("get a connection"))?;
        Ok(Lent { conn: Some(conn), connections: self.clone(), seen })
    }

    /// Turns a native error into ours, and notes what it says of the connection.
    pub(crate) fn failed(&self, doing: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
        move |native| {
            self.note(&native);
            error::failed(doing)(native)
        }
    }

    /// Notes what a native error says of connections: if one is of no use any more, those of the same age are not either. They are
    /// closed, the idle ones at once, those at work when their call has ended.
    pub(crate) fn note(&self, native: &sqlx::Error) {
        if error::is_of_connection(native) {
            self.found_useless();
        }
    }

    /// Notes that a connection is of no use any more.
    pub(crate) fn found_useless(&self) {
        self.health.useless.fetch_add(1, Ordering::Relaxed);
        self.sweep();
    }

    /// How often [`note`](Self::note) has found a connection to be of no use.
    pub(crate) fn useless(&self) -> u64 {
        self.health.useless.load(Ordering::Relaxed)
    }

    /// Whether a call has failed a short time ago. What waits at the server now may be given up here and wait on there, so it must not
    /// wait without end.
    pub(crate) fn is_strained(&self) -> bool {
        let failed = self.health.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|failed| failed.elapsed() < STRAIN)
    }

    /// Closes the idle connections, if some were found to be of no use since the last time.
    fn sweep(&self) {
        let useless = self.useless();
        if self.health.swept.swap(useless, Ordering::Relaxed) != useless {
            self.idle().for_each(|conn| drop(conn.detach()));
        }
    }

    /// After a call that failed: idle connections that do not answer either are closed, so that the next calls need not find each one.
    fn inspect(&self) {
        *self.health.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let Ok(runtime) = Handle::try_current() else { return };
        if self.health.is_inspecting.swap(true, Ordering::Relaxed) {
            return;
        }
        let idle: Vec<_> = self.idle().collect();
        let health = Arc::clone(&self.health);
        runtime.spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            for mut conn in idle {
                tasks.spawn(async move {
                    match timeout(SIGN_OF_LIFE, conn.ping()).await {
                        Ok(Ok(())) => put_back(conn).await,
                        Ok(Err(_)) | Err(_) => drop(conn.detach()),
                    }
                });
            }
            tasks.join_all().await;
            health.is_inspecting.store(false, Ordering::Relaxed);
        });
    }

    /// Takes the connections that are idle now.
    fn idle(&self) -> impl Iterator<Item = PoolConnection<Postgres>> {
        (0..self.pool.num_idle()).map_while(|_| self.pool.try_acquire())
    }
}

/// A connection that a call works on. Dropping it closes it without a word to the server: it may be in the middle of a statement.
pub(crate) struct Lent {
    /// `None` once it has gone.
    conn: Option<PoolConnection<Postgres>>,
    connections: Connections,
    /// How many connections had been of no use when it was lent.
    seen: u64,
}

impl Lent {
    /// Gives it back to the pool: it answered the last statement, and no transaction is open.
    pub(crate) fn give_back(mut self) {
        let Some(conn) = self.conn.take() else { return };
        match Handle::try_current() {
            Ok(runtime) if self.seen == self.connections.useless() => drop(runtime.spawn(put_back(conn))),
            _ => drop(conn.detach()),
        }
    }

    /// Closes it, though it answered.
    pub(crate) fn close(mut self) {
        drop(self.conn.take().map(PoolConnection::detach));
    }
}

/// A connection of a caller over which a call failed by the connection's own fault. It cannot be closed from here, so it is made to be good
/// again, or to be found broken when its owner gives it back. Its transaction has failed already.
pub(crate) async fn mend(conn: &mut PgConnection, error: &Error) {
    if !error::is_kept_of_connection(error) {
        return;
    }
    let mend = async {
        if error::is_read_only(error) {
            let end = "rollback; select pg_terminate_backend(pg_backend_pid())";
            conn.execute(sqlx::raw_sql(end)).await.map(|_| ())
        } else {
            conn.clear_cached_statements().await
        }
    };
    let _ = timeout(SIGN_OF_LIFE, mend).await;
}

/// Does what dropping it does, within a limit of time; one that does not answer meanwhile is closed.
async fn put_back(mut conn: PoolConnection<Postgres>) {
    let _ = timeout(SIGN_OF_LIFE, conn.return_to_pool()).await;
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.conn.as_ref().expect("it has not gone")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.conn.as_mut().expect("it has not gone")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            drop(conn.detach());
            self.connections.inspect();
        }
    }
}
