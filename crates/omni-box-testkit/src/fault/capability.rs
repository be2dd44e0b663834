//! Capabilities that fail where a test wants them to.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::{
    BreakerReport, BreakerState, Breakers, DeadLetters, GroupHandling, GroupMembers, Inspection, Quarantine,
    QuarantineEntry, Replayed, Sample, SealedTransactions,
};
use omni_box_core::{
    Activity, BatchSize, BulkOperations, ClaimToken, ConsumerGroup, DistributedLocking, Error, ErrorKind,
    Event, EventId, EventRepository, FetchFilters, InboxEvent, InboxRepository, LaneFetch, LaneRead,
    LaneSettlement, LaneShare, Lease, LeaseRequest, OrderedLanes, OutboxRepository, OwnerId,
    QuarantinedMessage, Received, Result, RetentionPolicies, Savepoints, Settled, Store,
};
use uuid::Uuid;

use super::{Faulty, Operation};

/// A capability of the store inside. The caller has asked before and has been told that there is one.
fn offered<T>(capability: Option<T>) -> Result<T> {
    capability.ok_or_else(|| Error::new(ErrorKind::Unsupported, "the store inside does not offer this"))
}

#[async_trait]
impl<E: Event, S: EventRepository<E>> BulkOperations<E> for Faulty<S> {
    async fn complete_many(&self, ids: &[EventId], token: &ClaimToken) -> Result<Vec<EventId>> {
        let bulk = offered(self.inner.bulk())?;
        self.plan.run(Operation::CompleteMany, bulk.complete_many(ids, token)).await
    }
}

#[async_trait]
impl<S: Store> Breakers for Faulty<S> {
    async fn admit(&self, name: &str, asker: OwnerId, trial: Duration) -> Result<BreakerState> {
        let admit = offered(self.inner.breakers())?.admit(name, asker, trial);
        self.plan.run(Operation::AdmitByBreaker, admit).await
    }

    async fn report(&self, name: &str, report: &BreakerReport) -> Result<BreakerState> {
        let report = offered(self.inner.breakers())?.report(name, report);
        self.plan.run(Operation::ReportToBreaker, report).await
    }
}

#[async_trait]
impl<S: Store> Inspection for Faulty<S> {
    async fn sample(&self) -> Result<Sample> {
        let inspection = offered(self.inner.inspection())?;
        self.plan.run(Operation::Sample, inspection.sample()).await
    }
}

#[async_trait]
impl<E: Event, S: EventRepository<E>> DistributedLocking<E> for Faulty<S> {
    async fn claim(
        &self,
        token: &ClaimToken,
        limit: BatchSize,
        ttl: Duration,
        filters: &FetchFilters,
    ) -> Result<Vec<E>> {
        let locking = offered(self.inner.locking())?;
        self.plan.run(Operation::Claim, locking.claim(token, limit, ttl, filters)).await
    }

    async fn refresh(&self, token: &ClaimToken, ids: &[EventId]) -> Result<Vec<EventId>> {
        let locking = offered(self.inner.locking())?;
        self.plan.run(Operation::RefreshClaims, locking.refresh(token, ids)).await
    }

    async fn release(&self, token: &ClaimToken, ids: &[EventId]) -> Result<()> {
        let locking = offered(self.inner.locking())?;
        self.plan.run(Operation::ReleaseClaims, locking.release(token, ids)).await
    }
}

#[async_trait]
impl<E: Event, S: EventRepository<E>> DeadLetters<E> for Faulty<S> {
    async fn list(&self, filters: &FetchFilters, after: Option<&E>, limit: BatchSize) -> Result<Vec<E>> {
        let letters = offered(self.inner.dead_letters())?;
        self.plan.run(Operation::ListFailed, letters.list(filters, after, limit)).await
    }

    async fn list_uncopied(
        &self,
        filters: &FetchFilters,
        after: Option<&E>,
        limit: BatchSize,
    ) -> Result<Vec<E>> {
        let list = offered(self.inner.dead_letters())?.list_uncopied(filters, after, limit);
        self.plan.run(Operation::ListUncopied, list).await
    }

    async fn mark_copied(&self, events: &[E]) -> Result<()> {
        let letters = offered(self.inner.dead_letters())?;
        self.plan.run(Operation::MarkCopied, letters.mark_copied(events)).await
    }

    async fn requeue(&self, ids: &[EventId]) -> Result<Vec<EventId>> {
        let letters = offered(self.inner.dead_letters())?;
        self.plan.run(Operation::Requeue, letters.requeue(ids)).await
    }

    async fn replay_as_new(&self, ids: &[EventId]) -> Result<Vec<Replayed>> {
        let letters = offered(self.inner.dead_letters())?;
        self.plan.run(Operation::ReplayAsNew, letters.replay_as_new(ids)).await
    }

    async fn purge(&self, older_than: Duration, limit: BatchSize) -> Result<u64> {
        let letters = offered(self.inner.dead_letters())?;
        self.plan.run(Operation::PurgeFailed, letters.purge(older_than, limit)).await
    }
}

#[async_trait]
impl<S: InboxRepository> GroupMembers for Faulty<S> {
    async fn join(
        &self,
        group: &ConsumerGroup,
        member: OwnerId,
        handling: GroupHandling,
        ttl: Duration,
    ) -> Result<bool> {
        let join = offered(self.inner.members())?.join(group, member, handling, ttl);
        self.plan.run(Operation::JoinGroup, join).await
    }

