//! Wake-ups: from this process at once, from others by looking whether the file has changed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{Waiter, Wakeup};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::time::sleep;

/// How often the file is looked at; a look reads a counter in memory that processes share.
const INTERVAL: Duration = Duration::from_millis(50);

/// The same after a look has failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits for a commit of this process, or for one of another.
#[derive(Debug)]
pub(crate) struct SqliteWakeup {
    calls: Waiter,
    changes: Changes,
}

impl SqliteWakeup {
    pub(crate) fn new(calls: Waiter, options: Arc<SqliteConnectOptions>) -> Self {
        Self { calls, changes: Changes { options, conn: None, seen: None } }
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
    conn: Option<SqliteConnection>,
    /// What it was when the last wait ended.
    seen: Option<i64>,
}

impl Changes {
    async fn next(&mut self) {
        loop {
            match self.version().await {
                Ok(version) => {
                    // the first look has nothing to compare with: what was committed before it is made up for by one wake-up
                    if self.seen.replace(version) != Some(version) {
                        return;
                    }
                    sleep(INTERVAL).await;
                }
                Err(error) => {
                    // relays poll meanwhile
                    tracing::debug!(kind = ?crate::error::kind(&error), "cannot see whether the file has changed");
                    // versions of two connections do not compare
                    (self.conn, self.seen) = (None, None);
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn version(&mut self) -> sqlx::Result<i64> {
        if self.conn.is_none() {
            self.conn = Some(self.options.connect().await?);
        }
        let conn = self.conn.as_mut().expect("connected above");
        sqlx::query_scalar("pragma data_version").fetch_one(conn).await
    }
}
