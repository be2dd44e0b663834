//! Broken stores: the store in memory, but for one thing.

mod breaker;
mod capability;
mod flaw;
mod inbox;
mod inspection;
mod kind;
mod lanes;
mod outbox;
mod quarantine;
mod repository;
mod sealed;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};
use std::time::Duration;

use omni_box_conformance::{BareConnections, InboxFixture, StoreFixture};
use omni_box_core::store::{Breakers, Inspection};
use omni_box_core::{
    ClaimToken, DeliveryMode, Error, ErrorKind, EventId, EventRepository, EventStatus, LaneId, Lease,
    LeaseRequest, LifecycleRecord, OwnerId, QuarantinedMessage, Result, Store,
};
use omni_box_testkit::{MemoryConn, MemoryStore, MemoryTx, TestClock};

pub(super) use self::flaw::Flaw;
use self::kind::Kind;

/// A store that does what the one inside does, but for its flaw.
#[derive(Clone)]
pub(super) struct Broken<S> {
    inner: S,
    clock: TestClock,
    flaw: Option<Flaw>,
    notes: Arc<Mutex<Notes>>,
}

/// What a flaw needs to know of what was done before.
#[derive(Default)]
struct Notes {
    created: Vec<EventId>,
    /// Who has claimed an event, the latest last.
    claims: HashMap<EventId, Vec<ClaimToken>>,
    /// Whose claims last although they should have ended.
    kept_claims: HashSet<EventId>,
    /// Lives of events as they seem to be.
    lives: HashMap<EventId, LifecycleRecord>,
    deleted: HashSet<EventId>,
    /// What has a copy outside.
    copied: HashSet<EventId>,
    /// Who attached last, to whatever partition.
    attached: Option<ClaimToken>,
    relays: BTreeMap<OwnerId, LeaseRequest>,
    /// Who leased a lane last.
    holders: BTreeMap<LaneId, (OwnerId, Lease)>,
    leases: i64,
    seqs: HashMap<EventId, i64>,
    /// Lane and place of what was read, and how far lanes were read at the last heartbeat.
    read: HashMap<EventId, (LaneId, i64)>,
    read_to: HashMap<LaneId, i64>,
    completed: HashSet<EventId>,
    followers: HashSet<EventId>,
    quarantined: Vec<QuarantinedMessage>,
    /// What sealed transactions have received.
    sealed: Vec<EventId>,
    repeats: Vec<QuarantinedMessage>,
    /// Whether an event without a key was held.
    holds: bool,
    /// Rollbacks to a savepoint.
    rollbacks: u32,
    /// While the test has a connection without a transaction.
    is_bare: bool,
}

impl<S: Store> Broken<S> {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap()
    }

    /// The store in memory has no connection without a transaction: this one takes it that the test uses no other.
    fn check_transaction(&self) -> Result<()> {
        if self.notes().is_bare && !self.has(Flaw::WritesWithoutATransaction) {
            return Err(Error::new(ErrorKind::NoTransaction, "no transaction is open"));
        }
        Ok(())
    }

    fn wrap(&self, tx: S::Tx) -> BrokenTx<S> {
        BrokenTx { tx: Some(tx), commit_by: self.has(Flaw::DropCommits).then(|| self.inner.clone()) }
    }

    /// The committed row of an event.
    async fn row<E: Kind>(&self, id: EventId) -> Result<Option<E>>
    where
        S: EventRepository<E>,
    {
        let mut tx = self.inner.begin().await?;
        self.inner.get_by_id(&mut tx, id).await
    }

    /// Committed rows, in the order of their creation.
    async fn rows<E: Kind>(&self) -> Result<Vec<E>>
    where
        S: EventRepository<E>,
    {
        let created = self.notes().created.clone();
        let mut rows = Vec::with_capacity(created.len());
        for id in created {
            rows.extend(self.row(id).await?);
        }
        Ok(rows)
    }

    /// The oldest pending row, unless it is claimed: the head of its key, also when a worker has claimed what comes behind it.
    async fn first_free<E: Kind>(&self) -> Result<Option<E>>
    where
        S: EventRepository<E>,
    {
        let oldest = self.rows().await?.into_iter().find(|row: &E| row.status() == EventStatus::Pending);
        Ok(oldest.filter(|row| row.lifecycle().lock().is_none()))
    }

    /// Completes events that are given up, as far as a look-up shows.
    async fn complete_failed<E: Kind>(&self, ids: &[EventId]) -> Result<bool>
    where
        S: EventRepository<E>,
    {
        let mut is_any = false;
        for id in ids {
            if let Some(mut life) = self.row(*id).await?.as_ref().and_then(kind::failed_life::<E>) {
                life.complete(omni_box_core::Clock::now(&self.clock));
                self.notes().lives.insert(*id, life);
                is_any = true;
            }
        }
        Ok(is_any)
    }
}

