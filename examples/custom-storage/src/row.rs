//! Rows: what is stored of an event, as JSON, and where it stands in line.

use chrono::{DateTime, Utc};
use omni_box_core::{
    ConsumerGroup, Error, ErrorKind, Event, InboxEvent, LifecycleRecord, OutboxEvent, Result,
};
use serde::{Deserialize, Serialize};

/// What the two kinds of event differ in.
pub trait Kind: Event {
    /// The names of its tables.
    const TABLES: [&'static str; 4];
    /// What is stored once.
    fn identity(&self) -> Option<String>;
    /// Whose order is kept; without one, it is a key of its own.
    fn key(&self) -> Option<String>;
    /// Its place in that order; 0: that in which it was stored.
    fn offset(&self) -> i64;
}

impl Kind for OutboxEvent {
    const TABLES: [&'static str; 4] =
        ["outbox_events", "outbox_identities", "outbox_pending", "outbox_claims"];

    fn identity(&self) -> Option<String> {
        self.content().idempotency_key.clone()
    }

    fn key(&self) -> Option<String> {
        self.partition_key().map(|key| format!("{:?}", (self.topic(), key)))
    }

    fn offset(&self) -> i64 {
        0
    }
}

/// What a message is stored once by.
pub(crate) fn message_identity(group: &ConsumerGroup, message_id: &str) -> String {
    format!("{:?}", (group.as_str(), message_id))
}

impl Kind for InboxEvent {
    const TABLES: [&'static str; 4] = ["inbox_events", "inbox_identities", "inbox_pending", "inbox_claims"];

    fn identity(&self) -> Option<String> {
        Some(message_identity(self.consumer_group(), self.message_id()))
    }

    fn key(&self) -> Option<String> {
        let (group, at) = (self.consumer_group().as_str(), self.position()?);
        Some(format!("{:?}", (group, &at.topic, at.partition, self.partition_key(), self.raw_key())))
    }

    fn offset(&self) -> i64 {
        self.position().map_or(0, |at| at.offset)
    }
}

/// A row.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Row<E: Kind> {
    record: E::Record,
    pub(crate) life: LifecycleRecord,
    offset: i64,
    seq: u64,
    /// It was scheduled for later, and has not failed yet.
    deferred: bool,
}

impl Row<InboxEvent> {
    /// Makes it pending again, at the place of the message that was sent again.
    pub(crate) fn reopen(&mut self, again: &InboxEvent, now: DateTime<Utc>) {
        self.record.position = again.position().cloned();
        self.offset = again.offset();
        self.life.reopen(now);
    }
}

impl<E: Kind> Row<E> {
    pub(crate) fn new(event: &E, seq: u64, now: DateTime<Utc>) -> Self {
        let life = LifecycleRecord::stored(event.lifecycle(), now);
        let deferred = life.scheduled_at.is_some_and(|at| at > now);
        Self { record: event.record().clone(), life, offset: event.offset(), seq, deferred }
    }

    pub(crate) fn event(&self) -> E {
        E::restore(self.record.clone(), self.life.clone().into())
    }

    /// Where it stands: first what is in line, in the order of its key; then what joins at its time.
    pub(crate) fn place(&self) -> (bool, i64, u64) {
        let due = self.life.scheduled_at.map_or(0, |at| at.timestamp_micros());
        (self.deferred, if self.deferred { due } else { self.offset }, self.seq)
    }

    /// Changes its life. A failure puts what was deferred in line, where it holds its key until its retry; a claim does not, for it may be
    /// given back before the event is due.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut LifecycleRecord)) {
        change(&mut self.life);
        self.deferred &= self.life.last_error.is_none();
    }

    // serde's own errors may quote the payload

    pub(crate) fn from_json(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|_| Error::new(ErrorKind::Decode, "a row is none of this store"))
    }

    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|_| Error::new(ErrorKind::Internal, "a row cannot be written"))
    }
}
