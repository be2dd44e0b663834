//! The store: a pool, the settings, and the statements made from them.

use std::error::Error as StdError;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use omni_box_core::store::{Breakers, Inspection};
use omni_box_core::{Error, ErrorKind, Result, Store, Wake};
use omni_box_sql::{Orphans, Places};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection, SqlitePool};
use tokio::time::Instant;

use crate::config::misconfigured;
use crate::error::{failed, is_busy, kind};
use crate::hook::{BeginHook, DynHook, HookError};
use crate::query::Queries;
use crate::transaction::Queue;
use crate::{SqliteConfig, SqliteTx};

/// Outbox and inbox in SQLite, on a file that it opens or a pool of yours. Cloning is cheap; clones queue together for the write lock.
#[derive(Clone)]
pub struct SqliteStore {
    pub(crate) pool: SqlitePool,
    pub(crate) config: Arc<SqliteConfig>,
    pub(crate) queries: Arc<Queries>,
    pub(crate) wake: Wake,
    queue: Queue,
    pub(crate) orphans: Arc<Orphans>,
    pub(crate) places: Arc<SearchPlaces>,
    leases: Arc<LeaseCheck>,
    hook: Option<Arc<dyn DynHook>>,
}

/// Where the searches of this process by key have come to, in each table.
#[derive(Default)]
pub(crate) struct SearchPlaces {
    /// Behind a topic and a partition key.
    pub(crate) outbox: Places<(String, String)>,
    /// Behind a line of a consumer group.
    pub(crate) inbox: Places<String>,
}

impl SqliteStore {
    /// Opens a file, and creates it if it is not there, but not its directory. It has WAL, `synchronous = full`, foreign keys on, and the
    /// busy timeout of the settings.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) when it cannot be opened, [`Misconfigured`](ErrorKind::Misconfigured) when it is not a
    /// SQLite file, or in memory only. [`Unauthorized`](ErrorKind::Unauthorized) when it is read-only,
    /// [`Contention`](ErrorKind::Contention) when it is locked for too long.
    pub async fn open(path: impl AsRef<Path>, config: SqliteConfig) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(config.busy_timeout);
        enter_wal(&options, config.busy_timeout).await?;
        let pool = SqlitePoolOptions::new()
            .max_connections(config.max_connections)
            .connect_with(options)
            .await
            .map_err(failed("open the database"))?;
        Ok(Self::new(pool, config))
    }

    /// A store on a pool. Nothing is sent to the database.
    ///
    /// The pool's own settings stay, but for what every transaction of the store begins with. That is `synchronous` at least `full`,
    /// foreign keys on, the busy timeout of `config`. The file should be in WAL mode, as [`verify`](Self::verify) checks; in other modes
    /// readers and the writer wait for each other.
    pub fn new(pool: SqlitePool, config: SqliteConfig) -> Self {
        let queries = Arc::new(Queries::new(&config));
        Self {
            pool,
            config: Arc::new(config),
            queries,
            wake: Wake::new(),
            queue: Queue::default(),
            orphans: Arc::default(),
            places: Arc::default(),
            leases: Arc::default(),
            hook: None,
        }
    }

    /// Runs `hook` at the beginning of every transaction the engine opens. With a hook, reads that would go without a transaction get
    /// one; a hook that writes in it takes the write lock.
    #[must_use]
    pub fn on_begin<H: BeginHook>(mut self, hook: H) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// The pool it works on.
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Its settings.
    pub fn config(&self) -> &SqliteConfig {
        &self.config
    }

    /// Wakes the relays of this process; call it after a commit of your own (sqlx has no hook for it).
    pub fn wake(&self) {
        self.wake.wake();
    }

    /// A connection for one read.
    pub(crate) async fn reader(&self) -> Result<Reading> {
        if self.hook.is_some() {
            return Ok(Reading::Transaction(self.begin_read().await?));
        }
        let conn = self.pool.acquire().await.map_err(failed("get a connection"))?;
        Ok(Reading::Plain(conn))
    }

    /// A transaction for several reads.
    pub(crate) async fn begin_read(&self) -> Result<SqliteTx> {
        self.hooked(SqliteTx::begin_read(&self.pool).await?).await
    }

    /// A transaction without the hook, for the schema.
    pub(crate) async fn begin_bare(&self) -> Result<SqliteTx> {
        SqliteTx::begin(&self.pool, &self.queue, self.config.busy_timeout).await
    }

    /// Warns, once, where a relay may lose its lanes to a handler that holds the write lock.
    pub(crate) fn check_ttl(&self, ttl: Duration) {
        self.leases.check(ttl, self.config.busy_timeout);
    }

    async fn hooked(&self, mut tx: SqliteTx) -> Result<SqliteTx> {
        if let Some(hook) = &self.hook {
            hook.run(&mut tx).await.map_err(hook_failed)?;
        }
        Ok(tx)
    }
}

