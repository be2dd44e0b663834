//! A row of the outbox table, and which rows are due.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use omni_box_core::event::Identity;
use omni_box_core::{
    BatchSize, Event, EventId, Failure, FetchFilters, LaneId, LifecycleRecord, OutboxEvent, OutboxRecord,
    Retry,
};

use super::{Row, Table};
use crate::memory::key::LockKey;
use crate::memory::lane::Lane;

/// A row of the outbox table.
#[derive(Debug, Clone)]
pub(in crate::memory) struct OutboxRow {
    pub(in crate::memory) record: OutboxRecord,
    pub(in crate::memory) life: LifecycleRecord,
    pub(in crate::memory) seq: i64,
    pub(in crate::memory) lane: LaneId,
    /// It waits: as the head of its key, or behind it.
    pub(in crate::memory) held: bool,
    pub(in crate::memory) head: bool,
    /// When a head is tried again; `None`: when an operator says so.
    pub(in crate::memory) hold_until: Option<DateTime<Utc>>,
}

impl OutboxRow {
    /// Topic and key, if it has a key.
    pub(in crate::memory) fn key(&self) -> Option<(&str, &str)> {
        Some((&self.record.topic, self.record.partition_key.as_deref()?))
    }

    /// Whether it was scheduled for later; only then it is ever compared with a clock.
    pub(in crate::memory) fn is_deferred(&self) -> bool {
        let scheduled_at = self.life.scheduled_at.unwrap_or(self.life.created_at);
        scheduled_at - self.life.created_at > TimeDelta::seconds(1)
    }

    fn is_scheduled_by(&self, now: DateTime<Utc>) -> bool {
        self.life.scheduled_at.is_none_or(|at| at <= now)
    }

    /// Whether its own time has come; its key apart.
    pub(in crate::memory) fn is_due(&self, now: DateTime<Utc>) -> bool {
        if self.head {
            return self.hold_until.is_some_and(|until| until <= now);
        }
        self.held || !self.is_deferred() || self.is_scheduled_by(now)
    }

    /// Whether what comes after it in its key must wait for it.
    fn is_in_line(&self, now: DateTime<Utc>) -> bool {
        self.held || !self.is_deferred() || self.is_scheduled_by(now)
    }

    fn passes(&self, filters: &FetchFilters) -> bool {
        filters.is_empty() || self.event().passes(filters)
    }
}

impl Row for OutboxRow {
    type Event = OutboxEvent;

    fn new(event: &OutboxEvent, seq: i64, now: DateTime<Utc>) -> Self {
        let record = event.record().clone();
        let lane = Lane::of(&record);
        let life = LifecycleRecord::stored(event.lifecycle(), now);
        Self { record, life, seq, lane, held: false, head: false, hold_until: None }
    }

    fn event(&self) -> OutboxEvent {
        OutboxEvent::restore(self.record.clone(), self.life.clone().into())
    }

    fn id(&self) -> EventId {
        self.record.id
    }

    fn seq(&self) -> i64 {
        self.seq
    }

    fn identity(&self) -> Option<Identity> {
        self.event().identity()
    }

    fn life(&self) -> &LifecycleRecord {
        &self.life
    }

    fn change_life<T>(&mut self, change: impl FnOnce(&mut LifecycleRecord) -> T) -> T {
        change(&mut self.life)
    }

    /// No transaction of an application works on an event that is there already.
    fn row_lock(&self) -> Option<LockKey> {
        None
    }

    fn complete(&mut self, now: DateTime<Utc>) {
        self.life.complete(now);
        (self.held, self.head, self.hold_until) = (false, false, None);
    }

    fn fail(&mut self, failure: &Failure, now: DateTime<Utc>) {
        let scheduled_at = self.life.scheduled_at;
        self.life.fail(failure, now);
        let waits = failure.retry != Retry::Never;
        (self.held, self.head) = (waits, waits);
        // one that waits for an operator keeps its schedule: it is held instead
        match failure.retry {
            Retry::After(_) => self.hold_until = self.life.scheduled_at,
            Retry::OnRequest | Retry::Never => {
                (self.hold_until, self.life.scheduled_at) = (None, scheduled_at);
            }
        }
    }

    /// Scheduled when it was created: what was scheduled for later would be compared with a clock.
    fn requeue(&mut self, seq: i64, now: DateTime<Utc>) {
        self.life.reopen(now);
        self.life.scheduled_at = Some(self.life.created_at);
        self.seq = seq;
        (self.held, self.head, self.hold_until) = (false, false, None);
    }

    fn renewed(&self, id: EventId) -> OutboxEvent {
        let mut record = OutboxRecord { id, ..self.record.clone() };
        record.content.causation_id = Some(self.record.id.to_string());
        record.content.idempotency_key = None;
        let life = LifecycleRecord { scheduled_at: None, ..self.life.clone() };
        OutboxEvent::restore(record, life.into())
    }
}

impl Table<OutboxRow> {
    /// Due events that no worker has claimed since `fresh_since` (`None`: at all), oldest first, at most one for each key.
    pub(in crate::memory) fn due(
        &self,
        limit: BatchSize,
        filters: &FetchFilters,
        fresh_since: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Vec<&OutboxRow> {
        let is_claimed = |row: &&OutboxRow| {
            row.life.lock.as_ref().is_some_and(|lock| fresh_since.is_none_or(|since| lock.at >= since))
        };
        let mut busy: HashSet<(&str, &str)> =
            self.pending().filter(is_claimed).filter_map(OutboxRow::key).collect();
        let mut due = Vec::new();
        for row in self.pending() {
            let is_behind = row.key().is_some_and(|key| busy.contains(&key));
            if !is_behind && !is_claimed(&row) && row.is_due(now) && row.passes(filters) {
                due.push(row);
                if due.len() == limit.get() as usize {
                    break;
                }
            }
            if row.is_in_line(now) {
                busy.extend(row.key());
            }
        }
        due
    }
}
