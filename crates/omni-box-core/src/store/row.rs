//! A row of a store without columns: what it keeps of an event, and where the event stands in line.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Received;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{ClaimToken, Event, EventStatus, Failure, InboxEvent, LifecycleRecord, Mark};
use crate::id::ConsumerGroup;
use crate::message::TopicPartition;

/// What a store without columns (a key-value store, documents) keeps of an event. [`to_json`](Self::to_json) is the row, and
/// [`place`](Self::place) orders the pending ones.
///
/// ```
/// use chrono::{TimeDelta, Utc};
/// use omni_box_core::store::EventRow;
/// use omni_box_core::{Event, NewOutboxEvent, OmniBoxDomainService, OutboxEvent};
///
/// let (domain, now) = (OmniBoxDomainService::default(), Utc::now());
/// let order = || NewOutboxEvent::from_json("order.placed", "orders", r#"{"order": 7}"#);
/// let tomorrow = now + TimeDelta::days(1);
/// let later = EventRow::new(&domain.create_outbox_event(order().scheduled_at(tomorrow))?, 1, now);
/// let plain = EventRow::new(&domain.create_outbox_event(order())?, 2, now);
/// assert!(plain.place() < later.place(), "what is scheduled for later stands behind the line");
///
/// let read: EventRow<OutboxEvent> = EventRow::from_json(&plain.to_json()?)?;
/// assert_eq!(read.event(), plain.event());
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct EventRow<E: Event> {
    record: E::Record,
    life: LifecycleRecord,
    /// That of its event.
    offset: i64,
    seq: i64,
    /// It was scheduled for later, and has not failed yet.
    deferred: bool,
}

impl<E: Event> EventRow<E> {
    /// The row of an event that is stored now, by the store's clock. `seq` counts what was stored in its table.
    pub fn new(event: &E, seq: i64, now: DateTime<Utc>) -> Self {
        let life = LifecycleRecord::stored(event.lifecycle(), now);
        let deferred = life.scheduled_at.is_some_and(|at| at > now);
        Self { record: event.record().clone(), life, offset: event.offset(), seq, deferred }
    }

    /// The event as it is stored.
    pub fn event(&self) -> E {
        E::restore(self.record.clone(), self.life.clone().into())
    }

    /// Its columns, its life apart.
    pub fn record(&self) -> &E::Record {
        &self.record
    }

    /// Its life.
    pub fn life(&self) -> &LifecycleRecord {
        &self.life
    }

    /// Its number in its table.
    pub fn seq(&self) -> i64 {
        self.seq
    }

    /// Whether it is pending.
    pub fn is_pending(&self) -> bool {
        self.life.status == EventStatus::Pending
    }

    /// Whether its next attempt is due.
    pub fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.life.scheduled_at.is_none_or(|at| at <= now)
    }

    /// Where it stands among the pending rows of its table. First comes what is in line, by its offset and its number. Behind it comes what
    /// was scheduled for later, by its time in microseconds: it holds no key before that. [`Due`](super::Due) takes rows in this order.
    pub fn place(&self) -> (bool, i64, i64) {
        let due = self.life.scheduled_at.map_or(0, |at| at.timestamp_micros());
        (self.deferred, if self.deferred { due } else { self.offset }, self.seq)
    }

    /// Changes its life. A failure puts what was scheduled for later in line, where it holds its key until its retry. A claim does not, for
    /// it may be given back before the event is due.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut LifecycleRecord) -> T) -> T {
        let changed = change(&mut self.life);
        self.deferred &= self.life.last_error.is_none();
        changed
    }

    /// Changes it as the mark of a token says; `false`: nothing was changed. See [`Mark`].
    #[must_use]
    pub fn mark(&mut self, mark: &Mark, token: &ClaimToken, now: DateTime<Utc>) -> bool {
        self.change(|life| life.mark(mark, token, now))
    }

    /// Completes it, or records its failure, if it is pending; `false`: nothing was changed.
    #[must_use]
    pub fn settle(&mut self, failure: Option<&Failure>, now: DateTime<Utc>) -> bool {
        self.change(|life| life.settle(failure, now))
    }

    /// Reads what [`to_json`](Self::to_json) has written.
    ///
    /// # Errors
    /// [`Decode`](ErrorKind::Decode) for anything else. The error quotes nothing of it.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        // the error of serde may quote the payload
        serde_json::from_slice(json)
            .map_err(|_| Error::new(ErrorKind::Decode, "the row of an event cannot be read"))
    }

    /// All of it, as JSON.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) when it cannot be written.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let error = |_| Error::new(ErrorKind::Internal, "the row of an event cannot be written");
        serde_json::to_vec(self).map_err(error)
    }
}

impl EventRow<InboxEvent> {
    /// What [`receive`](super::InboxRepository::receive) answers for a message whose row is there. A message that was given up and
    /// [is sent again](InboxEvent::is_sent_again_by) makes the row pending at its place: write the row where `place` or life differ.
    pub fn receive(&mut self, message: &InboxEvent, now: DateTime<Utc>) -> Received {
        if self.event().is_sent_again_by(message) {
            self.record.position = message.position().cloned();
            self.offset = message.offset();
            self.life.reopen(now);
        }
        let due = self.life.scheduled_at.unwrap_or(now);
        Received::of(self.event(), message, (due - now).to_std().unwrap_or_default())
    }

    /// Whether a group received it from a partition.
    pub fn is_of(&self, group: &ConsumerGroup, partition: &TopicPartition) -> bool {
        let position = self.record.position.as_ref();
        let is_there =
            position.is_some_and(|at| at.topic == partition.topic && at.partition == partition.partition);
        self.record.consumer_group == *group && is_there
    }
}
