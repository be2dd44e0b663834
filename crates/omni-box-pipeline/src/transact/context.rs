//! What a group of messages is handled with: store, handler and settings.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use omni_box_core::{
    ConsumerGroup, Error, InboxHandler, InboxMetrics, InboxRepository, RetryPolicy, WorkerId,
};

use super::policy::{AckStrategy, CommitOffsetPolicy, OnFailed};
use crate::gate::Gate;

/// Store, handler and settings of one worker, shared by all its transactions.
pub(crate) struct Context<S: InboxRepository> {
    pub(crate) store: S,
    pub(crate) handler: Option<Arc<dyn InboxHandler<S>>>,
    pub(crate) group: ConsumerGroup,
    pub(crate) worker: WorkerId,
    pub(crate) strategy: AckStrategy,
    pub(crate) policy: CommitOffsetPolicy,
    pub(crate) on_failed: OnFailed,
    pub(crate) process_timeout: Duration,
    pub(crate) group_size: usize,
    pub(crate) retry: RetryPolicy,
    /// For a database or broker that is down, and for contention.
    pub(crate) outage_retry: RetryPolicy,
    pub(crate) metrics: Arc<dyn InboxMetrics>,
    /// The gate before the database.
    pub(crate) database: Arc<Mutex<Gate>>,
}

impl<S: InboxRepository> Context<S> {
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
        if self.store.savepoints().is_some() { self.group_size } else { 1 }
    }

    /// Notes that the database failed; says how long to wait.
    pub(crate) fn close_database(&self, error: &Error) -> Duration {
        self.gate().close(error)
    }

    /// Notes that the database works.
    pub(crate) fn open_database(&self) {
        self.gate().open();
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        // a gate is a counter: whatever state a panic left it in is a good one
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
