//! What flaws do to an event of either kind.

use omni_box_core::{
    Event, EventId, EventStatus, InboxEvent, InboxRecord, LifecycleRecord, OutboxEvent, OutboxRecord,
};

/// An event that can be made another one.
pub(super) trait Kind: Event {
    /// Itself, without what makes it unique.
    fn anonymous(&self) -> Self;

    /// Itself, with another life.
    fn with_life(&self, life: LifecycleRecord) -> Self;
}

impl Kind for OutboxEvent {
    fn anonymous(&self) -> Self {
        let mut record: OutboxRecord = self.record().clone();
        record.content.idempotency_key = None;
        Self::restore(record, self.lifecycle().clone())
    }

    fn with_life(&self, life: LifecycleRecord) -> Self {
        Self::restore(self.record().clone(), life.into())
    }
}

impl Kind for InboxEvent {
    fn anonymous(&self) -> Self {
        let message_id = EventId::generate().to_string();
        Self::restore(InboxRecord { message_id, ..self.record().clone() }, self.lifecycle().clone())
    }

    fn with_life(&self, life: LifecycleRecord) -> Self {
        Self::restore(self.record().clone(), life.into())
    }
}

/// The life of an event that was given up.
pub(super) fn failed_life<E: Event>(event: &E) -> Option<LifecycleRecord> {
    let life = event.lifecycle();
    (life.status() == EventStatus::Failed).then(|| LifecycleRecord {
        status: life.status(),
        attempts_made: life.attempts_made(),
        max_attempts: life.max_attempts(),
        last_error: life.last_error().map(str::to_owned),
        scheduled_at: life.scheduled_at(),
        completed_at: None,
        lock: None,
        created_at: life.created_at(),
        updated_at: life.updated_at(),
    })
}
