//! Rows: what is stored of an event, as JSON, and where it stands in line.

use chrono::{DateTime, Utc};
use omni_box_core::{
    Error, ErrorKind, Event, FetchFilters, InboxEvent, InboxRecord, LifecycleRecord, OutboxEvent,
    OutboxRecord, Result,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What the two kinds of event differ in.
pub trait Kind: Event {
    /// All of it but its life.
    type Record: Serialize + DeserializeOwned + Clone + Send;
    /// Begins the names of its tables.
    const TABLE: [&'static str; 3];
    /// The record of an event.
    fn to_record(&self) -> Self::Record;
    /// The event of a row.
    fn from_record(record: Self::Record, life: LifecycleRecord) -> Self;
    /// What is stored once.
    fn identity(&self) -> Option<String>;
    /// Whose order is kept; `None`: nobody's.
    fn key(&self) -> Option<String>;
    /// Its place among those of its key; 0: that in which it was stored.
    fn offset(&self) -> i64;
    /// Whether a filter lets it through.
    ///
    /// # Errors
    /// When the filter is by what this kind does not have.
    fn passes(&self, filters: &FetchFilters) -> Result<bool>;
}

impl Kind for OutboxEvent {
    type Record = OutboxRecord;
    const TABLE: [&'static str; 3] = ["outbox_events", "outbox_identities", "outbox_pending"];

    fn to_record(&self) -> OutboxRecord {
        self.record().clone()
    }

    fn from_record(record: OutboxRecord, life: LifecycleRecord) -> Self {
        Self::restore(record, life.into())
    }

    fn identity(&self) -> Option<String> {
        self.content().idempotency_key.clone()
    }

    fn key(&self) -> Option<String> {
        self.partition_key().map(|key| format!("{:?}", (self.topic(), key)))
    }

    fn offset(&self) -> i64 {
        0
    }

    fn passes(&self, filters: &FetchFilters) -> Result<bool> {
        let FetchFilters { topics, sources, aggregate_types, aggregate_ids } = filters;
        let kind = self.aggregate_type();
        refuse("outbox events have no source", !sources.is_empty())?;
        Ok((topics.is_empty() || topics.iter().any(|topic| topic == self.topic()))
            && (aggregate_types.is_empty() || aggregate_types.iter().any(|one| Some(one.as_str()) == kind))
            && (aggregate_ids.is_empty()
                || self.aggregate_id().is_some_and(|id| aggregate_ids.contains(&id))))
    }
}

impl Kind for InboxEvent {
    type Record = InboxRecord;
    const TABLE: [&'static str; 3] = ["inbox_events", "inbox_identities", "inbox_pending"];

    fn to_record(&self) -> InboxRecord {
        self.record().clone()
    }

    fn from_record(record: InboxRecord, life: LifecycleRecord) -> Self {
        Self::restore(record, life.into())
    }

    fn identity(&self) -> Option<String> {
        Some(format!("{:?}", (self.consumer_group().as_str(), self.message_id())))
    }

    fn key(&self) -> Option<String> {
        let (group, position) = (self.consumer_group().as_str(), self.position()?);
        let key = (self.partition_key(), self.raw_key());
        Some(format!("{:?}", (group, &position.topic, position.partition, key)))
    }

    fn offset(&self) -> i64 {
        self.position().map_or(0, |position| position.offset)
    }

    fn passes(&self, filters: &FetchFilters) -> Result<bool> {
        let FetchFilters { topics, sources, aggregate_types, aggregate_ids } = filters;
        let is_foreign = !(topics.is_empty() && aggregate_types.is_empty() && aggregate_ids.is_empty());
        refuse("inbox events have neither topic nor aggregate", is_foreign)?;
        Ok(sources.is_empty() || sources.iter().any(|source| source == self.source()))
    }
}

fn refuse(why: &'static str, is_foreign: bool) -> Result<()> {
    if is_foreign { Err(Error::invalid(why)) } else { Ok(()) }
}

/// A row.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Row<E: Kind> {
    record: E::Record,
    pub(crate) life: LifecycleRecord,
    seq: u64,
    /// It was scheduled for later, and nobody has taken it yet.
    deferred: bool,
}

impl<E: Kind> Row<E> {
    pub(crate) fn new(event: &E, seq: u64, now: DateTime<Utc>) -> Self {
        let life = LifecycleRecord::stored(event.lifecycle(), now);
        let deferred = life.scheduled_at.is_some_and(|at| at > now);
        Self { record: event.to_record(), life, seq, deferred }
    }

    pub(crate) fn from_json(json: &[u8]) -> Result<Self> {
        // serde's own message may quote the payload
        serde_json::from_slice(json)
            .map_err(|_| Error::new(ErrorKind::Decode, "a row is not one of this store"))
    }

    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|_| Error::new(ErrorKind::Internal, "a row cannot be written"))
    }

    pub(crate) fn event(&self) -> E {
        E::from_record(self.record.clone(), self.life.clone())
    }

    /// Where it stands: first what is in line, by key order; then what joins at its time.
    pub(crate) fn place(&self) -> (bool, i64, u64) {
        let due = self.life.scheduled_at.map_or(0, |at| at.timestamp_micros());
        (self.deferred, if self.deferred { due } else { self.event().offset() }, self.seq)
    }

    /// Changes where it is in its life; whoever takes what was deferred puts it in line.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut LifecycleRecord)) {
        change(&mut self.life);
        self.deferred = false;
    }
}
