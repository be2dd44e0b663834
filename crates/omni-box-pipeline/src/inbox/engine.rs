//! What all partitions of a runner share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use omni_box_core::{
    ConsumerGroup, Error, InboxHandler, InboxMetrics, InboxRepository, MessageDecoder, RetryPolicy, WorkerId,
};
use tokio::sync::Semaphore;

use super::policy::{AckStrategy, CommitOffsetPolicy, OnFailed};
use crate::gate::Gate;

/// Settings and shared parts of one runner.
pub(super) struct Engine<S: InboxRepository> {
    pub(super) store: S,
    pub(super) handler: Option<Arc<dyn InboxHandler<S>>>,
    pub(super) decoder: Arc<dyn MessageDecoder>,
    pub(super) group: ConsumerGroup,
    pub(super) worker: WorkerId,
    pub(super) strategy: AckStrategy,
    pub(super) policy: CommitOffsetPolicy,
    pub(super) on_failed: OnFailed,
    pub(super) process_timeout: Duration,
    pub(super) drain_deadline: Duration,
    pub(super) group_size: usize,
    pub(super) window: usize,
    pub(super) retry: RetryPolicy,
    /// For a database or broker that is down, and for contention.
    pub(super) outage_retry: RetryPolicy,
    pub(super) metrics: Arc<dyn InboxMetrics>,
    /// How many partitions work in the database at once.
    pub(super) permits: Semaphore,
    pub(super) database: Mutex<Gate>,
}

impl<S: InboxRepository> Engine<S> {
    /// Whether offsets are committed before anything else.
    pub(super) fn acks_first(&self) -> bool {
        self.strategy == AckStrategy::AtMostOnce
    }

    /// Whether messages are stored in a transaction of their own before they are handled.
    pub(super) fn persists_first(&self) -> bool {
        let on_persist = self.policy == CommitOffsetPolicy::OnPersist && !self.acks_first();
        self.handler.is_none() || on_persist
    }

    /// Whether a message that failed for good keeps its offset back; one that is acknowledged when it is stored has none to keep.
    pub(super) fn holds_failed(&self) -> bool {
        let is_exactly_once = self.strategy == AckStrategy::ExactlyOnceInbox;
        is_exactly_once && !self.persists_first() && self.on_failed == OnFailed::Hold
    }

    /// Most messages in one transaction.
    pub(super) fn group_size(&self) -> usize {
        if self.store.savepoints().is_some() { self.group_size } else { 1 }
    }

    /// Notes that the database failed; says how long to wait.
    pub(super) fn close_database(&self, error: &Error) -> Duration {
        self.gate().close(error)
    }

    /// Notes that the database works.
    pub(super) fn open_database(&self) {
        self.gate().open();
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        // a gate is a counter: whatever state a panic left it in is a good one
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
