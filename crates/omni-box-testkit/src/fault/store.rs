//! A store that fails where a test wants it to.

use std::error::Error as StdError;
use std::time::Duration;

use omni_box_core::store::{Breakers, DeadLetters, GroupMembers, Inspection, Quarantine, SealedTransactions};
use omni_box_core::{
    BatchSize, BulkOperations, ClaimToken, ConsumerGroup, Created, DeliveryMode, DistributedLocking,
    ErrorKind, Event, EventId, EventRepository, Failure, FetchFilters, InboxEvent, InboxRepository,
    InboxSettlement, OrderedLanes, OutboxRepository, PartitionEnd, QuarantinedMessage, Received, Result,
    RetentionPolicies, Savepoints, Store, TopicPartition, Wakeup,
};

use super::{Capability, FaultPlan, Operation};

/// A store that does what its [`FaultPlan`] says, and otherwise what the store inside does. It offers the same capabilities.
///
/// A handler's own statements on the connection are not seen, and wake-ups pass whatever happens: they are hints.
#[derive(Debug, Clone)]
pub struct Faulty<S> {
    pub(super) inner: S,
    pub(super) plan: FaultPlan,
}

impl<S> Faulty<S> {
    /// Wraps a store.
    pub fn new(store: S, plan: &FaultPlan) -> Self {
        Self { inner: store, plan: plan.clone() }
    }

    /// Its plan.
    pub fn plan(&self) -> &FaultPlan {
        &self.plan
    }

    /// The store inside, which never fails on purpose.
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S> Faulty<S> {
    fn offers(&self, capability: Capability, has: bool) -> bool {
        has && self.plan.shows(capability)
    }
}

impl<S: Store> Store for Faulty<S> {
    type Conn = S::Conn;
    type Tx = S::Tx;

    async fn begin(&self) -> Result<S::Tx> {
        self.plan.run(Operation::Begin, self.inner.begin()).await
    }

    async fn commit(&self, tx: S::Tx) -> Result<()> {
        self.plan.run(Operation::Commit, self.inner.commit(tx)).await
    }

    async fn rollback(&self, tx: S::Tx) -> Result<()> {
        self.plan.run(Operation::Rollback, self.inner.rollback(tx)).await
    }

    async fn begin_brief(&self) -> Result<S::Tx> {
        self.plan.run(Operation::Begin, self.inner.begin_brief()).await
    }

    async fn begin_handling(&self, timeout: Duration) -> Result<S::Tx> {
        self.plan.run(Operation::Begin, self.inner.begin_handling(timeout)).await
    }

    async fn abandon(&self, tx: S::Tx) {
        self.inner.abandon(tx).await;
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        self.inner.classify(error)
    }

    fn connections(&self) -> Option<usize> {
        self.inner.connections()
    }

    fn lock_wait(&self) -> Option<Duration> {
        self.inner.lock_wait()
    }

    fn inspection(&self) -> Option<&dyn Inspection> {
        self.inner.inspection().is_some().then_some(self)
    }

    fn breakers(&self) -> Option<&dyn Breakers> {
        self.offers(Capability::Breakers, self.inner.breakers().is_some()).then_some(self)
    }
}

impl<E: Event, S: EventRepository<E>> EventRepository<E> for Faulty<S> {
    async fn create(&self, conn: &mut S::Conn, event: &E) -> Result<Created<E>> {
        self.plan.run(Operation::Create, self.inner.create(conn, event)).await
    }

    async fn create_many(&self, conn: &mut S::Conn, events: &[E]) -> Result<Vec<Created<E>>> {
        self.plan.run(Operation::CreateMany, self.inner.create_many(conn, events)).await
    }

    async fn get_by_id(&self, conn: &mut S::Conn, id: EventId) -> Result<Option<E>> {
        self.plan.run(Operation::GetById, self.inner.get_by_id(conn, id)).await
    }

