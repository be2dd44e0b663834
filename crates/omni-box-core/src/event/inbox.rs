//! The inbox event: a broker's message on its way into this service's database.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Event, EventContent, EventStatus, FetchFilters, Identity, Lifecycle, OrderKey, sealed};
use crate::error::{Error, Result};
use crate::hidden::Hidden;
use crate::id::{ConsumerGroup, EventId};
use crate::limits::{EventLimits, check_max_attempts, check_text, fits};

/// A received message, stored once per `(message_id, consumer_group)`.
///
/// ```
/// use omni_box_core::{
///     ConsumerGroup, Event, EventContent, NewInboxEvent, OmniBoxDomainService, Payload,
/// };
///
/// let content = EventContent::new("order.placed", Payload::from_text(r#"{"order": 7}"#)?);
/// let new = NewInboxEvent::new("message-1", ConsumerGroup::new("shipping")?, "shop", content);
/// let message = OmniBoxDomainService::default().create_inbox_event(new)?;
/// assert_eq!((message.message_id(), message.source()), ("message-1", "shop"));
/// assert_eq!(message.payload().deserialize::<serde_json::Value>()?["order"], 7);
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct InboxEvent {
    record: InboxRecord,
    lifecycle: Lifecycle,
}

/// An inbox event's columns, as a store reads them (its life apart). A store without columns keeps it serialized, by the names of
/// its fields. `Debug` shows no key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct InboxRecord {
    /// `id`
    pub id: EventId,
    /// What it carries.
    pub content: EventContent,
    /// `message_id`: with the group, what makes it unique.
    pub message_id: String,
    /// `consumer_group`
    pub consumer_group: ConsumerGroup,
    /// `source`: the sending service or topic.
    pub source: String,
    /// `partition_key`: the message's key, if it is text that fits the column.
    pub partition_key: Option<String>,
    /// `raw_key`: the message's key as it came, if it is not text or does not fit the column.
    pub raw_key: Option<Vec<u8>>,
    /// Where in the broker it came from.
    pub position: Option<SourcePosition>,
    /// `produced_at`: the broker's timestamp.
    pub produced_at: Option<DateTime<Utc>>,
    /// `digest`: SHA-256 of the message's value, to tell a repeat from another message with the same id.
    pub digest: Option<Vec<u8>>,
}

impl fmt::Debug for InboxRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            content,
            message_id,
            consumer_group,
            source,
            partition_key,
            raw_key,
            position,
            produced_at,
            digest,
        } = self;
        f.debug_struct("InboxRecord")
            .field("id", id)
            .field("content", content)
            .field("message_id", message_id)
            .field("consumer_group", consumer_group)
            .field("source", source)
            .field("partition_key", &partition_key.as_ref().map(Hidden::new))
            .field("raw_key", &raw_key.as_ref().map(Hidden::new))
            .field("position", position)
            .field("produced_at", produced_at)
            .field("digest", &digest.as_ref().map(Hidden::new))
            .finish()
    }
}

/// Where in the broker a message came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourcePosition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl InboxEvent {
    /// Rebuilds an event from a row. It is trusted: no limit is checked.
    pub fn restore(record: InboxRecord, lifecycle: Lifecycle) -> Self {
        Self { record, lifecycle }
    }

    /// With the group, what makes it unique.
    pub fn message_id(&self) -> &str {
        &self.record.message_id
    }

    /// The consumer group that received it.
    pub fn consumer_group(&self) -> &ConsumerGroup {
        &self.record.consumer_group
    }

    /// The sending service or topic.
    pub fn source(&self) -> &str {
        &self.record.source
    }

    /// The message's key, if it is text that fits the column.
    pub fn partition_key(&self) -> Option<&str> {
        self.record.partition_key.as_deref()
    }

    /// The message's key otherwise.
    pub fn raw_key(&self) -> Option<&[u8]> {
        self.record.raw_key.as_deref()
    }

    /// Where in the broker it came from.
    pub fn position(&self) -> Option<&SourcePosition> {
        self.record.position.as_ref()
    }

    /// The broker's timestamp.
    pub fn produced_at(&self) -> Option<DateTime<Utc>> {
        self.record.produced_at
    }

    /// SHA-256 of the message's value.
    pub fn digest(&self) -> Option<&[u8]> {
        self.record.digest.as_deref()
    }

    /// Whether `other`, which has the same message id, is another message: its source, type or value differs.
    ///
    /// - A value of other bytes is the same if its payload is the same JSON object or array. Two libraries write one event with other spaces,
    ///   escapes or metadata. Where a number is too large to be compared, other bytes are another value.
    /// - A source that is the name of the message's own topic tells nothing. The same message has another one in a retry topic or a mirror.
    /// - Where either has no digest (a foreign writer stores none, and may name source and type in its own way), nothing tells the two apart.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let (Some(ours), Some(theirs)) = (self.digest(), other.digest()) else { return false };
        let is_another_source =
            self.source() != other.source() && !self.is_source_its_topic() && !other.is_source_its_topic();
        is_another_source
            || self.event_type() != other.event_type()
            || (ours != theirs && !self.payload().is_same_json(other.payload()))
    }

    fn is_source_its_topic(&self) -> bool {
        self.position().is_some_and(|position| position.topic == self.source())
    }

    /// Whether this message was given up, and `other`, which has the same message id, was sent after that. It is somewhere else in the broker,
    /// such as in a retry topic. The same message at the same place is delivered again, and stays given up.
    pub fn is_sent_again_by(&self, other: &Self) -> bool {
        let is_elsewhere = other.position().is_some() && self.position() != other.position();
        self.status() == EventStatus::Failed && is_elsewhere && !self.conflicts_with(other)
    }
}

