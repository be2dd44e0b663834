//! What flaws do to an event of either kind.

use chrono::Utc;
use omni_box_core::{
    Event, EventId, EventStatus, InboxEvent, InboxRecord, LifecycleRecord, OutboxEvent, OutboxRecord,
};

/// An event that can be made another one.
pub(super) trait Kind: Event {
    /// Itself, without what makes it unique.
    fn anonymous(&self) -> Self;

    /// Itself, without its trace.
    fn untraced(&self) -> Self;

    fn has_key(&self) -> bool;

    /// Itself, with another life.
    fn with_life(&self, life: LifecycleRecord) -> Self;
}

impl Kind for OutboxEvent {
    fn anonymous(&self) -> Self {
        let mut record: OutboxRecord = self.record().clone();
        record.content.idempotency_key = None;
        Self::restore(record, self.lifecycle().clone())
    }

    fn untraced(&self) -> Self {
        let mut record = self.record().clone();
        record.content.trace_id = None;
        Self::restore(record, self.lifecycle().clone())
    }

    fn has_key(&self) -> bool {
        self.partition_key().is_some()
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

    fn untraced(&self) -> Self {
        let mut record = self.record().clone();
        record.content.trace_id = None;
        Self::restore(record, self.lifecycle().clone())
    }

    fn has_key(&self) -> bool {
        self.partition_key().is_some() || self.raw_key().is_some()
    }

    fn with_life(&self, life: LifecycleRecord) -> Self {
        Self::restore(self.record().clone(), life.into())
    }
}

/// The life of an event that was given up.
pub(super) fn failed_life<E: Event>(event: &E) -> Option<LifecycleRecord> {
    (event.lifecycle().status() == EventStatus::Failed).then(|| unclaimed_life(event))
}

/// The life of an event that was stored just now.
pub(super) fn fresh_life<E: Event>(event: &E) -> LifecycleRecord {
    LifecycleRecord { created_at: Utc::now(), ..unclaimed_life(event) }
}

fn unclaimed_life<E: Event>(event: &E) -> LifecycleRecord {
    let life = event.lifecycle();
    LifecycleRecord {
        status: life.status(),
        attempts_made: life.attempts_made(),
        max_attempts: life.max_attempts(),
        last_error: life.last_error().map(str::to_owned),
        scheduled_at: life.scheduled_at(),
        completed_at: None,
        lock: None,
        created_at: life.created_at(),
        updated_at: life.updated_at(),
    }
}
