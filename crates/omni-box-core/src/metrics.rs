//! What is counted and measured. Every method does nothing by default.

use std::sync::Arc;
use std::time::Duration;

/// Measures of the outbox side.
pub trait OutboxMetrics: Send + Sync + 'static {
    /// A batch of this many events was taken.
    fn batch_locked(&self, _events: usize) {}
    /// The broker answered about an event; `status` is `published`, `retried` or `failed`. An event that was given back without an answer
    /// of its own is not counted.
    fn event_published(&self, _event_type: &str, _status: &'static str) {}
    /// The broker acknowledged an event this long after it was handed over. An event that failed is not measured.
    fn publish_duration(&self, _event_type: &str, _elapsed: Duration) {}
    /// A lease was lost to another relay.
    fn lease_lost(&self) {}
    /// An event failed and holds back its key until it is retried, or until an operator acts. Each such failure counts; an event without a
    /// key holds back none.
    fn key_held(&self) {}
}

/// Measures of the inbox side.
pub trait InboxMetrics: Send + Sync + 'static {
    /// A message was received.
    fn message_consumed(&self) {}
    /// A message had been handled before.
    fn message_duplicate(&self) {}
    /// A message took effect; `status` is `completed`, `skipped`, `stale`, `retried` or `failed`.
    fn event_processed(&self, _event_type: &str, _status: &'static str) {}
    /// A message was quarantined.
    fn message_quarantined(&self) {}
    /// Offsets of this many messages were committed.
    fn messages_committed(&self, _messages: usize) {}
    /// An offset commit failed.
    fn commit_failed(&self) {}
    /// The handler ran this long.
    fn handler_duration(&self, _event_type: &str, _elapsed: Duration) {}
}

/// Counts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMetrics;

impl OutboxMetrics for NoMetrics {}
impl InboxMetrics for NoMetrics {}

/// Metrics that are shared, to be read elsewhere.
impl<M: OutboxMetrics + ?Sized> OutboxMetrics for Arc<M> {
    fn batch_locked(&self, events: usize) {
        self.as_ref().batch_locked(events);
    }

    fn event_published(&self, event_type: &str, status: &'static str) {
        self.as_ref().event_published(event_type, status);
    }

    fn publish_duration(&self, event_type: &str, elapsed: Duration) {
        self.as_ref().publish_duration(event_type, elapsed);
    }

    fn lease_lost(&self) {
        self.as_ref().lease_lost();
    }

    fn key_held(&self) {
        self.as_ref().key_held();
    }
}

/// Metrics that are shared, to be read elsewhere.
impl<M: InboxMetrics + ?Sized> InboxMetrics for Arc<M> {
    fn message_consumed(&self) {
        self.as_ref().message_consumed();
    }

    fn message_duplicate(&self) {
        self.as_ref().message_duplicate();
    }

    fn event_processed(&self, event_type: &str, status: &'static str) {
        self.as_ref().event_processed(event_type, status);
    }

    fn message_quarantined(&self) {
        self.as_ref().message_quarantined();
    }

    fn messages_committed(&self, messages: usize) {
        self.as_ref().messages_committed(messages);
    }

    fn commit_failed(&self) {
        self.as_ref().commit_failed();
    }

    fn handler_duration(&self, event_type: &str, elapsed: Duration) {
        self.as_ref().handler_duration(event_type, elapsed);
    }
}