/// What a hook's error means; one of omni-box is handed on.
fn hook_failed(error: HookError) -> Error {
    const DOING: &str = "prepare a transaction by the hook of on_begin";
    match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(error) => match error.downcast::<sqlx::Error>() {
            Ok(native) => failed(DOING)(*native),
            Err(error) => Error::new(ErrorKind::Internal, format!("cannot {DOING}")).with_source(error),
        },
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Store for SqliteStore {
    type Conn = SqliteConnection;
    type Tx = SqliteTx;

    async fn begin(&self) -> Result<SqliteTx> {
        self.hooked(self.begin_bare().await?).await
    }

    async fn commit(&self, tx: SqliteTx) -> Result<()> {
        tx.commit().await?;
        self.wake();
        Ok(())
    }

    async fn rollback(&self, tx: SqliteTx) -> Result<()> {
        tx.rollback().await
    }

    /// There is no server to end a statement, so the time is the caller's to watch. A transaction that is abandoned or dropped interrupts
    /// its statement.
    async fn begin_handling(&self, timeout: Duration) -> Result<SqliteTx> {
        self.leases.handling(timeout);
        self.begin().await?.interruptible().await
    }

    async fn abandon(&self, tx: SqliteTx) {
        tx.abandon();
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        error.downcast_ref::<sqlx::Error>().map(kind)
    }

    fn lock_wait(&self) -> Option<Duration> {
        Some(self.config.busy_timeout)
    }

    fn inspection(&self) -> Option<&dyn Inspection> {
        Some(self)
    }

    fn breakers(&self) -> Option<&dyn Breakers> {
        Some(self)
    }
}

/// Makes the file a WAL file. SQLite needs it alone for a moment and does not wait for that, so several processes that open a new file
/// at once try again.
async fn enter_wal(options: &SqliteConnectOptions, timeout: Duration) -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(10);
    let deadline = Instant::now() + timeout;
    loop {
        match set_wal(options).await {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                return Err(misconfigured(format!(
                    "the database cannot be in WAL mode, it stays in {mode}: it must be a file, on a file system of this machine"
                )));
            }
            Err(error) if is_busy(&error) && Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(failed("open the database")(error)),
        }
    }
}

/// Returns the mode that it is in then.
async fn set_wal(options: &SqliteConnectOptions) -> sqlx::Result<String> {
    let mut conn = options.connect().await?;
    let mut mode: String = sqlx::query_scalar("pragma journal_mode").fetch_one(&mut conn).await?;
    if mode != "wal" {
        mode = sqlx::query_scalar("pragma journal_mode = wal").fetch_one(&mut conn).await?;
    }
    conn.close().await?;
    Ok(mode)
}

/// For how long other handlers may have run in a transaction before its last one begins: see [`Store::begin_handling`].
const SHARED_TIME: Duration = Duration::from_secs(1);

/// Compares what this process has seen: handlers that hold the write lock for their whole time must not cost a relay its lanes.
#[derive(Debug, Default)]
struct LeaseCheck {
    /// The longest time of handlers in a transaction, in milliseconds.
    handling: AtomicU64,
    has_warned: AtomicBool,
}

impl LeaseCheck {
    fn handling(&self, timeout: Duration) {
        let longest = timeout.saturating_add(SHARED_TIME).as_millis();
        self.handling.fetch_max(u64::try_from(longest).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn check(&self, ttl: Duration, busy_timeout: Duration) {
        let handling = Duration::from_millis(self.handling.load(Ordering::Relaxed));
        if ttl > handling.saturating_add(busy_timeout) || self.has_warned.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::warn!(
            ?ttl,
            handlers = ?handling,
            ?busy_timeout,
            "the lease TTL is not longer than handler timeout, 1 s and busy timeout together: while handlers hold the write lock, \
             leases may expire and lanes change hands; give relays a longer TTL, or handlers less time"
        );
    }
}

/// See [`SqliteStore::reader`].
pub(crate) enum Reading {
    Plain(PoolConnection<Sqlite>),
    Transaction(SqliteTx),
}

impl Deref for Reading {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        match self {
            Self::Plain(conn) => conn,
            Self::Transaction(tx) => tx,
        }
    }
}

impl DerefMut for Reading {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        match self {
            Self::Plain(conn) => conn,
            Self::Transaction(tx) => tx,
        }
    }
}
