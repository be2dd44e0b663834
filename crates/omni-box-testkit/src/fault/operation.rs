//! What can fail.

/// A call of a trait of `omni-box-core`, as a [`FaultPlan`](super::FaultPlan) counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operation {
    /// `Store::begin` and `Store::begin_handling`.
    Begin,
    /// `Store::commit`. Failed before it took effect, the transaction is rolled back.
    Commit,
    /// `Store::rollback`. The transaction is rolled back all the same.
    Rollback,
    /// `EventRepository::create`.
    Create,
    /// `EventRepository::create_many`.
    CreateMany,
    /// `EventRepository::get_by_id`.
    GetById,
    /// `EventRepository::fetch_pending`.
    FetchPending,
    /// `EventRepository::mark_processing`.
    MarkProcessing,
    /// `EventRepository::mark_completed`.
    MarkCompleted,
    /// `EventRepository::mark_failed`.
    MarkFailed,
    /// `BulkOperations::complete_many`.
    CompleteMany,
    /// `DistributedLocking::claim`.
    Claim,
    /// `DistributedLocking::refresh`.
    RefreshClaims,
    /// `DistributedLocking::release`.
    ReleaseClaims,
    /// `Breakers::admit`.
    AdmitByBreaker,
    /// `Breakers::report`.
    ReportToBreaker,
    /// `Inspection::sample`.
    Sample,
    /// `RetentionPolicies::release_stale_locks`.
    ReleaseStaleLocks,
    /// `RetentionPolicies::cleanup_old_events`.
    CleanUp,
    /// `DeadLetters::list`.
    ListFailed,
    /// `DeadLetters::list_uncopied`.
    ListUncopied,
    /// `DeadLetters::mark_copied`.
    MarkCopied,
    /// `DeadLetters::requeue`.
    Requeue,
    /// `DeadLetters::replay_as_new`.
    ReplayAsNew,
    /// `DeadLetters::purge`.
    PurgeFailed,
    /// `OutboxRepository::delivery_mode`.
    DeliveryMode,
    /// `OrderedLanes::lease`.
    Lease,
    /// `OrderedLanes::release`.
    ReleaseLanes,
    /// `OrderedLanes::leave`.
    Leave,
    /// `OrderedLanes::fetch`.
    FetchLanes,
    /// `OrderedLanes::settle`.
    SettleLanes,
    /// `OrderedLanes::announce`.
    Announce,
    /// `InboxRepository::receive`.
    Receive,
    /// `InboxRepository::by_message`.
    ByMessage,
    /// `InboxRepository::settle`.
    Settle,
    /// `InboxRepository::quarantine`.
    Quarantine,
    /// `Quarantine::list`.
    ListQuarantined,
    /// `Quarantine::show`.
    ShowQuarantined,
    /// `Quarantine::remove`.
    RemoveQuarantined,
    /// `Quarantine::purge`.
    PurgeQuarantined,
    /// `InboxRepository::pending_of`.
    PendingOf,
    /// `InboxRepository::attach`.
    Attach,
    /// `InboxRepository::detach`.
    Detach,
    /// `GroupMembers::join`.
    JoinGroup,
    /// `GroupMembers::leave`.
    LeaveGroup,
    /// `SealedTransactions::set_back`. Its `begin_sealed` counts as `Begin` too, its `receive_completed` as `Receive`.
    SetBack,
    /// `SealedTransactions::begin_sealed`; a fault for it happens as one for `Begin`.
    BeginSealed,
    /// `Savepoints::start`.
    StartSavepoint,
    /// `Savepoints::advance`.
    AdvanceSavepoint,
    /// `Savepoints::rollback`.
    RollbackToSavepoint,
    /// `EventPublisher::submit`, with all its events.
    Submit,
    /// One event of a `submit`.
    Deliver,
    /// `EventPublisher::purge`. It returns nothing, so that it can only be delayed and frozen.
    Purge,
    /// `EventPublisher::check`.
    Check,
    /// `EventConsumer::start`.
    Start,
    /// `EventConsumer::next_partition`. A partition is never dropped: what fails after the call fails before it instead.
    NextPartition,
    /// `EventConsumer::close`.
    Close,
    /// `AckHandle::commit`.
    Acknowledge,
    /// `AckHandle::rewind`.
    Rewind,
}

/// What a wrapped store offers only if its plan does not [hide](super::FaultPlan::hide) it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Capability {
    /// `InboxRepository::savepoints`.
    Savepoints,
    /// `InboxRepository::sealed`.
    Sealed,
    /// `EventRepository::locking`, of outbox and inbox.
    Locking,
    /// `EventRepository::retention`, of outbox and inbox.
    Retention,
    /// `EventRepository::dead_letters`, of outbox and inbox.
    DeadLetters,
    /// `Store::breakers`.
    Breakers,
}
