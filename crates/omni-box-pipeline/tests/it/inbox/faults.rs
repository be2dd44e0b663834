//! A PostgreSQL store that fails where a test wants it to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::SealedTransactions;
use omni_box_core::{
    BatchSize, ClaimToken, ConsumerGroup, Created, DistributedLocking, Error, ErrorKind, EventId,
    EventRepository, Failure, FetchFilters, InboxEvent, InboxExt, InboxRepository, InboxSettlement,
    PartitionEnd, QuarantinedMessage, Received, Result, Savepoints, Store, TopicPartition,
};
use omni_box_postgres::{PgStore, PgTx};
use sqlx::PgConnection;
use tokio::sync::Notify;

/// What happens to the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitFault {
    /// The process stops before the commit arrives.
    StopBefore,
    /// The process stops when the commit has arrived.
    StopAfter,
    /// The commit does not arrive, and fails.
    FailBefore(ErrorKind),
    /// The commit arrives, its answer does not.
    FailAfter(ErrorKind),
}

/// Faults to come.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    commit: Mutex<Option<CommitFault>>,
    pub(crate) stopped: Notify,
    /// How many sealed transactions were begun.
    sealed: AtomicUsize,
    /// How often messages were brought to the store.
    received: AtomicUsize,
    pub(crate) savepoints: Mutex<Without>,
}

/// What the store does not offer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Without {
    #[default]
    Nothing,
    Savepoints,
    Locking,
}

impl Faults {
    pub(crate) fn on_commit(&self, fault: CommitFault) {
        *self.commit.lock().unwrap() = Some(fault);
    }
}

#[derive(Clone, Debug)]
pub(crate) struct FaultyStore {
    pub(crate) inner: PgStore,
    pub(crate) faults: Arc<Faults>,
}

impl FaultyStore {
    pub(crate) fn new(inner: PgStore) -> Self {
        Self { inner, faults: Arc::default() }
    }

    pub(crate) fn received(&self) -> usize {
        self.faults.received.load(Ordering::SeqCst)
    }

    pub(crate) fn sealed_transactions(&self) -> usize {
        self.faults.sealed.load(Ordering::SeqCst)
    }

    async fn stop(&self) -> ! {
        self.faults.stopped.notify_one();
        std::future::pending().await
    }
}

impl Store for FaultyStore {
    type Conn = PgConnection;
    type Tx = PgTx;

    async fn begin(&self) -> Result<PgTx> {
        self.inner.begin().await
    }

    async fn commit(&self, tx: PgTx) -> Result<()> {
        let fault = self.faults.commit.lock().unwrap().take();
        let Some(fault) = fault else { return self.inner.commit(tx).await };
        match fault {
            CommitFault::StopBefore => {
                Store::rollback(&self.inner, tx).await?;
                self.stop().await
            }
            CommitFault::StopAfter => {
                self.inner.commit(tx).await?;
                self.stop().await
            }
            CommitFault::FailBefore(kind) => {
                Store::rollback(&self.inner, tx).await?;
                Err(Error::new(kind, "commit failed"))
            }
            CommitFault::FailAfter(kind) => {
                self.inner.commit(tx).await?;
                Err(Error::new(kind, "commit failed"))
            }
        }
    }

    async fn rollback(&self, tx: PgTx) -> Result<()> {
        Store::rollback(&self.inner, tx).await
    }

    async fn begin_handling(&self, timeout: Duration) -> Result<PgTx> {
        self.inner.begin_handling(timeout).await
    }

    async fn abandon(&self, tx: PgTx) {
        self.inner.abandon(tx).await;
    }

    fn classify(&self, error: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
        self.inner.classify(error)
    }
}

impl EventRepository<InboxEvent> for FaultyStore {
    async fn create(&self, conn: &mut PgConnection, event: &InboxEvent) -> Result<Created<InboxEvent>> {
        self.inner.create(conn, event).await
    }

    async fn get_by_id(&self, conn: &mut PgConnection, id: EventId) -> Result<Option<InboxEvent>> {
        self.inner.inbox().get_by_id(conn, id).await
    }

    async fn fetch_pending(&self, limit: BatchSize, filters: &FetchFilters) -> Result<Vec<InboxEvent>> {
        self.inner.inbox().fetch_pending(limit, filters).await
    }

    async fn mark_processing(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        self.inner.inbox().mark_processing(id, token).await
    }

    async fn mark_completed(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        self.inner.inbox().mark_completed(id, token).await
    }

    async fn mark_failed(&self, id: EventId, token: &ClaimToken, failure: &Failure) -> Result<bool> {
        self.inner.inbox().mark_failed(id, token, failure).await
    }

    fn locking(&self) -> Option<&dyn DistributedLocking<InboxEvent>> {
        self.inner.locking().filter(|_| *self.faults.savepoints.lock().unwrap() != Without::Locking)
    }
}

impl InboxRepository for FaultyStore {
    async fn receive(&self, conn: &mut PgConnection, events: &[InboxEvent]) -> Result<Vec<Received>> {
        self.faults.received.fetch_add(1, Ordering::SeqCst);
        self.inner.receive(conn, events).await
    }

    async fn by_message(
        &self,
        conn: &mut PgConnection,
        message_id: &str,
        group: &ConsumerGroup,
    ) -> Result<Option<InboxEvent>> {
        self.inner.by_message(conn, message_id, group).await
    }

    async fn settle(&self, conn: &mut PgConnection, settlement: &InboxSettlement) -> Result<()> {
        self.inner.settle(conn, settlement).await
    }

    async fn quarantine(&self, conn: &mut PgConnection, messages: &[QuarantinedMessage]) -> Result<()> {
        self.inner.quarantine(conn, messages).await
    }

    async fn pending_of(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<InboxEvent>> {
        self.inner.pending_of(group, partition, after, limit).await
    }

    async fn attach(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> Result<PartitionEnd> {
        self.inner.attach(group, partition, owner).await
    }

    async fn detach(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> Result<()> {
        self.inner.detach(group, partition, owner).await
    }

    fn savepoints(&self) -> Option<&dyn Savepoints<PgConnection>> {
        match *self.faults.savepoints.lock().unwrap() {
            Without::Nothing | Without::Locking => self.inner.savepoints(),
            Without::Savepoints => None,
        }
    }

    fn sealed(&self) -> Option<&dyn SealedTransactions<Self>> {
        match *self.faults.savepoints.lock().unwrap() {
            Without::Nothing | Without::Locking => Some(self),
            Without::Savepoints => None,
        }
    }
}

#[async_trait]
impl SealedTransactions<Self> for FaultyStore {
    async fn begin_sealed(&self, timeout: Duration) -> Result<PgTx> {
        self.faults.sealed.fetch_add(1, Ordering::SeqCst);
        self.inner.begin_sealed(timeout).await
    }

    async fn receive_completed(
        &self,
        conn: &mut PgConnection,
        events: &[&InboxEvent],
    ) -> Result<Vec<Received>> {
        self.faults.received.fetch_add(1, Ordering::SeqCst);
        self.inner.receive_completed(conn, events).await
    }

    async fn set_back(&self, conn: &mut PgConnection, ids: &[EventId]) -> Result<()> {
        self.inner.set_back(conn, ids).await
    }
}
