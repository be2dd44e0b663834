//! The outbox event: from this service's transaction to the broker.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::trace::{keep_trace, trace_of};
use super::{
    Event, EventContent, FetchFilters, Headers, Identity, InboxEvent, Lifecycle, OrderKey, Payload,
    TraceContext, sealed,
};
use crate::error::{Error, Result};
use crate::hidden::Hidden;
use crate::id::{EventId, LaneId};
use crate::limits::{EventLimits, check_max_attempts, check_optional, check_text, fits};

/// An event on its way to a topic. Made by [`OmniBoxDomainService`](crate::OmniBoxDomainService).
///
/// ```
/// use omni_box_core::{Event, EventStatus, NewOutboxEvent, OmniBoxDomainService};
///
/// let new = NewOutboxEvent::from_json("order.placed", "orders", r#"{"order": 7}"#).partition_key("ada");
/// let event = OmniBoxDomainService::default().create_outbox_event(new)?;
/// assert_eq!((event.topic(), event.partition_key()), ("orders", Some("ada")));
/// assert_eq!((event.event_type(), event.status()), ("order.placed", EventStatus::Pending));
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxEvent {
    record: OutboxRecord,
    lifecycle: Lifecycle,
    read: Option<ReadFrom>,
}

/// How a relay came by an event.
#[derive(Debug, Clone, Copy, PartialEq)]
struct ReadFrom {
    lane: LaneId,
    is_held_head: bool,
}

/// An outbox event's columns, as a store reads them (its life apart). A store without columns keeps it serialized, by the names of
/// its fields. `Debug` shows no key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboxRecord {
    /// `id`
    pub id: EventId,
    /// What it carries.
    pub content: EventContent,
    /// `aggregate_type`
    pub aggregate_type: Option<String>,
    /// `aggregate_id`
    pub aggregate_id: Option<Uuid>,
    /// `topic`
    pub topic: String,
    /// `partition_key`; events of one `(topic, partition_key)` keep their order. `None`: no order is asked for.
    pub partition_key: Option<String>,
}

impl fmt::Debug for OutboxRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, content, aggregate_type, aggregate_id, topic, partition_key } = self;
        f.debug_struct("OutboxRecord")
            .field("id", id)
            .field("content", content)
            .field("aggregate_type", aggregate_type)
            .field("aggregate_id", aggregate_id)
            .field("topic", topic)
            .field("partition_key", &partition_key.as_ref().map(Hidden::new))
            .finish()
    }
}

impl OutboxEvent {
    /// Rebuilds an event from a row. It is trusted: no limit is checked.
    pub fn restore(record: OutboxRecord, lifecycle: Lifecycle) -> Self {
        Self { record, lifecycle, read: None }
    }

    /// The same, as a relay read it from a lane. Publishers are told by it, for traces.
    #[must_use]
    pub fn read_from(self, lane: LaneId, is_held_head: bool) -> Self {
        Self { read: Some(ReadFrom { lane, is_held_head }), ..self }
    }

    /// The lane that a relay read it from; `None` in another mode than `lanes`.
    pub fn lane(&self) -> Option<LaneId> {
        self.read.map(|read| read.lane)
    }

    /// Whether it held back its key when a relay read it: it had failed, or its topic was unavailable, and its time has come. `None` in
    /// another mode than `lanes`.
    pub fn is_held_head(&self) -> Option<bool> {
        self.read.map(|read| read.is_held_head)
    }

    /// The topic it goes to.
    pub fn topic(&self) -> &str {
        &self.record.topic
    }

    /// The key whose order it keeps.
    pub fn partition_key(&self) -> Option<&str> {
        self.record.partition_key.as_deref()
    }

    /// The kind of aggregate it speaks of.
    pub fn aggregate_type(&self) -> Option<&str> {
        self.record.aggregate_type.as_deref()
    }

    /// The aggregate it speaks of.
    pub fn aggregate_id(&self) -> Option<Uuid> {
        self.record.aggregate_id
    }
}

impl Event for OutboxEvent {
    type Record = OutboxRecord;

    fn record(&self) -> &OutboxRecord {
        &self.record
    }

    fn restore(record: OutboxRecord, lifecycle: Lifecycle) -> Self {
        Self { record, lifecycle, read: None }
    }

    fn check_filters(filters: &FetchFilters) -> Result<()> {
        if filters.sources.is_empty() && filters.consumer_groups.is_empty() {
            return Ok(());
        }
        Err(Error::invalid("outbox events have neither source nor consumer group to filter by"))
    }

    fn passes(&self, filters: &FetchFilters) -> bool {
        let OutboxRecord { topic, aggregate_type, aggregate_id, .. } = &self.record;
        is_one_of(&filters.topics, Some(topic))
            && is_one_of(&filters.aggregate_types, aggregate_type.as_ref())
            && is_one_of(&filters.aggregate_ids, aggregate_id.as_ref())
    }

    fn identity(&self) -> Option<Identity> {
        self.record.content.idempotency_key.as_deref().map(Identity::of_idempotency_key)
    }

