//! The inbox table: receive, settle, quarantine.

use std::future::{Future, ready};
use std::time::Duration;

use async_trait::async_trait;

use super::{EventRepository, GroupMembers, Quarantine, Savepoints, Store};
use crate::error::Result;
use crate::event::{ClaimToken, Event, EventStatus, Failure, InboxEvent};
use crate::id::{ConsumerGroup, EventId};
use crate::message::{QuarantinedMessage, TopicPartition};

/// What the inbox knows of a message, once its row is locked.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    /// It was not there; now it is, and pending.
    New,
    /// It is there and pending.
    Pending {
        /// The row.
        event: InboxEvent,
        /// How long until its next attempt is due, by the database's clock; years, if it waits for an operator.
        wait: Duration,
    },
    /// It took effect before.
    Completed(InboxEvent),
    /// It was given up before.
    Failed(InboxEvent),
    /// The id belongs to another message: source, type or value differ. Where either has no digest (a foreign writer stores none), nothing
    /// tells another message from a repeat, and it is a repeat.
    Conflict(InboxEvent),
}

impl Received {
    /// What a row that is there already says of a message with its id and group. `wait` is how long until the row's next attempt is
    /// due, by the database's clock.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use omni_box_core::{
    ///     ConsumerGroup, EventContent, NewInboxEvent, OmniBoxDomainService, Payload, Received,
    /// };
    ///
    /// let domain = OmniBoxDomainService::default();
    /// let content = EventContent::new("order.placed", Payload::from_text(r#"{"order": 1}"#)?);
    /// let new = NewInboxEvent::new("message-1", ConsumerGroup::new("shipping")?, "shop", content);
    /// let mut row = domain.create_inbox_event(new)?;
    /// let repeat = row.clone();
    ///
    /// let wait = Duration::from_secs(5);
    /// let pending = Received::of(row.clone(), &repeat, wait);
    /// assert_eq!(pending, Received::Pending { event: row.clone(), wait });
    ///
    /// domain.mark_completed(&mut row)?;
    /// assert_eq!(Received::of(row.clone(), &repeat, Duration::ZERO), Received::Completed(row));
    /// # Ok::<(), omni_box_core::Error>(())
    /// ```
    pub fn of(row: InboxEvent, message: &InboxEvent, wait: Duration) -> Self {
        if row.conflicts_with(message) {
            return Self::Conflict(row);
        }
        match row.status() {
            EventStatus::Pending => Self::Pending { event: row, wait },
            EventStatus::Completed => Self::Completed(row),
            EventStatus::Failed => Self::Failed(row),
        }
    }
}

/// Outcomes of a group of messages.
#[derive(Debug, Clone, Default)]
pub struct InboxSettlement {
    /// Took effect.
    pub completed: Vec<EventId>,
    /// Did not.
    pub failures: Vec<(EventId, Failure)>,
}

impl InboxSettlement {
    /// All outcomes, those that took effect first.
    pub fn outcomes(&self) -> impl Iterator<Item = (EventId, Option<&Failure>)> {
        let completed = self.completed.iter().map(|id| (*id, None));
        completed.chain(self.failures.iter().map(|(id, failure)| (*id, Some(failure))))
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.completed.is_empty() && self.failures.is_empty()
    }
}

/// How a partition's last owner ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionEnd {
    /// It detached, or there was none.
    Clean,
    /// It never detached: a message may have ended the process.
    Unclean,
}

/// A store of inbox events.
pub trait InboxRepository: EventRepository<InboxEvent> {
    /// Inserts each message or locks its row, and says what is known of it, in the order given.
    ///
    /// - The rows stay locked until the transaction ends: of two owners of one partition, one waits.
    /// - `events` holds no message id twice.
    /// - A message is stored as it was given, the payload's text to the byte, once in its group.
    /// - A message that was given up and [is sent again](InboxEvent::is_sent_again_by) is [`Pending`](Received::Pending): due at once, with
    ///   all its attempts. The row has its new position.
    ///
    /// # Errors
    /// [`NoTransaction`](crate::ErrorKind::NoTransaction) outside a transaction. When the database fails;
    /// [`Contention`](crate::ErrorKind::Contention) when the locks could not be had.
    fn receive(
        &self,
        conn: &mut Self::Conn,
        events: &[InboxEvent],
    ) -> impl Future<Output = Result<Vec<Received>>> + Send;

    /// Looks a message up by its id within its group.
    ///
    /// # Errors
    /// Only when the database fails; an unknown message is `None`.
    fn by_message(
        &self,
        conn: &mut Self::Conn,
        message_id: &str,
        group: &ConsumerGroup,
    ) -> impl Future<Output = Result<Option<InboxEvent>>> + Send;

