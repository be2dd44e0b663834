//! What a group of messages is handled with: database, handler and settings.

use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    ConsumerGroup, InboxEvent, InboxHandler, InboxMetrics, InboxRepository, RetryPolicy, WorkerId,
};

use super::database::Database;
use super::letters::Letters;
use super::observer::Observer;
use super::policy::{AckStrategy, CommitOffsetPolicy, MAX_SAVEPOINTS, OnFailed, SavepointPolicy};
use super::running::Running;
use crate::status::InboxStatus;
use crate::step::Steps;

/// Database, handler and settings of one worker, shared by all its transactions.
pub(crate) struct Context<S: InboxRepository> {
    pub(crate) database: Database<S>,
    pub(crate) handler: Option<Arc<dyn InboxHandler<S>>>,
    pub(crate) group: ConsumerGroup,
    pub(crate) worker: WorkerId,
    pub(crate) strategy: AckStrategy,
    pub(crate) policy: CommitOffsetPolicy,
    pub(crate) on_failed: OnFailed,
    pub(crate) process_timeout: Duration,
    /// The handlers that run now.
    pub(crate) running: Arc<Running>,
    pub(crate) group_size: usize,
    pub(crate) savepoints: SavepointPolicy,
    pub(crate) retry: RetryPolicy,
    /// For a database or broker that is down, and for contention.
    pub(crate) outage_retry: RetryPolicy,
    pub(crate) metrics: Arc<dyn InboxMetrics>,
    /// What the worker says of itself.
    pub(crate) status: InboxStatus,
    /// Where messages go that are given up, in the same transaction.
    pub(crate) letters: Option<Arc<dyn Letters<S>>>,
    /// What is asked before each handler.
    pub(crate) steps: Steps<InboxEvent>,
    /// Whether rows are claimed: what no claim holds may be another worker's at any time.
    pub(crate) has_claims: bool,
}

impl<S: InboxRepository> Context<S> {
    /// What tells the metrics and the status; nothing else does.
    pub(crate) fn observer(&self) -> Observer<'_> {
        Observer::new(&self.metrics, &self.status)
    }

    /// For how long a message is left alone by others, once its attempt is counted: that ends its claim. A claim would not end earlier, since
    /// it outlives the handler's time.
    pub(crate) fn started_for(&self) -> Duration {
        if self.has_claims { self.process_timeout } else { Duration::ZERO }
    }

    /// Whether offsets are committed before anything else.
    pub(crate) fn acks_first(&self) -> bool {
        self.strategy == AckStrategy::AtMostOnce
    }

    /// Whether messages are stored in a transaction of their own before they are handled.
    pub(crate) fn persists_first(&self) -> bool {
        let on_persist = self.policy == CommitOffsetPolicy::OnPersist && !self.acks_first();
        self.handler.is_none() || on_persist
    }

    /// Whether a message that failed for good keeps its offset back; one that is acknowledged when it is stored has none to keep.
    pub(crate) fn holds_failed(&self) -> bool {
        let is_exactly_once = self.strategy == AckStrategy::ExactlyOnceInbox;
        is_exactly_once && !self.persists_first() && self.on_failed == OnFailed::Hold
    }

    /// Most messages in one transaction.
    pub(crate) fn group_size(&self) -> usize {
        if self.may_seal() { self.group_size } else { self.marked_group_size() }
    }

    /// Most messages in a transaction in which each has a savepoint.
    pub(crate) fn marked_group_size(&self) -> usize {
        if self.database.has_savepoints() { self.group_size.min(MAX_SAVEPOINTS) } else { 1 }
    }

    /// Whether groups may go without savepoints. What was acknowledged first must not run again because a neighbour failed.
    pub(crate) fn may_seal(&self) -> bool {
        self.savepoints == SavepointPolicy::AfterFailure && !self.acks_first() && self.database.has_seals()
    }
}