    fn order_key(&self) -> OrderKey {
        match self.partition_key() {
            Some(key) => OrderKey::of_parts(&[Some(self.topic().as_bytes()), Some(key.as_bytes())]),
            None => OrderKey::of_id(self.record.id),
        }
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

impl sealed::LifecycleMut for OutboxEvent {
    fn lifecycle_mut(&mut self) -> &mut Lifecycle {
        &mut self.lifecycle
    }
}

/// An outbox event to be: what the caller says, not yet checked. `Debug` shows no key.
///
/// ```
/// use omni_box_core::{NewOutboxEvent, OutboxExt, OutboxRepository, Result};
///
/// #[derive(serde::Serialize)]
/// struct OrderPlaced {
///     order: u64,
/// }
///
/// async fn place<S: OutboxRepository>(store: &S, conn: &mut S::Conn) -> Result<()> {
///     let event = NewOutboxEvent::new("order.placed", "orders", &OrderPlaced { order: 7 })
///         .partition_key("ada")
///         .header("tenant", "acme")
///         .idempotency_key("order-7");
///     store.enqueue(conn, event).await?;
///     Ok(())
/// }
/// ```
#[must_use = "enqueue it, or pass it to OmniBoxDomainService::create_outbox_event"]
pub struct NewOutboxEvent {
    content: Result<EventContent>,
    id: EventId,
    topic: Option<String>,
    partition_key: Option<String>,
    aggregate_type: Option<String>,
    aggregate_id: Option<Uuid>,
    scheduled_at: Option<DateTime<Utc>>,
    max_attempts: Option<u32>,
    cause: Option<Cause>,
}

/// What an event takes over from the message that caused it.
#[derive(Debug)]
struct Cause {
    message_id: String,
    correlation_id: Option<String>,
    trace_id: Option<String>,
    trace: Option<TraceContext>,
}

impl Cause {
    /// Fills in what is unset and fits, and returns the trace context.
    fn apply(self, content: &mut EventContent, limits: &EventLimits) -> Option<TraceContext> {
        for (field, value) in [
            (&mut content.causation_id, Some(self.message_id)),
            (&mut content.correlation_id, self.correlation_id),
            (&mut content.trace_id, self.trace_id),
        ] {
            if field.is_none() {
                *field = value.filter(|text| fits(text, limits.trace_id));
            }
        }
        self.trace
    }
}

impl fmt::Debug for NewOutboxEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            content,
            id,
            topic,
            partition_key,
            aggregate_type,
            aggregate_id,
            scheduled_at,
            max_attempts,
            cause,
        } = self;
        f.debug_struct("NewOutboxEvent")
            .field("content", content)
            .field("id", id)
            .field("topic", topic)
            .field("partition_key", &partition_key.as_ref().map(Hidden::new))
            .field("aggregate_type", aggregate_type)
            .field("aggregate_id", aggregate_id)
            .field("scheduled_at", scheduled_at)
            .field("max_attempts", max_attempts)
            .field("cause", cause)
            .finish()
    }
}

impl NewOutboxEvent {
    /// An event of a type for a topic; the payload is anything that serializes to a JSON object with a member.
    pub fn new<T: Serialize + ?Sized>(
        event_type: impl Into<String>,
        topic: impl Into<String>,
        payload: &T,
    ) -> Self {
        Self::with_payload(event_type, Payload::new(payload)).topic(topic)
    }

    /// The same with JSON text that is kept as it is.
    pub fn from_json(
        event_type: impl Into<String>,
        topic: impl Into<String>,
        json: impl Into<String>,
    ) -> Self {
        Self::with_payload(event_type, Payload::from_text(json)).topic(topic)
    }

    /// An event whose topic is still to be said.
    pub(crate) fn without_topic<T: Serialize + ?Sized>(event_type: impl Into<String>, payload: &T) -> Self {
        Self::with_payload(event_type, Payload::new(payload))
    }

    fn with_payload(event_type: impl Into<String>, payload: Result<Payload>) -> Self {
        Self {
            content: payload.map(|payload| EventContent::new(event_type, payload)),
            id: EventId::generate(),
            topic: None,
            partition_key: None,
            aggregate_type: None,
            aggregate_id: None,
            scheduled_at: None,
            max_attempts: None,
            cause: None,
        }
    }

    /// The topic it goes to.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// The key whose order is kept.
    pub fn partition_key(mut self, key: impl Into<String>) -> Self {
        self.partition_key = Some(key.into());
        self
    }

    /// The aggregate it speaks of.
    pub fn aggregate(mut self, aggregate_type: impl Into<String>, id: Uuid) -> Self {
        self.aggregate_type = Some(aggregate_type.into());
        self.aggregate_id = Some(id);
        self
    }

    /// Headers of its own.
    pub fn headers(self, headers: Headers) -> Self {
        self.content(|content| content.headers = headers)
    }

    /// One header of its own.
    pub fn header(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.content(|content| content.headers.push(key, value))
    }

