//! What a broker must promise: a publisher, a consumer, and acknowledgement.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::{ConsumerGroup, EventId, InboundMessage, OutboxEvent, Result, TopicPartition};

/// What a publisher keeps in order while several sends are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOrder {
    /// Events submitted in order arrive in order, however many are in flight: a failure that is not one event's own fails
    /// everything behind it too.
    Ordered,
    /// Nothing: the engine keeps at most one event per `(topic, partition_key)` in flight.
    OnePerKey,
}

/// The fate of one submitted event.
#[derive(Debug)]
pub struct DeliveryReport {
    /// Which event.
    pub id: EventId,
    /// `Ok`: the broker has it durably. `Err`: the error's [`class`](crate::Error::class) says what is done about it.
    pub result: Result<()>,
}

/// Where a publisher reports the fate of events. Cloning is cheap.
#[derive(Clone)]
pub struct Reporter(mpsc::UnboundedSender<DeliveryReport>);

impl Reporter {
    /// A reporter and the end where its reports come out.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<DeliveryReport>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Reports one event. A report that nobody waits for any more is dropped.
    pub fn report(&self, id: EventId, result: Result<()>) {
        // the receiver is gone once the engine has stopped: the event is published again by whoever comes next
        let _ = self.0.send(DeliveryReport { id, result });
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}

/// Sends events to a broker.
#[async_trait]
pub trait EventPublisher: Send + Sync + 'static {
    /// Says what order it keeps.
    fn send_order(&self) -> SendOrder {
        SendOrder::OnePerKey
    }

    /// Takes events in order and reports each exactly once.
    ///
    /// - Returns when all are taken, not when they are delivered; calls are made one after the other.
    /// - A full queue is waited for, it is no error.
    /// - Success is reported only for what the broker has durably.
    /// - After an error that is not one event's own ([`FailureClass::Infrastructure`](crate::FailureClass::Infrastructure) and not
    ///   [`TopicUnavailable`](crate::ErrorKind::TopicUnavailable)), everything not yet delivered is reported with that class too, and nothing of
    ///   it is sent later.
    /// - Waiting for a broker that is down is no error: the engine decides how long, and calls [`purge`](Self::purge).
    ///
    /// # Cancel safety
    /// When the future is dropped, some of the events may be sent without a report.
    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter);

    /// Gives up everything in flight: reports it as [`Unavailable`](crate::ErrorKind::Unavailable) or, if the answer came in
    /// time, with its result; afterwards nothing of it is sent. Ready for new events when it returns.
    async fn purge(&self);

    /// Asks the broker whether it can be used.
    ///
    /// # Errors
    /// While it cannot. The relay waits and asks again, unless waiting cannot help: [`Fatal`](crate::ErrorKind::Fatal) and errors of
    /// permanent class end it.
    async fn check(&self) -> Result<()>;
}

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
    /// When a commit failed; the messages come again to whoever is next.
    async fn close(&mut self) -> Result<()>;
}

/// A partition that was assigned, with its messages.
///
/// - Messages come in the order of the partition.
/// - The stream ends when the partition is revoked or lost: stop, acknowledge what is done, and drop the handle; the
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

/// Acknowledges messages of one assigned partition.
#[async_trait]
pub trait AckHandle: Send + Sync + fmt::Debug {
    /// Marks messages as done and commits the position up to which all delivered messages are done, in the order of delivery.
    ///
    /// - A message behind one that is not done is remembered, and never committed past it.
    /// - Returns when the broker has the position, or at once if it did not move.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) when the partition is not this consumer's any more; otherwise as the broker says. The marks stay, so the
    /// next call commits them too.
    async fn commit(&self, offsets: &[i64]) -> Result<()>;

    /// Delivers again from the first message that is not done, on a new stream; the old one ends.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) when the partition is not this consumer's any more.
    async fn rewind(&self) -> Result<mpsc::Receiver<InboundMessage>>;

    /// Whether the partition was lost or revoked: what is not finished yet is somebody else's soon.
    fn is_revoked(&self) -> bool;

    /// Resolves when the partition is lost to another owner already (not merely being revoked): work in progress must stop.
    async fn lost(&self);
}

/// Acknowledges nothing, for messages that did not come from a broker.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullAckHandle;

#[async_trait]
impl AckHandle for NullAckHandle {
    async fn commit(&self, _offsets: &[i64]) -> Result<()> {
        Ok(())
    }

    async fn rewind(&self) -> Result<mpsc::Receiver<InboundMessage>> {
        Err(crate::Error::new(
            crate::ErrorKind::Unsupported,
            "messages that come from no broker cannot be delivered again",
        ))
    }

    fn is_revoked(&self) -> bool {
        false
    }

    async fn lost(&self) {
        std::future::pending().await
    }
}
