//! From a broker's message to an inbox event.

use std::fmt;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{
    ConsumerGroup, EventContent, Headers, InboxEvent, NewInboxEvent, OmniBoxDomainService, Payload,
    SourcePosition,
};

/// A topic and one of its partitions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// A message as the broker delivered it. `Debug` shows where it is, not what it holds.
#[derive(Clone)]
pub struct InboundMessage {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The key's bytes.
    pub key: Option<Bytes>,
    /// The value's bytes; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in order; a value may be null and need not be text.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// The broker's timestamp.
    pub timestamp: Option<DateTime<Utc>>,
}

impl InboundMessage {
    /// The text of a header, found without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value.as_deref()?).ok()
    }

    /// `topic:partition:offset`, the message id of last resort.
    pub fn coordinates(&self) -> String {
        format!("{}:{}:{}", self.topic, self.partition, self.offset)
    }

    /// Where it came from.
    pub fn position(&self) -> SourcePosition {
        SourcePosition { topic: self.topic.clone(), partition: self.partition, offset: self.offset }
    }
}

impl fmt::Debug for InboundMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "InboundMessage({}, {} bytes, {} headers)",
            self.coordinates(),
            self.value.as_ref().map_or(0, Bytes::len),
            self.headers.len()
        )
    }
}

/// Why a message could not become an event; it is stored with this text, and its offset moves on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError(String);

impl DecodeError {
    /// Says why; must not repeat what the message holds.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DecodeError {}

/// A message that is kept as raw bytes because it could not be decoded, or because its id belongs to another message.
#[derive(Debug, Clone)]
pub struct QuarantinedMessage {
    /// The group that received it.
    pub consumer_group: ConsumerGroup,
    /// The message itself.
    pub message: InboundMessage,
    /// Why it is here.
    pub error: String,
}

/// Decides what a message means: id, type, source, headers and payload.
///
/// - Never panics, whatever the bytes.
/// - The same message decodes to the same event each time it is delivered.
/// - An error is final: the message is quarantined.
pub trait MessageDecoder: Send + Sync + 'static {
    /// Decodes a message.
    ///
    /// # Errors
    /// When the message can never become an event.
    fn decode(&self, message: &InboundMessage, group: &ConsumerGroup) -> Result<InboxEvent, DecodeError>;
}

type Getter = Box<dyn Fn(&InboundMessage) -> Option<String> + Send + Sync>;

/// Decodes JSON as the guide has it.
///
/// | what | from |
/// |---|---|
/// | message id | header `message_id`, `event_id`, the envelope's `event_id`, else `topic:partition:offset` |
/// | event type | header `event_type`, the envelope's, else the topic |
/// | source | header `source`, `source_service`, else the topic |
/// | payload | the envelope's `payload`, the `payload` beside a `schema_version`, else the whole value |
///
/// A message without a value (a tombstone) has the payload `null`. Every getter can be replaced.
#[derive(Default)]
pub struct DefaultMessageDecoder {
    domain: OmniBoxDomainService,
    message_id: Option<Getter>,
    event_type: Option<Getter>,
    source: Option<Getter>,
}

impl DefaultMessageDecoder {
    /// The guide's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The service that builds the events, with its limits.
    #[must_use]
    pub fn domain(mut self, domain: OmniBoxDomainService) -> Self {
        self.domain = domain;
        self
    }

    /// Finds the message id first; `None` falls back to the default.
    #[must_use]
    pub fn message_id(
        mut self,
        get: impl Fn(&InboundMessage) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.message_id = Some(Box::new(get));
        self
    }

    /// Finds the event type first; `None` falls back to the default.
    #[must_use]
    pub fn event_type(
        mut self,
        get: impl Fn(&InboundMessage) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.event_type = Some(Box::new(get));
        self
    }

    /// Finds the source first; `None` falls back to the default.
    #[must_use]
    pub fn source(mut self, get: impl Fn(&InboundMessage) -> Option<String> + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(get));
        self
    }
}

impl fmt::Debug for DefaultMessageDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultMessageDecoder").field("domain", &self.domain).finish_non_exhaustive()
    }
}

/// What [`EnvelopeEventConverter`](crate::EnvelopeEventConverter) and [`SchemaVersionedConverter`](crate::SchemaVersionedConverter) write.
#[derive(Deserialize)]
struct Envelope {
    event_id: Option<String>,
    event_type: Option<String>,
    schema_version: Option<String>,
    trace_id: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    payload: Box<RawValue>,
}