    /// The trace it belongs to. An id that is empty, too long or holds a NUL character is left out.
    pub fn trace_id(self, id: impl Into<String>) -> Self {
        self.content(|content| content.trace_id = Some(id.into()))
    }

    /// The business conversation it belongs to. An id that is empty, too long or holds a NUL character is left out. Callers often take it
    /// from a request, and it never costs an event.
    pub fn correlation_id(self, id: impl Into<String>) -> Self {
        self.content(|content| content.correlation_id = Some(id.into()))
    }

    /// What caused it. An id that is empty, too long or holds a NUL character is left out.
    pub fn causation_id(self, id: impl Into<String>) -> Self {
        self.content(|content| content.causation_id = Some(id.into()))
    }

    /// Names the message that caused it. What is not set otherwise is taken from the message. The message's id is the causation
    /// id, and its correlation id, trace id and trace context are this event's too. An id that exceeds its limit is left out.
    pub fn caused_by(mut self, message: &InboxEvent) -> Self {
        let EventContent { correlation_id, trace_id, headers, .. } = message.content();
        self.cause = Some(Cause {
            message_id: message.message_id().to_owned(),
            correlation_id: correlation_id.clone(),
            trace_id: trace_id.clone(),
            trace: trace_of(headers),
        });
        self
    }

    /// Enqueuing twice with one key stores one event.
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        self.content(|content| content.idempotency_key = Some(key.into()))
    }

    /// Version of the payload's schema.
    pub fn schema_version(self, version: impl Into<String>) -> Self {
        self.content(|content| content.schema_version = Some(version.into()))
    }

    /// Not before this time.
    pub fn scheduled_at(mut self, at: DateTime<Utc>) -> Self {
        self.scheduled_at = Some(at);
        self
    }

    /// Attempts before it is failed, instead of the service's default.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    pub(crate) fn has_cause(&self) -> bool {
        self.cause.is_some()
    }

    fn content(mut self, change: impl FnOnce(&mut EventContent)) -> Self {
        if let Ok(content) = &mut self.content {
            change(content);
        }
        self
    }

    pub(crate) fn build(self, limits: &EventLimits, now: DateTime<Utc>) -> Result<OutboxEvent> {
        let mut content = self.content?;
        content.drop_unfit_ids(limits);
        let trace = self.cause.and_then(|cause| cause.apply(&mut content, limits));
        content.check(limits)?;
        let topic = self.topic.ok_or_else(|| {
            Error::invalid(format!(
                "an event {:?} has no topic: its schema needs one, or the event a call of `topic`",
                content.event_type
            ))
        })?;
        check_text("topic", &topic, limits.name)?;
        check_optional("partition_key", self.partition_key.as_deref(), limits.name)?;
        check_optional("aggregate_type", self.aggregate_type.as_deref(), limits.aggregate_type)?;
        let max_attempts = check_max_attempts(self.max_attempts, limits)?;
        if let Some(at) = self.scheduled_at {
            check_schedule(at, now, limits)?;
        }
        keep_trace(&mut content, (self.id, &topic), trace, limits);
        let record = OutboxRecord {
            id: self.id,
            content,
            aggregate_type: self.aggregate_type,
            aggregate_id: self.aggregate_id,
            topic,
            partition_key: self.partition_key,
        };
        Ok(OutboxEvent {
            record,
            lifecycle: Lifecycle::new(max_attempts, self.scheduled_at, now),
            read: None,
        })
    }
}

/// Whether a condition of a filter lets a value through; without values, it lets everything through.
fn is_one_of<T: PartialEq>(values: &[T], value: Option<&T>) -> bool {
    values.is_empty() || value.is_some_and(|value| values.contains(value))
}

fn check_schedule(at: DateTime<Utc>, now: DateTime<Utc>, limits: &EventLimits) -> Result<()> {
    let (allowed, side) =
        if at < now { (limits.schedule_past, "before") } else { (limits.schedule_future, "after") };
    match (at - now).abs().to_std() {
        Ok(distance) if distance <= allowed => Ok(()),
        _ => Err(Error::invalid(format!(
            "scheduled_at {at} is more than {} s {side} the event's creation at {now}",
            allowed.as_secs()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The edges are exact, so the clock must stand still; from outside it moves between the call and the check.
    #[test]
    fn schedule_is_bounded_at_both_ends() {
        let limits = EventLimits::default();
        let now = Utc::now();
        let build =
            |at| NewOutboxEvent::from_json("t", "t", r#"{"a":1}"#).scheduled_at(at).build(&limits, now);
        let nanosecond = Duration::from_nanos(1);
        for (edge, beyond) in [
            (now - limits.schedule_past, now - limits.schedule_past - nanosecond),
            (now + limits.schedule_future, now + limits.schedule_future + nanosecond),
        ] {
            assert_eq!(build(edge).unwrap().lifecycle().scheduled_at(), Some(edge));
            let error = build(beyond).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Invalid);
            assert!(error.to_string().starts_with("scheduled_at "), "{error}");
        }
        for extreme in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            build(extreme).unwrap_err();
        }
    }
}
