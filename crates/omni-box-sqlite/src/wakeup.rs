//! Wake-ups: from this process at once, from others by looking whether the file has changed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{Waiter, Wakeup};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::time::sleep;

use crate::SqliteStore;
use crate::query::Queries;

/// How often the file is looked at. A look reads a counter in memory that processes share, and what concerns a relay only if it has changed.
const INTERVAL: Duration = Duration::from_millis(50);

/// The same after a look has failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits for a commit of this process, or for one of another that concerns a relay. Most commits do not, such as a relay's own heartbeat.
#[derive(Debug)]
pub(crate) struct SqliteWakeup {
    calls: Waiter,
    changes: Changes,
}

impl SqliteWakeup {
    pub(crate) fn new(store: &SqliteStore) -> Self {
        let (options, queries) = (store.pool.connect_options(), Arc::clone(&store.queries));
        let changes = Changes { options, queries, conn: None, version: None, seen: None };
        Self { calls: store.wake.waiter(), changes }
    }
}

#[async_trait]
impl Wakeup for SqliteWakeup {
    async fn wait(&mut self) {
        tokio::select! {
            () = self.calls.wait() => {}
            () = self.changes.next() => {}
        }
    }
}

/// The file's counter of changes, as a connection that writes nothing sees it. Its own, so that a relay on a small pool does not lose one.
#[derive(Debug)]
struct Changes {
    options: Arc<SqliteConnectOptions>,
    queries: Arc<Queries>,
    conn: Option<SqliteConnection>,
    /// What it was at the last look.
    version: Option<i64>,
    /// What there was when the last wait ended.
    seen: Option<Concern>,
}

/// The place of the newest event, and the number of lanes that are free.
type Concern = (i64, i64);

impl Changes {
    async fn next(&mut self) {
        loop {
            match self.look().await {
                // the first look has nothing to compare with: what was committed before it is made up for by one wake-up
                Ok(Some(concern)) if self.seen.replace(concern) != Some(concern) => return,
                Ok(_) => sleep(INTERVAL).await,
                Err(error) => {
                    // relays poll meanwhile
                    tracing::debug!(kind = ?crate::error::kind(&error), "cannot see whether the file has changed");
                    // versions of two connections do not compare
                    (self.conn, self.version, self.seen) = (None, None, None);
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// What there is now that concerns a relay; `None` if the file has not changed since the last look.
    async fn look(&mut self) -> sqlx::Result<Option<Concern>> {
        if self.conn.is_none() {
            self.conn = Some(self.options.connect().await?);
        }
        let conn = self.conn.as_mut().expect("connected above");
        let version = sqlx::query_scalar("pragma data_version").fetch_one(&mut *conn).await?;
        if self.version == Some(version) {
            return Ok(None);
        }
        let concern = sqlx::query_as(self.queries.lanes_changes.sql()).fetch_one(conn).await?;
        // at once with what it says: a wait that is dropped before has seen neither
        self.version = Some(version);
        Ok(Some(concern))
    }
}
