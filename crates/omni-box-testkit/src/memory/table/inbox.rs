//! A row of the inbox table, and which rows are due.

use chrono::{DateTime, Utc};
use omni_box_core::event::Identity;
use omni_box_core::store::{Due, EventRow};
use omni_box_core::{Event, EventId, EventStatus, Failure, InboxEvent, InboxRecord, LifecycleRecord, Result};

use super::{Row, Table};
use crate::memory::key::LockKey;

/// A row of the inbox table.
pub(in crate::memory) type InboxRow = EventRow<InboxEvent>;

/// What a message is stored once by.
pub(in crate::memory) fn message(row: &InboxRow) -> Identity {
    Identity::of_message(&row.record().consumer_group, &row.record().message_id)
}

/// Makes a row pending if it is completed; whether it was.
pub(in crate::memory) fn set_back(row: &mut InboxRow) -> bool {
    row.change(|life| {
        let is_completed = life.status == EventStatus::Completed;
        if is_completed {
            (life.status, life.completed_at) = (EventStatus::Pending, None);
        }
        is_completed
    })
}

impl Row for InboxRow {
    type Event = InboxEvent;

    fn new(event: &InboxEvent, seq: i64, now: DateTime<Utc>) -> Self {
        Self::new(event, seq, now)
    }

    fn event(&self) -> InboxEvent {
        self.event()
    }

    fn id(&self) -> EventId {
        self.record().id
    }

    fn seq(&self) -> i64 {
        self.seq()
    }

    fn identity(&self) -> Option<Identity> {
        Some(message(self))
    }

    fn life(&self) -> &LifecycleRecord {
        self.life()
    }

    fn change_life<T>(&mut self, change: impl FnOnce(&mut LifecycleRecord) -> T) -> T {
        self.change(change)
    }

    fn row_lock(&self) -> Option<LockKey> {
        Some(LockKey::Identity(message(self)))
    }

    fn complete(&mut self, now: DateTime<Utc>) {
        self.change(|life| life.complete(now));
    }

    fn fail(&mut self, failure: &Failure, now: DateTime<Utc>) {
        self.change(|life| life.fail(failure, now));
    }

    /// Messages have the order of their offsets.
    fn requeue(&mut self, _seq: i64, now: DateTime<Utc>) {
        self.change(|life| life.reopen(now));
    }

    fn renewed(&self, id: EventId) -> InboxEvent {
        let mut record = InboxRecord { id, message_id: id.to_string(), ..self.record().clone() };
        record.content.causation_id = Some(self.record().id.to_string());
        let life = LifecycleRecord { scheduled_at: None, ..self.life().clone() };
        InboxEvent::restore(record, life.into())
    }
}

impl Table<InboxRow> {
    /// Due messages that `is_free` lets through.
    pub(in crate::memory) fn due(
        &self,
        mut due: Due<'_, InboxEvent>,
        is_free: impl Fn(&InboxRow) -> bool,
    ) -> Result<Vec<InboxEvent>> {
        self.pending().filter(|row| row.life().lock.is_some()).for_each(|row| due.claimed(row));
        let mut line: Vec<&InboxRow> = self.pending().collect();
        line.sort_by_key(|row| row.place());
        for row in line {
            let read = || Ok(is_free(row).then(|| row.clone()));
            if !due.offer(row.place(), row.event().order_key().as_bytes(), read)? {
                break;
            }
        }
        Ok(due.into_events())
    }
}
