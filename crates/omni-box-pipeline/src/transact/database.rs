//! The one way to the store: every call of the inbox engine has an end.

use std::error::Error as StdError;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use omni_box_core::store::SealedTransactions;
use omni_box_core::{
    BatchSize, ClaimToken, ConsumerGroup, Error, ErrorKind, Event, EventContent, EventId, FailureClass,
    FetchFilters, InboxEvent, InboxRepository, InboxSettlement, NewInboxEvent, OmniBoxDomainService,
    PartitionEnd, Payload, QuarantinedMessage, Received, Result, TopicPartition,
};
use tokio::time::timeout;

use super::letters::{Letter, Letters};
use crate::claims::{Claims, Stale};
use crate::gate::Gate;

/// How much longer a call is waited for than a handler may take. The server ends a statement of a handling transaction after the handler's
/// time, and an idle transaction 5 s later. So a server that lives answers first.
const MARGIN: Duration = Duration::from_secs(5);

/// The longest delay before a database that is down is tried again.
pub(crate) const LONGEST_OUTAGE_RETRY: Duration = Duration::from_secs(5);

/// A store whose every call is given up after a time, with the gate before it.
///
/// The store itself is private to this file: a call that could last without end does not compile. A database whose host is gone never
/// answers, and what waits for it holds a permit.
pub(crate) struct Database<S> {
    store: S,
    limit: Duration,
    gate: Mutex<Gate>,
    /// Messages whose outcomes, or rows, have lasted.
    kept: AtomicUsize,
}

/// Why a call was given up: the cause in its error.
#[derive(Debug)]
struct GivenUp {
    call: &'static str,
    after: Duration,
}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer to `{}` for {:?}", self.call, self.after)
    }
}

impl StdError for GivenUp {}

/// Whether a call was given up. What its transaction has become is unknown, and its connection must not be used again.
pub(crate) fn is_given_up(error: &Error) -> bool {
    error.source().is_some_and(|cause| cause.is::<GivenUp>())
}

impl<S: InboxRepository> Database<S> {
    /// `process_timeout` is how long one handler may take.
    pub(crate) fn new(store: S, process_timeout: Duration, gate: Gate) -> Self {
        Self {
            store,
            limit: process_timeout.saturating_add(MARGIN),
            gate: Mutex::new(gate),
            kept: AtomicUsize::new(0),
        }
    }

    /// The store, for handlers: what they do has a time limit of its own.
    pub(crate) fn lend(&self) -> &S {
        &self.store
    }

    /// Waits for an answer until the time is over. A call that is given up may have taken effect, or may do so yet: every call here may be
    /// repeated.
    async fn within<T>(&self, call: &'static str, answer: impl Future<Output = Result<T>>) -> Result<T> {
        let Ok(answer) = timeout(self.limit, answer).await else {
            let error = Error::new(ErrorKind::Unavailable, "the database does not answer")
                .with_source(GivenUp { call, after: self.limit });
            self.close(&error);
            return Err(error);
        };
        answer
    }

    pub(crate) async fn begin_brief(&self) -> Result<S::Tx> {
        self.within("begin", self.store.begin_brief()).await
    }

    pub(crate) async fn begin_handling(&self, process_timeout: Duration) -> Result<S::Tx> {
        self.within("begin", self.store.begin_handling(process_timeout)).await
    }

    pub(crate) async fn begin_sealed(&self, process_timeout: Duration) -> Result<S::Tx> {
        self.within("begin", self.sealed()?.begin_sealed(process_timeout)).await
    }

    pub(crate) async fn commit(&self, tx: S::Tx) -> Result<()> {
        self.within("commit", self.store.commit(tx)).await
    }

    pub(crate) async fn rollback(&self, tx: S::Tx) -> Result<()> {
        self.within("rollback", self.store.rollback(tx)).await
    }

    pub(crate) async fn abandon(&self, tx: S::Tx) {
        let abandoned = async {
            self.store.abandon(tx).await;
            Ok(())
        };
        // either way it is not used again
        let _ = self.within("abandon", abandoned).await;
    }

    pub(crate) async fn receive(&self, conn: &mut S::Conn, events: &[InboxEvent]) -> Result<Vec<Received>> {
        self.within("receive", self.store.receive(conn, events)).await
    }

    /// In a sealed transaction: what is new is completed.
    pub(crate) async fn receive_completed(
        &self,
        conn: &mut S::Conn,
        events: &[&InboxEvent],
    ) -> Result<Vec<Received>> {
        self.within("receive", self.sealed()?.receive_completed(conn, events)).await
    }

    /// Makes messages pending that this sealed transaction has completed.
    pub(crate) async fn set_back(&self, conn: &mut S::Conn, ids: &[EventId]) -> Result<()> {
        self.within("set_back", self.sealed()?.set_back(conn, ids)).await
    }

    fn sealed(&self) -> Result<&dyn SealedTransactions<S>> {
        let missing = || Error::new(ErrorKind::Unsupported, "the store seals no transaction any more");
        self.store.sealed().ok_or_else(missing)
    }