    async fn leave(&self, member: OwnerId) -> Result<()> {
        self.plan.run(Operation::LeaveGroup, offered(self.inner.members())?.leave(member)).await
    }
}

#[async_trait]
impl<S: InboxRepository> Quarantine<S::Conn> for Faulty<S> {
    async fn list(
        &self,
        group: &ConsumerGroup,
        after: Option<&QuarantineEntry>,
        limit: BatchSize,
    ) -> Result<Vec<QuarantineEntry>> {
        let list = offered(self.inner.in_quarantine())?.list(group, after, limit);
        self.plan.run(Operation::ListQuarantined, list).await
    }

    async fn show(&self, id: Uuid) -> Result<Option<QuarantinedMessage>> {
        self.plan.run(Operation::ShowQuarantined, offered(self.inner.in_quarantine())?.show(id)).await
    }

    async fn remove(&self, conn: &mut S::Conn, ids: &[Uuid]) -> Result<Vec<Uuid>> {
        let remove = offered(self.inner.in_quarantine())?.remove(conn, ids);
        self.plan.run(Operation::RemoveQuarantined, remove).await
    }

    async fn purge(&self, group: &ConsumerGroup, older_than: Duration, limit: BatchSize) -> Result<u64> {
        let purge = offered(self.inner.in_quarantine())?.purge(group, older_than, limit);
        self.plan.run(Operation::PurgeQuarantined, purge).await
    }
}

#[async_trait]
impl<E: Event, S: EventRepository<E>> RetentionPolicies<E> for Faulty<S> {
    async fn release_stale_locks(&self, older_than: Duration) -> Result<u64> {
        let retention = offered(self.inner.retention())?;
        self.plan.run(Operation::ReleaseStaleLocks, retention.release_stale_locks(older_than)).await
    }

    async fn cleanup_old_events(
        &self,
        retention: Duration,
        batch: BatchSize,
        max_iterations: u32,
    ) -> Result<u64> {
        let policies = offered(self.inner.retention())?;
        let cleanup = policies.cleanup_old_events(retention, batch, max_iterations);
        self.plan.run(Operation::CleanUp, cleanup).await
    }
}

#[async_trait]
impl<S: InboxRepository> Savepoints<S::Conn> for Faulty<S> {
    async fn start(&self, conn: &mut S::Conn) -> Result<()> {
        self.plan.run(Operation::StartSavepoint, offered(self.inner.savepoints())?.start(conn)).await
    }

    async fn advance(&self, conn: &mut S::Conn) -> Result<()> {
        self.plan.run(Operation::AdvanceSavepoint, offered(self.inner.savepoints())?.advance(conn)).await
    }

    async fn rollback(&self, conn: &mut S::Conn) -> Result<()> {
        self.plan.run(Operation::RollbackToSavepoint, offered(self.inner.savepoints())?.rollback(conn)).await
    }
}

#[async_trait]
impl<S: InboxRepository> SealedTransactions<Self> for Faulty<S> {
    async fn begin_sealed(&self, timeout: Duration) -> Result<S::Tx> {
        self.plan.note(Operation::BeginSealed);
        self.plan.run(Operation::Begin, offered(self.inner.sealed())?.begin_sealed(timeout)).await
    }

    async fn receive_completed(&self, conn: &mut S::Conn, events: &[&InboxEvent]) -> Result<Vec<Received>> {
        let sealed = offered(self.inner.sealed())?;
        self.plan.run(Operation::Receive, sealed.receive_completed(conn, events)).await
    }

    async fn set_back(&self, conn: &mut S::Conn, ids: &[EventId]) -> Result<()> {
        self.plan.run(Operation::SetBack, offered(self.inner.sealed())?.set_back(conn, ids)).await
    }
}

#[async_trait]
impl<S: OutboxRepository> OrderedLanes for Faulty<S> {
    async fn lease(&self, request: &LeaseRequest) -> Result<LaneShare> {
        self.plan.run(Operation::Lease, offered(self.inner.lanes())?.lease(request)).await
    }

    async fn release(&self, owner: OwnerId, leases: &[Lease]) -> Result<()> {
        self.plan.run(Operation::ReleaseLanes, offered(self.inner.lanes())?.release(owner, leases)).await
    }

    async fn leave(&self, owner: OwnerId) -> Result<()> {
        self.plan.run(Operation::Leave, offered(self.inner.lanes())?.leave(owner)).await
    }

    async fn fetch(
        &self,
        lanes: &[LaneRead],
        in_flight: &[EventId],
        resting: &[String],
        max_bytes: u64,
    ) -> Result<LaneFetch> {
        let fetch = offered(self.inner.lanes())?.fetch(lanes, in_flight, resting, max_bytes);
        self.plan.run(Operation::FetchLanes, fetch).await
    }

    async fn settle(&self, owner: OwnerId, leases: &[Lease], settlement: &LaneSettlement) -> Result<Settled> {
        let settle = offered(self.inner.lanes())?.settle(owner, leases, settlement);
        self.plan.run(Operation::SettleLanes, settle).await
    }

    async fn announce(&self, owner: OwnerId, leases: &[Lease], activity: Activity) -> Result<()> {
        let announce = offered(self.inner.lanes())?.announce(owner, leases, activity);
        self.plan.run(Operation::Announce, announce).await
    }
}