    /// Writes outcomes of rows that this transaction has locked.
    ///
    /// - Changes pending rows only.
    /// - `attempts_made` changes as [`Attempt`](crate::Attempt) says, and stays within 0 and the maximum.
    /// - The status becomes `failed` by [`Retry::Never`](crate::Retry::Never) only, however many attempts are left.
    /// - The claim of a row ends with its outcome, whichever token has it: a worker of stored rows has claimed them before.
    ///
    /// # Errors
    /// [`NoTransaction`](crate::ErrorKind::NoTransaction) outside a transaction. When the database fails.
    fn settle(
        &self,
        conn: &mut Self::Conn,
        settlement: &InboxSettlement,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Keeps messages as raw bytes with the reason.
    ///
    /// - The same message again (its group, topic, partition, offset, key, headers, value and time) changes nothing.
    /// - Another message at the same place, as after a topic was deleted and created, is kept too.
    ///
    /// # Errors
    /// [`NoTransaction`](crate::ErrorKind::NoTransaction) outside a transaction. When the database fails.
    fn quarantine(
        &self,
        conn: &mut Self::Conn,
        messages: &[QuarantinedMessage],
    ) -> impl Future<Output = Result<()>> + Send;

    /// Pending rows of a partition, in the order of their offsets, behind the offset `after`; those that were stored first and wait to be handled.
    /// Also those whose next attempt is not due: they hold what follows them.
    ///
    /// # Errors
    /// When the database fails.
    fn pending_of(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        after: Option<i64>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<InboxEvent>>> + Send;

    /// Notes that an owner begins with a partition, and tells how the one before it ended. A store that keeps no such notes says
    /// [`Clean`](PartitionEnd::Clean), and finds no message that ends its process.
    ///
    /// - `owner` is another one each time a partition is assigned.
    ///
    /// # Errors
    /// When the database fails.
    fn attach(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> impl Future<Output = Result<PartitionEnd>> + Send {
        let _ = (group, partition, owner);
        ready(Ok(PartitionEnd::Clean))
    }

    /// Notes that an owner has ended with a partition in good order.
    ///
    /// - Changes nothing when another one has attached since: that one's end is still open.
    ///
    /// # Errors
    /// When the database fails.
    fn detach(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = (group, partition, owner);
        ready(Ok(()))
    }

    /// What is in quarantine: listed, taken out and deleted.
    fn in_quarantine(&self) -> Option<&dyn Quarantine<Self::Conn>> {
        None
    }

    /// Who handles the messages of a group, in all processes. Without it, a runner with a handler beside workers of stored messages is
    /// refused within one process only.
    fn members(&self) -> Option<&dyn GroupMembers> {
        None
    }

    /// Savepoints; without them each message has a transaction of its own.
    fn savepoints(&self) -> Option<&dyn Savepoints<Self::Conn>> {
        None
    }

    /// Transactions that handlers cannot end; without them each message of a group has a savepoint.
    fn sealed(&self) -> Option<&dyn SealedTransactions<Self>> {
        None
    }
}

/// Transactions in which handlers run one after the other without a savepoint for each. The engine uses one while messages succeed: it
/// commits if all its handlers have succeeded, and is rolled back otherwise, as a whole.
///
/// No statement tells between two handlers whether the transaction is still open, so that a handler must not be able to end it. What is new
/// can be stored as completed at once. It becomes visible with the effect, or not at all.
#[async_trait]
pub trait SealedTransactions<S: Store>: Send + Sync {
    /// Opens a transaction as [`Store::begin_handling`] does, and seals it.
    ///
    /// - A statement on its connection that would commit it, or begin another one, does not: what was written in it is undone.
    /// - Nothing lasts that is written on the connection behind a statement that has ended it.
    /// - [`Store::commit`] breaks the seal. It fails with [`NoTransaction`](crate::ErrorKind::NoTransaction) where a statement has ended the
    ///   transaction, and with another error where a statement has failed and was not undone.
    ///
    /// # Errors
    /// As [`Store::begin_handling`].
    async fn begin_sealed(&self, timeout: Duration) -> Result<S::Tx>;

    /// Receives messages as [`InboxRepository::receive`] does, but for the new ones: they are stored as
    /// completed. For sealed transactions only: in any other one a handler could commit messages that no handler has seen.
    ///
    /// # Errors
    /// As [`InboxRepository::receive`].
    async fn receive_completed(&self, conn: &mut S::Conn, events: &[&InboxEvent]) -> Result<Vec<Received>>;

    /// Makes messages pending that this transaction has stored as completed, and leaves for later. Their rows are as
    /// [`InboxRepository::receive`] would have stored them.
    ///
    /// # Errors
    /// When the database fails. A message that stays completed would be lost: the engine rolls back.
    async fn set_back(&self, conn: &mut S::Conn, ids: &[EventId]) -> Result<()>;
}
