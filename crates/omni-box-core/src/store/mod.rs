//! What a store must promise.
//!
//! A store lends its connection and owns its transactions: a method takes `conn` exactly when it must be atomic with what the
//! caller writes.

mod breaker;
mod capability;
mod dead_letter;
mod due;
mod enqueue;
mod ext;
mod inbox;
mod inspection;
mod lanes;
mod members;
mod outbox;
mod quarantine;
mod repository;
mod row;
mod sampling;
mod view;
mod wake;

use std::error::Error as StdError;
use std::future::Future;
use std::ops::DerefMut;
use std::time::Duration;

pub use breaker::{BreakerReport, BreakerState, Breakers};
pub use capability::{BulkOperations, DistributedLocking, RetentionPolicies, Savepoints};
pub use dead_letter::{DeadLetters, Replayed};
pub use due::Due;
pub use enqueue::IntoOutboxEvent;
pub use ext::{InboxExt, OutboxExt};
pub use inbox::{InboxRepository, InboxSettlement, PartitionEnd, Received, SealedTransactions};
pub use inspection::{Count, GroupSample, Inspection, OutboxSample, Sample};
pub use lanes::{
    Activity, KeyRef, LaneEvent, LaneFetch, LaneHold, LaneRead, LaneSettlement, LaneShare, Lease,
    LeaseRequest, OrderedLanes, Settled,
};
pub use members::{GroupHandling, GroupMembers};
pub use outbox::{DeliveryMode, OutboxRepository, Wakeup};
pub use quarantine::{Quarantine, QuarantineEntry, Readmission};
pub use repository::{Created, EventRepository};
pub use row::EventRow;
pub use sampling::{SampleSink, Sampling};
pub use view::EventView;
pub use wake::{Waiter, Wake};

use crate::error::{ErrorKind, Result};

/// Transactions of a database.
///
/// ```
/// use omni_box_core::{Result, Store};
///
/// /// Runs work in a transaction, which is rolled back if the work fails.
/// async fn in_transaction<S: Store>(store: &S, work: impl AsyncFnOnce(&mut S::Conn) -> Result<()>) -> Result<()> {
///     let mut tx = store.begin().await?;
///     match work(&mut *tx).await {
///         Ok(()) => store.commit(tx).await,
///         Err(error) => {
///             store.rollback(tx).await?;
///             Err(error)
///         }
///     }
/// }
/// ```
pub trait Store: Clone + Send + Sync + 'static {
    /// A connection, as handlers and callers use it.
    type Conn: Send + 'static;
    /// An open transaction; dropping it rolls back.
    type Tx: DerefMut<Target = Self::Conn> + Send + 'static;

    /// Opens a transaction.
    ///
    /// # Errors
    /// Of infrastructure class when the database cannot be reached in time.
    fn begin(&self) -> impl Future<Output = Result<Self::Tx>> + Send;

    /// Commits.
    ///
    /// - `Ok` means durable, and visible to every other transaction. Until then no other transaction sees what was written.
    /// - An error may leave it unknown whether the transaction committed; the caller must be able to do it again.
    ///
    /// # Errors
    /// As the database says.
    fn commit(&self, tx: Self::Tx) -> impl Future<Output = Result<()>> + Send;

    /// Rolls back.
    ///
    /// # Errors
    /// When the connection is broken; the transaction is rolled back all the same.
    fn rollback(&self, tx: Self::Tx) -> impl Future<Output = Result<()>> + Send;

    /// Opens a transaction in which only the engine works, briefly. The database should bound its statements, its waits for locks and its
    /// silence. A frozen process, or the lock of another program, then stops others for a short time only.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    fn begin_brief(&self) -> impl Future<Output = Result<Self::Tx>> + Send {
        self.begin()
    }

    /// Opens the transaction in which handlers run. Each handler may take up to `timeout`; the engine starts no further handler once the
    /// first has run for a second. Set the database's own statement and idle timeouts to match: a frozen process cannot roll back by
    /// itself.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    fn begin_handling(&self, timeout: Duration) -> impl Future<Output = Result<Self::Tx>> + Send {
        let _ = timeout;
        self.begin()
    }

    /// Ends a transaction whose connection may be in the middle of a statement (its user was cancelled or panicked). The
    /// connection must not be used again, nor keep its locks longer than it must.
    fn abandon(&self, tx: Self::Tx) -> impl Future<Output = ()> + Send {
        drop(tx);
        std::future::ready(())
    }

    /// What kind of failure a native error of this database is, so that a handler's own queries do not spend attempts during
    /// an outage. `None`: not an error of this database.
    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        let _ = error;
        None
    }

    /// How many connections it has at most, if it knows: the size of its pool. Who works on several at once needs more than that many, or
    /// waits for itself.
    fn connections(&self) -> Option<usize> {
        None
    }

    /// How long a transaction may wait to begin, where all writers share one lock. Leases must outlive such a wait: builders refuse shorter ones.
    fn lock_wait(&self) -> Option<Duration> {
        None
    }

    /// Looks at the tables for metrics and health checks.
    fn inspection(&self) -> Option<&dyn Inspection> {
        None
    }

    /// States of circuit breakers that processes share.
    fn breakers(&self) -> Option<&dyn Breakers> {
        None
    }
}
