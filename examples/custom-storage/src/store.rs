//! The file, and its transactions: one writer at a time.

use std::error::Error as StdError;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use omni_box_core::{Clock, Error, ErrorKind, Result, Store, SystemClock, Wake};
use redb::{Database, ReadTransaction, ReadableDatabase, StorageError, TableError, WriteTransaction};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::failure::failed;
use crate::table::create_tables;

/// How long a transaction waits for the one before it.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Outbox and inbox in a redb file. Cloning is cheap; clones share the file, and queue for its one writer.
#[derive(Clone)]
pub struct RedbStore {
    db: Arc<Database>,
    clock: Arc<dyn Clock>,
    writer: Arc<Mutex<()>>,
    pub(crate) commits: Wake,
}

/// An open transaction. Everything in it goes through redb's own, which is the application's too.
pub struct RedbTx {
    // dropped in this order: rolled back first, and only then the next one's turn
    conn: WriteTransaction,
    turn: OwnedMutexGuard<()>,
}

impl RedbStore {
    /// Opens the file, and makes it if it is not there.
    ///
    /// # Errors
    /// When it cannot be opened, or is none of redb's.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let db = blocking(move || Database::create(path).map_err(failed)).await?;
        let (db, clock, writer) = (Arc::new(db), Arc::new(SystemClock), Arc::default());
        let store = Self { db, clock, writer, commits: Wake::new() };
        store.write(|tx, _| create_tables(tx)).await?;
        Ok(store)
    }

    /// Reads another clock than the machine's; tests move theirs.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    async fn turn(&self) -> Result<OwnedMutexGuard<()>> {
        let turn = timeout(LONGEST_WAIT, self.writer.clone().lock_owned()).await;
        let error = format!("another transaction has been open for {LONGEST_WAIT:?}");
        turn.map_err(|_| Error::new(ErrorKind::Contention, error))
    }

    /// A transaction of the store's own: committed if the work succeeds, whatever becomes of the caller.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&WriteTransaction, DateTime<Utc>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (db, turn, now) = (self.db.clone(), self.turn().await?, self.now());
        blocking(move || {
            let _turn = turn;
            let tx = db.begin_write().map_err(failed)?;
            let value = work(&tx, now)?;
            tx.commit().map_err(failed)?;
            Ok(value)
        })
        .await
    }

    /// A snapshot, beside the writer.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ReadTransaction, DateTime<Utc>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (db, now) = (self.db.clone(), self.now());
        blocking(move || work(&db.begin_read().map_err(failed)?, now)).await
    }
}

impl Store for RedbStore {
    type Conn = WriteTransaction;
    type Tx = RedbTx;

    async fn begin(&self) -> Result<RedbTx> {
        let (db, turn) = (self.db.clone(), self.turn().await?);
        blocking(move || Ok(RedbTx { conn: db.begin_write().map_err(failed)?, turn })).await
    }

    async fn commit(&self, tx: RedbTx) -> Result<()> {
        let RedbTx { conn, turn } = tx;
        blocking(move || {
            let _turn = turn;
            conn.commit().map_err(failed)
        })
        .await?;
        self.commits.wake();
        Ok(())
    }

    async fn rollback(&self, tx: RedbTx) -> Result<()> {
        blocking(move || tx.conn.abort().map_err(failed)).await
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        if let Some(TableError::Storage(error)) = error.downcast_ref() {
            return self.classify(error);
        }
        let is_of_the_disk = |error| matches!(error, &StorageError::Io(_) | &StorageError::PreviousIo);
        error.downcast_ref().is_some_and(is_of_the_disk).then_some(ErrorKind::Unavailable)
    }
}

/// redb's calls wait for the disk, which no thread of the runtime should.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = spawn_blocking(work).await;
    done.map_err(|panic| Error::new(ErrorKind::Internal, "the store's work panicked").with_source(panic))?
}

impl Deref for RedbTx {
    type Target = WriteTransaction;

    fn deref(&self) -> &WriteTransaction {
        &self.conn
    }
}

impl DerefMut for RedbTx {
    fn deref_mut(&mut self) -> &mut WriteTransaction {
        &mut self.conn
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedbStore")
    }
}