    async fn fetch_pending(&self, limit: BatchSize, filters: &FetchFilters) -> Result<Vec<E>> {
        self.plan.run(Operation::FetchPending, self.inner.fetch_pending(limit, filters)).await
    }

    async fn mark_processing(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        self.plan.run(Operation::MarkProcessing, self.inner.mark_processing(id, token)).await
    }

    async fn mark_completed(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        self.plan.run(Operation::MarkCompleted, self.inner.mark_completed(id, token)).await
    }

    async fn mark_failed(&self, id: EventId, token: &ClaimToken, failure: &Failure) -> Result<bool> {
        self.plan.run(Operation::MarkFailed, self.inner.mark_failed(id, token, failure)).await
    }

    fn bulk(&self) -> Option<&dyn BulkOperations<E>> {
        self.inner.bulk().is_some().then_some(self)
    }

    fn locking(&self) -> Option<&dyn DistributedLocking<E>> {
        self.offers(Capability::Locking, self.inner.locking().is_some()).then_some(self)
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters<E>> {
        self.offers(Capability::DeadLetters, self.inner.dead_letters().is_some()).then_some(self)
    }

    fn retention(&self) -> Option<&dyn RetentionPolicies<E>> {
        self.offers(Capability::Retention, self.inner.retention().is_some()).then_some(self)
    }
}

impl<S: OutboxRepository> OutboxRepository for Faulty<S> {
    async fn delivery_mode(&self) -> Result<DeliveryMode> {
        self.plan.run(Operation::DeliveryMode, self.inner.delivery_mode()).await
    }

    fn lanes(&self) -> Option<&dyn OrderedLanes> {
        self.inner.lanes().is_some().then_some(self)
    }

    fn wakeup(&self) -> Option<Box<dyn Wakeup>> {
        self.inner.wakeup()
    }
}

impl<S: InboxRepository> InboxRepository for Faulty<S> {
    async fn receive(&self, conn: &mut S::Conn, events: &[InboxEvent]) -> Result<Vec<Received>> {
        self.plan.run(Operation::Receive, self.inner.receive(conn, events)).await
    }

    async fn by_message(
        &self,
        conn: &mut S::Conn,
        message_id: &str,
        group: &ConsumerGroup,
    ) -> Result<Option<InboxEvent>> {
        self.plan.run(Operation::ByMessage, self.inner.by_message(conn, message_id, group)).await
    }

    async fn settle(&self, conn: &mut S::Conn, settlement: &InboxSettlement) -> Result<()> {
        self.plan.run(Operation::Settle, self.inner.settle(conn, settlement)).await
    }

    async fn quarantine(&self, conn: &mut S::Conn, messages: &[QuarantinedMessage]) -> Result<()> {
        self.plan.run(Operation::Quarantine, self.inner.quarantine(conn, messages)).await
    }

    async fn pending_of(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<InboxEvent>> {
        self.plan.run(Operation::PendingOf, self.inner.pending_of(group, partition, after, limit)).await
    }

    async fn attach(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> Result<PartitionEnd> {
        self.plan.run(Operation::Attach, self.inner.attach(group, partition, owner)).await
    }

    async fn detach(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> Result<()> {
        self.plan.run(Operation::Detach, self.inner.detach(group, partition, owner)).await
    }

    fn in_quarantine(&self) -> Option<&dyn Quarantine<S::Conn>> {
        self.inner.in_quarantine().is_some().then_some(self)
    }

    fn members(&self) -> Option<&dyn GroupMembers> {
        self.inner.members().is_some().then_some(self)
    }

    fn savepoints(&self) -> Option<&dyn Savepoints<S::Conn>> {
        self.offers(Capability::Savepoints, self.inner.savepoints().is_some()).then_some(self)
    }

    fn sealed(&self) -> Option<&dyn SealedTransactions<Self>> {
        self.offers(Capability::Sealed, self.inner.sealed().is_some()).then_some(self)
    }
}
