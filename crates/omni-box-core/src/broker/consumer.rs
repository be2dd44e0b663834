//! How messages are received.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::AckHandle;
use crate::error::{Error, Result};
use crate::id::ConsumerGroup;
use crate::message::{InboundMessage, TopicPartition};

/// Takes a consumer out of its group, and tells it why; see [`EventConsumer::leaver`].
pub type Leaver = Box<dyn Fn(Error) + Send + Sync>;

/// Receives messages of the partitions that are assigned to it.
#[async_trait]
pub trait EventConsumer: Send + 'static {
    /// The group that the consumer joins; `None` if it has no group of its own.
    ///
    /// - It is the same before and after [`start`](Self::start).
    /// - The inbox runner takes it as the scope of deduplication, and refuses a different one.
    fn consumer_group(&self) -> Option<&ConsumerGroup> {
        None
    }

    /// How long a partition's handle may be kept after the partition was revoked; `None` if the consumer sets no limit of its own.
    ///
    /// - The consumer waits for a handle at least that long, in [`close`](Self::close) too.
    /// - The inbox runner drains within this time, and refuses a different one.
    fn drain_deadline(&self) -> Option<Duration> {
        None
    }

    /// What takes this consumer out of its group without its help: for a process whose handlers or runtime stand still. `None`, which is the
    /// default, before [`start`](Self::start), and of a consumer that cannot be taken out.
    ///
    /// - Its partitions are lost, as if its session had ended, and go to other members.
    /// - [`next_partition`](Self::next_partition) returns the error that it was called with.
    /// - It may be called from any thread, and returns at once.
    fn leaver(&self) -> Option<Leaver> {
        None
    }

    /// Joins its group. Calling it again does nothing.
    ///
    /// # Errors
    /// When settings are wrong; a broker that is down is waited for instead.
    async fn start(&mut self) -> Result<()>;

    /// Waits for the next partition that is assigned to this consumer; `None` after [`close`](Self::close).
    ///
    /// - A partition that was taken away and given back comes again, with a new stream.
    /// - Delivery starts behind the group's committed offset, or at the topic's beginning if there is none.
    ///
    /// # Errors
    /// When the consumer cannot go on, such as [`Unauthorized`](crate::ErrorKind::Unauthorized); a broker that is down is waited for.
    ///
    /// # Cancel safety
    /// Dropping the future loses no partition.
    async fn next_partition(&mut self) -> Result<Option<AssignedPartition>>;

    /// Leaves the group: every stream ends, what was acknowledged is committed, partitions go to others at once. Waits for the
    /// partitions' handles to be dropped, with the consumer's own drain deadline.
    ///
    /// # Errors
    /// When a commit failed; the next owner of the partition receives the messages again.
    async fn close(&mut self) -> Result<()>;
}

/// A partition that was assigned, with its messages.
///
/// - Messages come in the order of the partition.
/// - The stream ends when the partition is revoked or lost: stop, acknowledge what is done, and drop the handle. The
///   partition goes to its next owner when the handle is dropped or the consumer's drain deadline has passed.
/// - Not reading is backpressure: the consumer pauses the partition.
#[derive(Debug)]
pub struct AssignedPartition {
    /// Which partition.
    pub partition: TopicPartition,
    /// Its messages.
    pub messages: mpsc::Receiver<InboundMessage>,
    /// How they are acknowledged.
    pub ack: Box<dyn AckHandle>,
}

/// A consumer behind a pointer, so that a program can choose one when it runs.
#[async_trait]
impl<C: EventConsumer + ?Sized> EventConsumer for Box<C> {
    fn consumer_group(&self) -> Option<&ConsumerGroup> {
        C::consumer_group(self)
    }

    fn drain_deadline(&self) -> Option<Duration> {
        C::drain_deadline(self)
    }

    fn leaver(&self) -> Option<Leaver> {
        C::leaver(self)
    }

    async fn start(&mut self) -> Result<()> {
        C::start(self).await
    }

    async fn next_partition(&mut self) -> Result<Option<AssignedPartition>> {
        C::next_partition(self).await
    }

    async fn close(&mut self) -> Result<()> {
        C::close(self).await
    }
}