impl Envelope {
    /// An object counts as an envelope if it has a payload and either a schema version or an event's id and type.
    fn parse(payload: &Payload) -> Option<Self> {
        let envelope: Self = serde_json::from_str(payload.as_str()).ok()?;
        let named = envelope.event_id.is_some() && envelope.event_type.is_some();
        (named || envelope.schema_version.is_some()).then_some(envelope)
    }
}

impl MessageDecoder for DefaultMessageDecoder {
    fn decode(&self, message: &InboundMessage, group: &ConsumerGroup) -> Result<InboxEvent, DecodeError> {
        let payload = decode_json(message.value.as_deref())?;
        let mut envelope = Envelope::parse(&payload);
        let mut take =
            |field: fn(&mut Envelope) -> &mut Option<String>| envelope.as_mut().and_then(|e| field(e).take());
        let header = |name: &str| message.header(name).filter(|text| !text.is_empty()).map(str::to_owned);
        let custom = |getter: &Option<Getter>| getter.as_ref().and_then(|get| get(message));

        let message_id = custom(&self.message_id)
            .or_else(|| header("message_id"))
            .or_else(|| header("event_id"))
            .or_else(|| take(|e| &mut e.event_id))
            .unwrap_or_else(|| message.coordinates());
        let event_type = custom(&self.event_type)
            .or_else(|| header("event_type"))
            .or_else(|| take(|e| &mut e.event_type))
            .unwrap_or_else(|| message.topic.clone());
        let source = custom(&self.source)
            .or_else(|| header("source"))
            .or_else(|| header("source_service"))
            .unwrap_or_else(|| message.topic.clone());
        let ids = EventContent {
            trace_id: header("trace_id").or_else(|| take(|e| &mut e.trace_id)),
            correlation_id: header("correlation_id").or_else(|| take(|e| &mut e.correlation_id)),
            causation_id: header("causation_id").or_else(|| take(|e| &mut e.causation_id)),
            schema_version: header("schema_version").or_else(|| take(|e| &mut e.schema_version)),
            headers: text_headers(message),
            ..EventContent::new(event_type, Payload::null())
        };
        let content =
            EventContent { payload: envelope.map_or(payload, |e| Payload::from_stored(e.payload)), ..ids };

        let mut event = NewInboxEvent::new(message_id, group.clone(), source, fit(content, &self.domain))
            .position(message.position())
            .digest(digest(message));
        if let Some(key) = message.key.as_deref().and_then(storable_key) {
            event = event.partition_key(key);
        }
        if let Some(at) = message.timestamp {
            event = event.produced_at(at);
        }
        self.domain.create_inbox_event(event).map_err(|error| DecodeError::new(error.to_string()))
    }
}

fn decode_json(value: Option<&[u8]>) -> Result<Payload, DecodeError> {
    let Some(value) = value else { return Ok(Payload::null()) };
    let text = std::str::from_utf8(value)
        .map_err(|error| DecodeError::new(format!("value is not UTF-8 from byte {}", error.valid_up_to())))?;
    Payload::from_text(text).map_err(|error| DecodeError::new(error.to_string()))
}

/// Headers that are text; the others stay with the broker (and with the quarantined message).
fn text_headers(message: &InboundMessage) -> Headers {
    let text = |value: &Option<Bytes>| {
        let text = std::str::from_utf8(value.as_deref()?).ok()?;
        (!text.contains('\0')).then(|| text.to_owned())
    };
    message
        .headers
        .iter()
        .filter(|(key, _)| !key.contains('\0'))
        .filter_map(|(key, value)| Some((key.clone(), text(value)?)))
        .collect()
}

fn storable_key(key: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(key).ok()?;
    (!text.is_empty() && !text.contains('\0') && text.chars().count() <= 255).then(|| text.to_owned())
}

/// Drops tracing identifiers that do not fit their columns: they describe a message, and must not cost it.
fn fit(mut content: EventContent, domain: &OmniBoxDomainService) -> EventContent {
    let limits = domain.limits();
    let keep = |field: &mut Option<String>, limit: usize| {
        if field
            .as_deref()
            .is_some_and(|text| text.is_empty() || text.contains('\0') || text.chars().count() > limit)
        {
            *field = None;
        }
    };
    keep(&mut content.trace_id, limits.trace_id);
    keep(&mut content.correlation_id, limits.trace_id);
    keep(&mut content.causation_id, limits.trace_id);
    keep(&mut content.schema_version, limits.schema_version);
    content
}

/// SHA-256 of the value; that of a tombstone differs from that of an empty value.
fn digest(message: &InboundMessage) -> Vec<u8> {
    let mut hash = Sha256::new();
    match &message.value {
        Some(value) => {
            hash.update([1]);
            hash.update(value);
        }
        None => hash.update([0]),
    }
    hash.finalize().to_vec()
}
