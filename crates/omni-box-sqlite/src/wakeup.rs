//! Wake-ups: from this process at once, from others by looking whether the file has changed.
//!
//! A commit of whatever process changes the times or the sizes of the file and of its log. The file system tells them without a statement.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use omni_box_core::{Waiter, Wakeup};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::time::sleep;

use crate::SqliteStore;
use crate::query::Queries;

/// How often the file is looked at. What concerns a relay is read only if it has changed.
const INTERVAL: Duration = Duration::from_millis(50);

/// Two commits within this time may leave the same time at a file.
const GRAIN: Duration = Duration::from_millis(20);

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
        let file = options.get_filename().to_path_buf();
        let mut log = file.clone().into_os_string();
        log.push("-wal");
        let files = [file, log.into()];
        let changes = Changes { options, queries, files, conn: None, stamp: None, seen: None };
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

/// Looks at the files, and by a connection of its own at what concerns a relay. A relay on a small pool does not lose one.
#[derive(Debug)]
struct Changes {
    options: Arc<SqliteConnectOptions>,
    queries: Arc<Queries>,
    /// The database, and its log.
    files: [PathBuf; 2],
    conn: Option<SqliteConnection>,
    /// What the files were at the last look.
    stamp: Option<Stamp>,
    /// What there was when the last wait ended.
    seen: Option<Concern>,
}

/// When each file was written last, and its size.
type Stamp = [Option<(SystemTime, u64)>; 2];

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
                    (self.conn, self.stamp, self.seen) = (None, None, None);
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// What there is now that concerns a relay; `None` if the files have not changed since the last look.
    async fn look(&mut self) -> sqlx::Result<Option<Concern>> {
        if self.stamp == Some(self.stamp()) {
            return Ok(None);
        }
        // what is committed a moment later may bear the same time
        sleep(GRAIN).await;
        let stamp = self.stamp();
        if self.conn.is_none() {
            self.conn = Some(self.options.connect().await?);
        }
        let conn = self.conn.as_mut().expect("connected above");
        let concern = sqlx::query_as(self.queries.lanes_changes.sql()).fetch_one(conn).await?;
        // at once with what it says: a wait that is dropped before has seen neither
        self.stamp = Some(stamp).filter(is_settled);
        Ok(Some(concern))
    }

    fn stamp(&self) -> Stamp {
        self.files.each_ref().map(|file| {
            let file = file.metadata().ok()?;
            Some((file.modified().ok()?, file.len()))
        })
    }
}

/// Whether a commit from now on leaves another stamp.
fn is_settled(stamp: &Stamp) -> bool {
    let is_old = |(at, _): (SystemTime, u64)| at.elapsed().is_ok_and(|age| age >= GRAIN / 2);
    stamp.iter().flatten().copied().all(is_old) && stamp[0].is_some()
}