/// A transaction that can be made to commit when it is dropped.
pub(super) struct BrokenTx<S: Store> {
    tx: Option<S::Tx>,
    commit_by: Option<S>,
}

impl<S: Store> BrokenTx<S> {
    fn into_inner(mut self) -> S::Tx {
        self.tx.take().expect("a transaction is ended once")
    }
}

impl<S: Store> Deref for BrokenTx<S> {
    type Target = S::Conn;

    fn deref(&self) -> &S::Conn {
        self.tx.as_ref().expect("a transaction that has not ended")
    }
}

impl<S: Store> DerefMut for BrokenTx<S> {
    fn deref_mut(&mut self) -> &mut S::Conn {
        self.tx.as_mut().expect("a transaction that has not ended")
    }
}

impl<S: Store> Drop for BrokenTx<S> {
    fn drop(&mut self) {
        if let (Some(store), Some(tx)) = (&self.commit_by, self.tx.take()) {
            // a commit in memory waits for nothing
            let commit = pin!(store.commit(tx));
            let _ = commit.poll(&mut Context::from_waker(Waker::noop()));
        }
    }
}

impl<S: Store> Store for Broken<S> {
    type Conn = S::Conn;
    type Tx = BrokenTx<S>;

    async fn begin(&self) -> Result<BrokenTx<S>> {
        Ok(self.wrap(self.inner.begin().await?))
    }

    async fn commit(&self, tx: BrokenTx<S>) -> Result<()> {
        let tx = tx.into_inner();
        if self.has(Flaw::CommitFailsInSilence) {
            drop(tx);
            return Ok(());
        }
        let committed = self.inner.commit(tx).await;
        if self.has(Flaw::CommitHidesErrors) { Ok(()) } else { committed }
    }

    async fn rollback(&self, tx: BrokenTx<S>) -> Result<()> {
        let tx = tx.into_inner();
        if self.has(Flaw::RollbackCommits) {
            self.inner.commit(tx).await
        } else {
            self.inner.rollback(tx).await
        }
    }

    async fn begin_handling(&self, timeout: Duration) -> Result<BrokenTx<S>> {
        Ok(self.wrap(self.inner.begin_handling(timeout).await?))
    }

    fn inspection(&self) -> Option<&dyn Inspection> {
        Some(self)
    }

    fn breakers(&self) -> Option<&dyn Breakers> {
        Some(self)
    }

    async fn abandon(&self, tx: BrokenTx<S>) {
        let tx = tx.into_inner();
        if self.has(Flaw::AbandonCommits) {
            let _ = self.inner.commit(tx).await;
        } else {
            self.inner.abandon(tx).await;
        }
    }
}

pub(super) struct Fixture(Broken<MemoryStore>);

impl Fixture {
    pub(super) fn new(flaw: Option<Flaw>) -> Self {
        let inner = MemoryStore::new();
        let clock = inner.clock().clone();
        Self(Broken { inner, clock, flaw, notes: Arc::default() })
    }
}

impl StoreFixture for Fixture {
    type Store = Broken<MemoryStore>;

    async fn create() -> Option<Self> {
        Some(Self::new(None))
    }

    async fn open(&self) -> Broken<MemoryStore> {
        self.0.clone()
    }

    async fn set_mode(&self, mode: DeliveryMode) {
        self.0.inner.set_delivery_mode(mode).unwrap();
    }

    async fn advance(&self, by: Duration) {
        self.0.clock.advance(by);
    }
}

/// What stands for a connection without a transaction.
struct Bare {
    tx: MemoryTx,
    store: Broken<MemoryStore>,
}

impl Deref for Bare {
    type Target = MemoryConn;

    fn deref(&self) -> &MemoryConn {
        &self.tx
    }
}

impl DerefMut for Bare {
    fn deref_mut(&mut self) -> &mut MemoryConn {
        &mut self.tx
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.store.notes().is_bare = false;
    }
}

impl BareConnections for Fixture {
    async fn bare(&self) -> Box<dyn DerefMut<Target = MemoryConn> + Send> {
        let (store, tx) = (self.0.clone(), self.0.inner.begin().await.unwrap());
        store.notes().is_bare = true;
        Box::new(Bare { tx, store })
    }
}

impl InboxFixture for Fixture {
    async fn quarantined(&self) -> Vec<QuarantinedMessage> {
        let repeats = self.0.notes().repeats.clone();
        [self.0.inner.quarantined(), repeats].concat()
    }
}
