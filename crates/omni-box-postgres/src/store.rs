//! The store: a pool, the settings, and the statements made from them.

use std::error::Error as StdError;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{ErrorKind, Result, Store, Wake};
use omni_box_sql::micros;
use sqlx::pool::PoolConnection;
use sqlx::postgres::types::PgInterval;
use sqlx::{PgConnection, PgPool, Postgres};

use crate::error::{failed, kind};
use crate::notify::Listener;
use crate::query::Queries;
use crate::{PgConfig, PgTx};

/// What runs at the beginning of every transaction that the engine opens: set a role, a tenant, a search path. It is too late for an isolation
/// level, which is the connection's `default_transaction_isolation`.
pub type BeginHook = dyn for<'a> Fn(&'a mut PgConnection) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>
    + Send
    + Sync;

/// Outbox and inbox in PostgreSQL, on a pool of yours. Cloning is cheap.
#[derive(Clone)]
pub struct PgStore {
    pub(crate) pool: PgPool,
    pub(crate) config: Arc<PgConfig>,
    pub(crate) queries: Arc<Queries>,
    pub(crate) wake: Wake,
    pub(crate) listener: Arc<Listener>,
    hook: Option<Arc<BeginHook>>,
}

impl PgStore {
    /// A store on a pool. Nothing is sent to the server.
    pub fn new(pool: PgPool, config: PgConfig) -> Self {
        let queries = Arc::new(Queries::new(&config));
        let (wake, listener) = (Wake::new(), Arc::default());
        Self { pool, config: Arc::new(config), queries, wake, listener, hook: None }
    }

    /// Runs `hook` at the beginning of every transaction the engine opens. With a hook, statements that would go without a
    /// transaction of their own get one.
    ///
    /// ```no_run
    /// # fn run(store: omni_box_postgres::PgStore) -> omni_box_postgres::PgStore {
    /// store.on_begin(|conn| {
    ///     Box::pin(async move {
    ///         sqlx::query("set local role shipping").execute(conn).await.map_err(|error| {
    ///             omni_box_core::Error::new(omni_box_core::ErrorKind::Unavailable, "cannot set the role")
    ///                 .with_source(error)
    ///         })?;
    ///         Ok(())
    ///     })
    /// })
    /// # }
    /// ```
    #[must_use]
    pub fn on_begin<F>(mut self, hook: F) -> Self
    where
        F: for<'a> Fn(&'a mut PgConnection) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>
            + Send
            + Sync
            + 'static,
    {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// The pool it works on.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Its settings.
    pub fn config(&self) -> &PgConfig {
        &self.config
    }

    /// Wakes the relays of this process; call it after a commit of your own (sqlx has no hook for it).
    pub fn wake(&self) {
        self.wake.wake();
    }

    /// A connection for statements that need no transaction: each commits by itself, unless there is a hook.
    pub(crate) async fn session(&self) -> Result<Session> {
        if self.hook.is_some() {
            return Ok(Session::Transaction(self.begin_brief().await?));
        }
        let conn = self.pool.acquire().await.map_err(failed("get a connection"))?;
        Ok(Session::Plain(conn))
    }

    /// A transaction in which only the engine works.
    pub(crate) async fn begin_brief(&self) -> Result<PgTx> {
        self.hooked(PgTx::begin_brief(&self.pool).await?).await
    }

    async fn hooked(&self, mut tx: PgTx) -> Result<PgTx> {
        if let Some(hook) = &self.hook {
            hook(&mut tx).await?;
        }
        Ok(tx)
    }
}

impl fmt::Debug for PgStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgStore").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Store for PgStore {
    type Conn = PgConnection;
    type Tx = PgTx;

    async fn begin(&self) -> Result<PgTx> {
        self.hooked(PgTx::begin(&self.pool).await?).await
    }

    async fn commit(&self, tx: PgTx) -> Result<()> {
        tx.commit().await?;
        self.wake();
        Ok(())
    }

    async fn rollback(&self, tx: PgTx) -> Result<()> {
        tx.rollback().await
    }

    async fn begin_handling(&self, timeout: Duration) -> Result<PgTx> {
        self.hooked(PgTx::begin_handling(&self.pool, timeout).await?).await
    }

    async fn abandon(&self, tx: PgTx) {
        tx.abandon();
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        error.downcast_ref::<sqlx::Error>().map(kind)
    }
}

/// See [`PgStore::session`].
pub(crate) enum Session {
    Plain(PoolConnection<Postgres>),
    Transaction(PgTx),
}

impl Session {
    /// Makes what was written last.
    pub(crate) async fn finish(self) -> Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Transaction(tx) => tx.commit_checked().await,
        }
    }
}

impl Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self {
            Self::Plain(conn) => conn,
            Self::Transaction(tx) => tx,
        }
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Plain(conn) => conn,
            Self::Transaction(tx) => tx,
        }
    }
}

/// A length of time as the server has it; what is longer than a century is cut to it.
pub(crate) fn interval(duration: Duration) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: micros(duration) }
}
