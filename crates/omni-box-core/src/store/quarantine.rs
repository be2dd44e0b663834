//! Messages that are kept as raw bytes: what an operator, or a program of theirs, does with them.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::Result;
use crate::event::SourcePosition;
use crate::id::{BatchSize, ConsumerGroup, EventId};
use crate::message::{DecodeError, QuarantinedMessage};

/// A message in quarantine, without what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineEntry {
    /// What names it to the other calls.
    pub id: Uuid,
    /// The group that received it.
    pub consumer_group: ConsumerGroup,
    /// Where in the broker it came from.
    pub position: SourcePosition,
    /// The broker's timestamp.
    pub produced_at: Option<DateTime<Utc>>,
    /// Why it is here.
    pub error: String,
    /// How many bytes its value has; `None` is a tombstone.
    pub value_bytes: Option<u64>,
    /// When it was put into quarantine.
    pub kept_at: DateTime<Utc>,
}

/// Messages that are kept as raw bytes.
///
/// Every call may be made while consumers and workers run, and may be repeated. None touches the offsets of a group: they have moved on.
/// [`InboxExt::readmit`](super::InboxExt::readmit) decodes such messages again.
#[async_trait]
pub trait Quarantine<C>: Send + Sync {
    /// Returns what a group has in quarantine, in the order in which it came, behind `after`: the last one of the page before.
    ///
    /// - Found by an index of the group, in whatever depth.
    ///
    /// # Errors
    /// When the database fails.
    async fn list(
        &self,
        group: &ConsumerGroup,
        after: Option<&QuarantineEntry>,
        limit: BatchSize,
    ) -> Result<Vec<QuarantineEntry>>;

    /// Returns the message itself; `None`: it is not there (any more).
    ///
    /// # Errors
    /// When the database fails.
    async fn show(&self, id: Uuid) -> Result<Option<QuarantinedMessage>>;

    /// Takes messages out of quarantine, in the caller's transaction; returns those that were there, in any order.
    ///
    /// - A message is taken out by one transaction: of two at once the second waits, and finds it no more if the first commits.
    /// - A rollback leaves them where they were.
    ///
    /// # Errors
    /// [`NoTransaction`](crate::ErrorKind::NoTransaction) outside a transaction. When the database fails;
    /// [`Contention`](crate::ErrorKind::Contention) when the wait was too long.
    async fn remove(&self, conn: &mut C, ids: &[Uuid]) -> Result<Vec<Uuid>>;

    /// Deletes what has been in a group's quarantine for longer than `older_than`, the oldest first, at most `limit` messages; returns how
    /// many.
    ///
    /// # Errors
    /// When the database fails.
    async fn purge(&self, group: &ConsumerGroup, older_than: Duration, limit: BatchSize) -> Result<u64>;
}

/// What became of a message that was to be decoded again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readmission {
    /// It is in the inbox and pending, as this event. It has left the quarantine.
    Stored(EventId),
    /// The inbox has it already, as this event; nothing was changed there. It has left the quarantine.
    Known(EventId),
    /// Its id belongs to another message of the inbox. It stays in quarantine.
    Conflict,
    /// It cannot be decoded. It stays in quarantine.
    Refused(DecodeError),
    /// It is not in quarantine (any more).
    Missing,
}