impl Event for InboxEvent {
    type Record = InboxRecord;

    fn record(&self) -> &InboxRecord {
        &self.record
    }

    fn restore(record: InboxRecord, lifecycle: Lifecycle) -> Self {
        Self { record, lifecycle }
    }

    fn check_filters(filters: &FetchFilters) -> Result<()> {
        let FetchFilters { topics, aggregate_types, aggregate_ids, .. } = filters;
        if topics.is_empty() && aggregate_types.is_empty() && aggregate_ids.is_empty() {
            return Ok(());
        }
        Err(Error::invalid("inbox events have neither topic nor aggregate to filter by"))
    }

    fn passes(&self, filters: &FetchFilters) -> bool {
        let InboxRecord { source, consumer_group, .. } = &self.record;
        (filters.sources.is_empty() || filters.sources.contains(source))
            && (filters.consumer_groups.is_empty() || filters.consumer_groups.contains(consumer_group))
    }

    fn identity(&self) -> Option<Identity> {
        Some(Identity::of_message(self.consumer_group(), self.message_id()))
    }

    fn order_key(&self) -> OrderKey {
        let Some(position) = self.position() else { return OrderKey::of_id(self.record.id) };
        OrderKey::of_parts(&[
            Some(self.consumer_group().as_str().as_bytes()),
            Some(position.topic.as_bytes()),
            Some(&position.partition.to_be_bytes()),
            self.partition_key().map(str::as_bytes),
            self.raw_key(),
        ])
    }

    fn offset(&self) -> i64 {
        self.position().map_or(0, |at| at.offset)
    }

    fn id(&self) -> EventId {
        self.record.id
    }

    fn content(&self) -> &EventContent {
        &self.record.content
    }

    fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }
}

impl sealed::LifecycleMut for InboxEvent {
    fn lifecycle_mut(&mut self) -> &mut Lifecycle {
        &mut self.lifecycle
    }
}

/// An inbox event to be, not yet checked.
#[derive(Debug)]
#[must_use = "pass it to OmniBoxDomainService::create_inbox_event"]
pub struct NewInboxEvent {
    record: InboxRecord,
    max_attempts: Option<u32>,
}

impl NewInboxEvent {
    /// A message with its id, group, source and content.
    pub fn new(
        message_id: impl Into<String>,
        consumer_group: ConsumerGroup,
        source: impl Into<String>,
        content: EventContent,
    ) -> Self {
        let record = InboxRecord {
            id: EventId::generate(),
            content,
            message_id: message_id.into(),
            consumer_group,
            source: source.into(),
            partition_key: None,
            raw_key: None,
            position: None,
            produced_at: None,
            digest: None,
        };
        Self { record, max_attempts: None }
    }

    /// The message's key. Messages of one key are handled in order; those without a key in the order of their partition.
    pub fn partition_key(mut self, key: impl Into<Vec<u8>>) -> Self {
        match String::from_utf8(key.into()) {
            Ok(text) => self.record.partition_key = Some(text),
            Err(error) => self.record.raw_key = Some(error.into_bytes()),
        }
        self
    }

    /// Where in the broker it came from.
    pub fn position(mut self, position: SourcePosition) -> Self {
        self.record.position = Some(position);
        self
    }

    /// The broker's timestamp.
    pub fn produced_at(mut self, at: DateTime<Utc>) -> Self {
        self.record.produced_at = Some(at);
        self
    }

    /// SHA-256 of the message's value.
    pub fn digest(mut self, digest: Vec<u8>) -> Self {
        self.record.digest = Some(digest);
        self
    }

    /// Attempts before it is failed, instead of the service's default.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Refuses only what says which message it is and does not fit its column; what merely describes it is dropped instead.
    pub(crate) fn build(self, limits: &EventLimits, now: DateTime<Utc>) -> Result<InboxEvent> {
        let mut record = self.record;
        check_text("message_id", &record.message_id, limits.name)?;
        check_text("source", &record.source, limits.name)?;
        check_text("event_type", &record.content.event_type, limits.event_type)?;
        let max_attempts = check_max_attempts(self.max_attempts, limits)?;
        record.content.fit(limits);
        if let Some(unfit) = record.partition_key.take_if(|key| !fits(key, limits.name)) {
            record.raw_key = Some(unfit.into_bytes());
        }
        Ok(InboxEvent { record, lifecycle: Lifecycle::new(max_attempts, None, now) })
    }
}
