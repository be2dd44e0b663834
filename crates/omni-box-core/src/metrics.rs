//! What is counted and measured. Every method does nothing by default.
//!
//! Gauges are told as changes (`by`), so that relays and runners that share one collector add up. A worker that ends, or whose future is
//! dropped, takes back what it has added. Methods are called from async code and must not block.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::message::TopicPartition;
use crate::store::DeliveryMode;

/// Declares a trait of metrics, whose methods do nothing, and the same behind an `Arc`.
macro_rules! metrics {
    (
        $(#[$about:meta])* $name:ident:
        $($(#[$doc:meta])* fn $method:ident(&self $(, $argument:ident: $type:ty)*);)*
    ) => {
        $(#[$about])*
        pub trait $name: Send + Sync + 'static {
            $($(#[$doc])* fn $method(&self $(, $argument: $type)*) { $(let _ = $argument;)* })*
        }

        /// Metrics that are shared, to be read elsewhere.
        impl<M: $name + ?Sized> $name for Arc<M> {
            $(fn $method(&self $(, $argument: $type)*) { self.as_ref().$method($($argument),*); })*
        }

        impl $name for NoMetrics {}
    };
}

metrics! {
    /// Measures of the outbox side.
    OutboxMetrics:

    /// A relay has learned the delivery mode of its table.
    fn delivery_mode(&self, mode: DeliveryMode);
    /// A fetch (or claim) took this many events; 0, if nothing was due.
    fn batch_locked(&self, events: usize);
    /// The broker answered about an event; `status` is `published`, `retried` or `failed`. One that a step completed is `skipped`. An event that was given back without an answer
    /// of its own is not counted.
    fn event_published(&self, event_type: &str, status: &'static str);
    /// The broker answered about an event of this topic this long after it was handed over; `status` as of [`event_published`](Self::event_published), which is
    /// told beside it.
    fn event_answered(&self, topic: &str, event_type: &str, status: &'static str, elapsed: Duration);
    /// The broker acknowledged an event this long after it was handed over. An event that failed is not measured.
    fn publish_duration(&self, event_type: &str, elapsed: Duration);
    /// The broker acknowledged an event this long after it was due. That is after the row's `created_at` or, of one that was scheduled or
    /// is tried again, its due time. It is the age by the database's clock when the event was read, and the time since by the process's
    /// own.
    fn publish_delay(&self, topic: &str, elapsed: Duration);
    /// The number of events between their fetch (or claim) and the record of their outcome changed by `by`. Only a relay tells it.
    fn events_in_flight(&self, by: i64);
    /// The number of lanes that a relay owns changed by `by`; in mode `rows` there are none.
    fn owned_lanes(&self, by: i64);
    /// A relay's gate before the `broker` or the `database` was closed by an outage, or opened.
    fn gate(&self, gate: &'static str, is_closed: bool);
    /// The broker acknowledged an event, or a fetch found nothing that is due.
    fn progressed(&self);
    /// A lease was lost to another relay.
    fn lease_lost(&self);
    /// An event failed and holds back its key until it is retried, or until an operator acts. Each such failure counts; an event without a
    /// key holds back none. `reason` is `retry` (the event's own failure), `topic` (its topic cannot be used), `rejected` (it waits for an
    /// operator) or `paused` (by a step).
    fn key_held(&self, reason: &'static str);
}

metrics! {
    /// Measures of the inbox side.
    InboxMetrics:

    /// A message was received.
    fn message_consumed(&self);
    /// A message of this topic was received by this group; told beside [`message_consumed`](Self::message_consumed).
    fn message_received(&self, consumer_group: &str, topic: &str);
    /// A message had been handled before.
    fn message_duplicate(&self);
    /// A message took effect; `status` is `completed`, `skipped`, `stale`, `retried` or `failed`.
    fn event_processed(&self, event_type: &str, status: &'static str);
    /// A message was quarantined. `reason` is `decode` (it could not be decoded), `conflict` (its id belongs to another message) or `invalid`
    /// (the inbox table does not take it).
    fn message_quarantined(&self, reason: &'static str);
    /// Offsets of this many messages were committed.
    fn messages_committed(&self, messages: usize);
    /// An offset commit failed.
    fn commit_failed(&self);
    /// The handler ran this long, however it ended.
    fn handler_duration(&self, event_type: &str, elapsed: Duration);
    /// The handler ran this long for a message of this topic, and succeeded or not; told beside [`handler_duration`](Self::handler_duration).
    fn message_handled(&self, consumer_group: &str, topic: &str, event_type: &str, is_success: bool, elapsed: Duration);
    /// A message's effect was committed this long after the message's timestamp, by the process's clock. A message without a timestamp, and
    /// a row that an earlier worker stored, are not measured.
    fn delivery_delay(&self, topic: &str, elapsed: Duration);
    /// A transaction was committed that took this many messages further: it stored, handled or gave them up.
    fn group_committed(&self, messages: usize);
    /// The number of partitions that are assigned to a runner changed by `by`.
    fn assigned_partitions(&self, by: i64);
    /// The number of messages in the memory of a runner, or of a worker of stored messages, changed by `by`.
    fn messages_in_flight(&self, by: i64);
    /// The offset before which everything of a partition is done stands still since `since`, although a message is behind it. `None`: there
    /// is none, or the partition was let go of.
    fn watermark(&self, consumer_group: &str, partition: &TopicPartition, since: Option<Instant>);
}

/// Counts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMetrics;
