//! The store: a pool, the settings, and the statements made from them.

use std::error::Error as StdError;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::store::{Breakers, Inspection};
use omni_box_core::{Error, ErrorKind, Result, Store, Wake};
use omni_box_sql::{Orphans, Places, micros};
use sqlx::postgres::types::PgInterval;
use sqlx::{PgConnection, PgPool};

use crate::PgConfig;
use crate::connection::{Connections, Lent};
use crate::error::kind;
use crate::hook::{BeginHook, DynHook, HookError};
use crate::horizon::Horizon;
use crate::notify::Listener;
use crate::plans::Plans;
use crate::progress::Progress;
use crate::query::Queries;
use crate::sizes::Sizes;
use crate::transaction::{Limits, PgTx};

/// Outbox and inbox in PostgreSQL, on a pool of yours. Cloning is cheap.
#[derive(Clone)]
pub struct PgStore {
    pub(crate) connections: Connections,
    pub(crate) config: Arc<PgConfig>,
    pub(crate) queries: Arc<Queries>,
    pub(crate) wake: Wake,
    pub(crate) listener: Arc<Listener>,
    pub(crate) orphans: Arc<Orphans>,
    pub(crate) horizon: Arc<Horizon>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) places: Arc<SearchPlaces>,
    pub(crate) outbox_plans: Arc<Plans>,
    pub(crate) inbox_plans: Arc<Plans>,
    pub(crate) sizes: Arc<Sizes>,
    hook: Option<Arc<dyn DynHook>>,
}

/// Where the searches of this process by key have come to, in each table.
#[derive(Default)]
pub(crate) struct SearchPlaces {
    /// Behind a topic and a partition key.
    pub(crate) outbox: Places<(String, String)>,
    /// Behind a line of a consumer group.
    pub(crate) inbox: Places<i64>,
}

impl PgStore {
    /// A store on a pool. Nothing is sent to the server.
    pub fn new(pool: PgPool, config: PgConfig) -> Self {
        let queries = Arc::new(Queries::new(&config));
        let (wake, listener) = (Wake::new(), Arc::default());
        let connections = Connections::new(pool);
        Self {
            connections,
            config: Arc::new(config),
            queries,
            wake,
            listener,
            orphans: Arc::default(),
            horizon: Arc::default(),
            progress: Arc::default(),
            places: Arc::default(),
            outbox_plans: Arc::default(),
            inbox_plans: Arc::default(),
            sizes: Arc::default(),
            hook: None,
        }
    }

    /// Runs `hook` at the beginning of every transaction the engine opens: it sets a role, a tenant, a search path. It is too late for an
    /// isolation level, which is the connection's `default_transaction_isolation`. With a hook, statements that would go without a
    /// transaction of their own get one.
    ///
    /// ```no_run
    /// use sqlx::PgConnection;
    ///
    /// # fn run(store: omni_box_postgres::PgStore) -> omni_box_postgres::PgStore {
    /// async fn as_shipping(conn: &mut PgConnection) -> sqlx::Result<()> {
    ///     sqlx::query("set local role shipping").execute(conn).await?;
    ///     Ok(())
    /// }
    ///
    /// store.on_begin(as_shipping)
    /// # }
    /// ```
    #[must_use]
    pub fn on_begin<H: BeginHook>(mut self, hook: H) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// The pool it works on.
    pub fn pool(&self) -> &PgPool {
        self.connections.pool()
    }

    /// Its settings.
    pub fn config(&self) -> &PgConfig {
        &self.config
    }

    /// Wakes the relays of this process; call it after a commit of your own (sqlx has no hook for it).
    pub fn wake(&self) {
        self.wake.wake();
    }

    /// Turns a native error into ours, and notes what it says of the connection.
    pub(crate) fn failed(&self, doing: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
        self.connections.failed(doing)
    }

    /// A connection for statements that need no transaction: each commits by itself, unless there is a hook, or a call failed a short time
    /// ago. Limits of time need a transaction, which costs round trips.
    pub(crate) async fn session(&self) -> Result<Session> {
        if self.hook.is_some() || self.connections.is_strained() {
            return Ok(Session::Transaction(self.begin_within(Limits::BRIEF).await?));
        }
        Ok(Session::Plain(self.connections.lend().await?))
    }

    /// A transaction in which only the engine works.
    pub(crate) async fn begin_within(&self, limits: Limits) -> Result<PgTx> {
        self.hooked(PgTx::begin_brief(&self.connections, limits).await?).await
    }

    pub(crate) async fn hooked(&self, mut tx: PgTx) -> Result<PgTx> {
        if let Some(hook) = &self.hook {
            hook.run(&mut tx).await.map_err(|error| self.hook_failed(error))?;
        }
        Ok(tx)
    }

    /// What a hook's error means; one of omni-box is handed on.
    fn hook_failed(&self, error: HookError) -> Error {
        const DOING: &str = "prepare a transaction by the hook of on_begin";
        match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => match error.downcast::<sqlx::Error>() {
                Ok(native) => self.failed(DOING)(*native),
                Err(error) => Error::new(ErrorKind::Internal, format!("cannot {DOING}")).with_source(error),
            },
        }
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
        self.hooked(PgTx::begin(&self.connections).await?).await
    }

    async fn commit(&self, tx: PgTx) -> Result<()> {
        tx.commit().await?;
        self.wake();
        Ok(())
    }

    async fn rollback(&self, tx: PgTx) -> Result<()> {
        tx.rollback().await
    }

    async fn begin_brief(&self) -> Result<PgTx> {
        self.begin_within(Limits::BRIEF).await
    }

    async fn begin_handling(&self, timeout: Duration) -> Result<PgTx> {
        self.hooked(PgTx::begin_handling(&self.connections, timeout).await?).await
    }

    async fn abandon(&self, tx: PgTx) {
        tx.abandon();
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        let native = error.downcast_ref::<sqlx::Error>()?;
        self.connections.note(native);
        Some(kind(native))
    }

    fn connections(&self) -> Option<usize> {
        Some(self.pool().options().get_max_connections() as usize)
    }

    fn inspection(&self) -> Option<&dyn Inspection> {
        Some(self)
    }

    fn breakers(&self) -> Option<&dyn Breakers> {
        Some(self)
    }
}

/// See [`PgStore::session`].
pub(crate) enum Session {
    Plain(Lent),
    Transaction(PgTx),
}

impl Session {
    /// Whether each statement commits by itself.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Makes what was written last, and gives the connection back; that of a session that is dropped without it is closed.
    pub(crate) async fn finish(self) -> Result<()> {
        match self {
            Self::Plain(lent) => {
                lent.give_back();
                Ok(())
            }
            Self::Transaction(tx) => tx.commit_checked().await,
        }
    }

    /// Closes the connection, as its last statement was not read to the end.
    pub(crate) fn close(self) {
        match self {
            Self::Plain(lent) => lent.close(),
            Self::Transaction(tx) => tx.abandon(),
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
