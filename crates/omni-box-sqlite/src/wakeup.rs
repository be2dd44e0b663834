//! Wake-ups: from this process at once, from others by looking whether the file has changed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::Wakeup;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::sync::watch;
use tokio::time::sleep;

/// How often the file is looked at; a look reads a counter in memory that processes share.
const INTERVAL: Duration = Duration::from_millis(50);

/// The same after a look has failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What is rung when there may be something to publish. Every waiter hears each ring, or several as one.
#[derive(Debug)]
pub(crate) struct Bell(watch::Sender<()>);

impl Bell {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    pub(crate) fn ring(&self) {
        self.0.send_replace(());
    }

    pub(crate) fn waiter(self: &Arc<Self>, options: Arc<SqliteConnectOptions>) -> SqliteWakeup {
        let changes = Changes { options, conn: None, seen: None };
        SqliteWakeup { rings: self.0.subscribe(), changes, _bell: Arc::clone(self) }
    }
}

/// Waits for the bell, or for a commit of anybody.
#[derive(Debug)]
pub(crate) struct SqliteWakeup {
    rings: watch::Receiver<()>,
    changes: Changes,
    /// Keeps the sender alive.
    _bell: Arc<Bell>,
}

#[async_trait]
impl Wakeup for SqliteWakeup {
    async fn wait(&mut self) {
        tokio::select! {
            // the sender lives in the bell that is held here
            _ = self.rings.changed() => {}
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
