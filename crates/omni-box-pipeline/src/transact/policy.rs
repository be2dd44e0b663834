//! When a message is acknowledged, and when it has a savepoint.

/// Most savepoints in one transaction that PostgreSQL keeps in its subtransaction cache (of 64, with some to spare for handlers).
pub(crate) const MAX_SAVEPOINTS: usize = 60;

/// Most messages in one transaction.
pub(crate) const MAX_GROUP: usize = 1000;

/// Whether each message of a group has a savepoint.
///
/// ```
/// use omni_box_core::{ConsumerGroup, InboxContext};
/// use omni_box_pipeline::{InboxConsumerRunner, SavepointPolicy, on};
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// async fn charge(_cx: InboxContext<'_, MemoryStore>) {} // calls another service: it should not run again because of another message
///
/// let consumer = MemoryBroker::new().consumer(&ConsumerGroup::new("payments")?, ["orders"]);
/// let runner = InboxConsumerRunner::builder(consumer, MemoryStore::new())
///     .handler(on("order.placed", charge))
///     .savepoints(SavepointPolicy::EveryMessage)
///     .build()?;
/// # drop(runner);
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SavepointPolicy {
    /// After a failure, until all messages of a group have succeeded; before that, none has. A failure in a group without savepoints
    /// rolls the group back, and its handlers run again with savepoints; attempts are charged only then.
    ///
    /// A group of one message always has its savepoint, as have all of a store without
    /// [`sealed`](omni_box_core::InboxRepository::sealed) and of [`AtMostOnce`](AckStrategy::AtMostOnce).
    #[default]
    AfterFailure,
    /// Always: an error of one handler makes no other one run again.
    EveryMessage,
}

/// What is promised about a message's effect.
///
/// ```
/// use omni_box_core::{ConsumerGroup, InboxContext, Result};
/// use omni_box_pipeline::{AckStrategy, InboxConsumerRunner, on};
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// async fn show(_cx: InboxContext<'_, MemoryStore>) {} // a dashboard: a value that is lost is replaced by the next
///
/// # fn build() -> Result<()> {
/// let consumer = MemoryBroker::new().consumer(&ConsumerGroup::new("dashboard")?, ["rates"]);
/// let runner = InboxConsumerRunner::builder(consumer, MemoryStore::new())
///     .handler(on("rate.changed", show))
///     .ack_strategy(AckStrategy::AtMostOnce)
///     .build()?;
/// # drop(runner);
/// # Ok(())
/// # }
/// # build().unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AckStrategy {
    /// Acknowledged before it is handled: a crash may cost the message. A failure is stored as failed at once and never tried again by
    /// itself. A transaction that was rolled back as a whole, by a deadlock or an outage, is run again while the process lives. It had no
    /// effect.
    AtMostOnce,
    /// Acknowledged after its effect. When it is delivered again, the handler runs again.
    AtLeastOnce,
    /// Acknowledged after its effect. When it is delivered again, the inbox row says so and the handler does not run.
    #[default]
    ExactlyOnceInbox,
}

/// When a message's offset is committed. [`AckStrategy::AtMostOnce`] commits before either.
///
/// ```
/// use omni_box_core::{ConsumerGroup, InboxContext, Result};
/// use omni_box_pipeline::{CommitOffsetPolicy, InboxConsumerRunner, on};
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
///
/// # fn build() -> Result<()> {
/// // a handler that fails for days does not keep the topic's offsets back
/// let consumer = MemoryBroker::new().consumer(&ConsumerGroup::new("shipping")?, ["orders"]);
/// let runner = InboxConsumerRunner::builder(consumer, MemoryStore::new())
///     .handler(on("order.placed", ship))
///     .commit_offset_policy(CommitOffsetPolicy::OnPersist)
///     .build()?;
/// # drop(runner);
/// # Ok(())
/// # }
/// # build().unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CommitOffsetPolicy {
    /// When its inbox row is stored; it is handled afterwards, by a later process if need be.
    OnPersist,
    /// When it took effect or was given up.
    #[default]
    OnSuccess,
}

/// What happens to the offset of a message that has failed for good, under [`AckStrategy::ExactlyOnceInbox`] and
/// [`CommitOffsetPolicy::OnSuccess`].
///
/// ```
/// use omni_box_core::{ConsumerGroup, InboxContext, Result};
/// use omni_box_pipeline::{InboxConsumerRunner, OnFailed, on};
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// async fn book(_cx: InboxContext<'_, MemoryStore>) {} // no later booking of an account may pass one that failed
///
/// # fn build() -> Result<()> {
/// let consumer = MemoryBroker::new().consumer(&ConsumerGroup::new("ledger")?, ["bookings"]);
/// let runner = InboxConsumerRunner::builder(consumer, MemoryStore::new())
///     .handler(on("booking.made", book))
///     .on_failed(OnFailed::Hold)
///     .build()?;
/// # drop(runner);
/// # Ok(())
/// # }
/// # build().unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailed {
    /// It is committed: the row is the dead letter, its key moves on.
    #[default]
    Commit,
    /// It is not committed, and the message's key waits until an operator requeues or completes the row.
    Hold,
}