    /// Whether a group may go without savepoints.
    pub(crate) fn has_seals(&self) -> bool {
        self.store.sealed().is_some()
    }

    pub(crate) async fn settle(&self, conn: &mut S::Conn, settlement: &InboxSettlement) -> Result<()> {
        self.within("settle", self.store.settle(conn, settlement)).await
    }

    pub(crate) async fn quarantine(&self, conn: &mut S::Conn, messages: &[QuarantinedMessage]) -> Result<()> {
        self.within("quarantine", self.store.quarantine(conn, messages)).await
    }

    /// Writes what is given up to where it goes.
    pub(crate) async fn bury(
        &self,
        letters: &dyn Letters<S>,
        conn: &mut S::Conn,
        given_up: &[Letter],
    ) -> Result<()> {
        self.within("create_many", letters.write(&self.store, conn, given_up)).await
    }

    pub(crate) async fn pending_of(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<InboxEvent>> {
        self.within("pending_of", self.store.pending_of(group, partition, after, limit)).await
    }

    pub(crate) async fn attach(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> Result<PartitionEnd> {
        self.within("attach", self.store.attach(group, partition, owner)).await
    }

    pub(crate) async fn detach(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> Result<()> {
        self.within("detach", self.store.detach(group, partition, owner)).await
    }

    pub(crate) async fn claim(
        &self,
        claims: &Claims<InboxEvent>,
        limit: BatchSize,
        filters: &FetchFilters,
        stale: &Stale,
    ) -> Result<Vec<InboxEvent>> {
        self.within("claim", claims.take(&self.store, limit, filters, stale)).await
    }

    pub(crate) async fn refresh(&self, claims: &Claims<InboxEvent>, ids: &[EventId]) -> Result<Vec<EventId>> {
        self.within("refresh", claims.refresh(&self.store, ids)).await
    }

    pub(crate) async fn release(&self, claims: &Claims<InboxEvent>, ids: &[EventId]) -> Result<()> {
        self.within("release", claims.release(&self.store, ids, None)).await
    }

    /// Whether one message of a transaction can fail alone; the calls below do nothing otherwise.
    pub(crate) fn has_savepoints(&self) -> bool {
        self.store.savepoints().is_some()
    }

    pub(crate) async fn start_savepoint(&self, conn: &mut S::Conn) -> Result<()> {
        let Some(savepoints) = self.store.savepoints() else { return Ok(()) };
        self.within("savepoint", savepoints.start(conn)).await
    }

    pub(crate) async fn advance_savepoint(&self, conn: &mut S::Conn) -> Result<()> {
        let Some(savepoints) = self.store.savepoints() else { return Ok(()) };
        self.within("release savepoint", savepoints.advance(conn)).await
    }

    /// Whether it was undone: a store without savepoints cannot.
    pub(crate) async fn rollback_to_savepoint(&self, conn: &mut S::Conn) -> Result<bool> {
        let Some(savepoints) = self.store.savepoints() else { return Ok(false) };
        self.within("rollback to savepoint", savepoints.rollback(conn)).await.map(|()| true)
    }

    /// Whether a transaction's connection still works after the time of a handler was over. A server that lives has ended the handler's
    /// statement by then, and answers; if it is silent the handler may have waited for it.
    pub(crate) async fn answers(&self, conn: &mut S::Conn) -> bool {
        let Some(savepoints) = self.store.savepoints() else { return true };
        match timeout(MARGIN, savepoints.rollback(conn)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => error.class() != FailureClass::Infrastructure,
            Err(_) => false,
        }
    }

    /// See [`Store::classify`](omni_box_core::Store::classify).
    pub(crate) fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        self.store.classify(error)
    }

    /// Notes that a transaction has kept so many messages.
    pub(crate) fn count_kept(&self, messages: usize) {
        self.kept.fetch_add(messages, Ordering::Relaxed);
    }

    /// How many messages were kept so far.
    pub(crate) fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// Whether another message than those at hand can be stored and settled; it is rolled back.
    pub(crate) async fn stores_another(&self, group: &ConsumerGroup) -> bool {
        let content = EventContent::new("omni-box.probe", Payload::null());
        let new = NewInboxEvent::new(EventId::generate().to_string(), group.clone(), "omni-box", content);
        let Ok(probe) = OmniBoxDomainService::default().create_inbox_event(new) else { return false };
        let Ok(mut tx) = self.begin_brief().await else { return false };
        let stored = async {
            self.receive(&mut tx, std::slice::from_ref(&probe)).await?;
            self.settle(&mut tx, &InboxSettlement { completed: vec![probe.id()], failures: Vec::new() }).await
        };
        let stored = stored.await;
        if stored.as_ref().is_err_and(is_given_up) {
            self.abandon(tx).await;
            return false;
        }
        self.rollback(tx).await.is_ok() && stored.is_ok()
    }

    /// Notes that the database failed; says how long to wait.
    pub(crate) fn close(&self, error: &Error) -> Duration {
        self.gate().close(error)
    }

    /// Notes that the database works.
    pub(crate) fn open(&self) {
        self.gate().open();
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        // a gate is a counter: whatever state a panic left it in is a good one
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
