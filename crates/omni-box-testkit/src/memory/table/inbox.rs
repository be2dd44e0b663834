//! A row of the inbox table, and which rows are due.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use omni_box_core::{
    BatchSize, ConsumerGroup, Event, EventId, EventStatus, Failure, FetchFilters, InboxEvent, InboxRecord,
    LifecycleRecord, Received, SourcePosition, TopicPartition,
};

use super::{Row, Table};
use crate::memory::key::{Identity, LockKey};

/// A row of the inbox table.
#[derive(Debug, Clone)]
pub(in crate::memory) struct InboxRow {
    record: InboxRecord,
    life: LifecycleRecord,
    seq: i64,
}

/// A key within its group's partition; without a key, the partition itself.
type KeyOf<'a> = (&'a str, &'a str, i32, Option<&'a str>, Option<&'a [u8]>);

impl InboxRow {
    pub(in crate::memory) fn message(&self) -> Identity {
        Identity::Message(self.record.message_id.clone(), self.record.consumer_group.clone())
    }

    pub(in crate::memory) fn offset(&self) -> Option<i64> {
        Some(self.record.position.as_ref()?.offset)
    }

    /// Without a partition it is a key of its own.
    fn key(&self) -> Option<KeyOf<'_>> {
        let InboxRecord { consumer_group, position, partition_key, raw_key, .. } = &self.record;
        let position = position.as_ref()?;
        let group = consumer_group.as_str();
        Some((group, &position.topic, position.partition, partition_key.as_deref(), raw_key.as_deref()))
    }

    pub(in crate::memory) fn is_of(&self, group: &ConsumerGroup, partition: &TopicPartition) -> bool {
        let is_there = |position: &SourcePosition| {
            position.topic == partition.topic && position.partition == partition.partition
        };
        self.record.consumer_group == *group && self.record.position.as_ref().is_some_and(is_there)
    }

    fn scheduled_at(&self) -> DateTime<Utc> {
        self.life.scheduled_at.unwrap_or(self.life.created_at)
    }

    pub(in crate::memory) fn is_sent_again_by(&self, event: &InboxEvent) -> bool {
        self.event().is_sent_again_by(event)
    }

    /// Makes it pending again, at the place of the message that was sent again.
    pub(in crate::memory) fn reopen(&mut self, event: &InboxEvent, now: DateTime<Utc>) {
        self.record.position = event.position().cloned();
        self.life.reopen(now);
    }

    /// Makes it pending if it is completed; whether it was.
    pub(in crate::memory) fn set_back(&mut self) -> bool {
        let is_completed = self.life.status == EventStatus::Completed;
        if is_completed {
            (self.life.status, self.life.completed_at) = (EventStatus::Pending, None);
        }
        is_completed
    }

    /// What it says of a message that is received again.
    pub(in crate::memory) fn judge(&self, event: &InboxEvent, now: DateTime<Utc>) -> Received {
        let wait = (self.scheduled_at() - now).to_std().unwrap_or(Duration::ZERO);
        Received::of(self.event(), event, wait)
    }
}

impl Row for InboxRow {
    type Event = InboxEvent;

    fn identity_of(event: &InboxEvent) -> Option<Identity> {
        Some(Identity::Message(event.message_id().to_owned(), event.consumer_group().clone()))
    }

    fn new(event: &InboxEvent, seq: i64, now: DateTime<Utc>) -> Self {
        Self { record: event.record().clone(), life: LifecycleRecord::stored(event.lifecycle(), now), seq }
    }

    fn event(&self) -> InboxEvent {
        InboxEvent::restore(self.record.clone(), self.life.clone().into())
    }

    fn id(&self) -> EventId {
        self.record.id
    }

    fn seq(&self) -> i64 {
        self.seq
    }

    fn identity(&self) -> Option<Identity> {
        Some(self.message())
    }

    fn life(&self) -> &LifecycleRecord {
        &self.life
    }

    fn life_mut(&mut self) -> &mut LifecycleRecord {
        &mut self.life
    }

    fn row_lock(&self) -> Option<LockKey> {
        Some(LockKey::Identity(self.message()))
    }

    fn complete(&mut self, now: DateTime<Utc>) {
        self.life.complete(now);
    }

    fn fail(&mut self, failure: &Failure, now: DateTime<Utc>) {
        self.life.fail(failure, now);
    }

    /// Messages have the order of their offsets.
    fn requeue(&mut self, _seq: i64, now: DateTime<Utc>) {
        self.life.reopen(now);
    }

    fn renewed(&self, id: EventId) -> InboxEvent {
        let mut record = InboxRecord { id, message_id: id.to_string(), ..self.record.clone() };
        record.content.causation_id = Some(self.record.id.to_string());
        let life = LifecycleRecord { scheduled_at: None, ..self.life.clone() };
        InboxEvent::restore(record, life.into())
    }
}

impl Table<InboxRow> {
    /// Due messages that `is_free` lets through; of each key its oldest pending one, and none of a key that a worker has claimed since
    /// `fresh_since` (`None`: at all).
    pub(in crate::memory) fn due(
        &self,
        limit: BatchSize,
        filters: &FetchFilters,
        fresh_since: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
        is_free: impl Fn(&InboxRow) -> bool,
    ) -> Vec<&InboxRow> {
        let is_claimed = |row: &InboxRow| {
            row.life.lock.as_ref().is_some_and(|lock| fresh_since.is_none_or(|since| lock.at >= since))
        };
        let mut pending: Vec<&InboxRow> = self.pending().collect();
        pending.sort_by_key(|row| row.offset());
        let claimed = pending.iter().copied().filter(|row| is_claimed(row));
        let mut keys: HashSet<KeyOf<'_>> = claimed.filter_map(InboxRow::key).collect();
        pending.retain(|row| row.key().is_none_or(|key| keys.insert(key)));
        pending.retain(|row| {
            !is_claimed(row)
                && row.scheduled_at() <= now
                && (filters.sources.is_empty() || filters.sources.contains(&row.record.source))
                && (filters.consumer_groups.is_empty()
                    || filters.consumer_groups.contains(&row.record.consumer_group))
                && is_free(row)
        });
        pending.sort_by_key(|row| (row.scheduled_at(), row.id()));
        pending.truncate(limit.get() as usize);
        pending
    }
}
