//! From a broker's message to an inbox event.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};
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
    /// The text of a header, found without regard to case; of one that is repeated, the last.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value.as_deref()?).ok()
    }

    /// Its headers as a store keeps them in quarantine: a JSON list of `[name, base64 of the value, or null]`, as names may repeat and
    /// values need not be text. A NUL in a name, which no database stores, becomes U+FFFD.
    ///
    /// ```
    /// use omni_box_core::InboundMessage;
    ///
    /// let message = InboundMessage {
    ///     topic: "orders".into(),
    ///     partition: 3,
    ///     offset: 17,
    ///     key: None,
    ///     value: None,
    ///     headers: vec![("trace".into(), Some(vec![0xff, 0].into())), ("trace".into(), None)],
    ///     timestamp: None,
    /// };
    /// assert_eq!(message.raw_headers().to_string(), r#"[["trace","/wA="],["trace",null]]"#);
    /// ```
    pub fn raw_headers(&self) -> serde_json::Value {
        let pair = |(name, value): &(String, Option<Bytes>)| {
            let value = value.as_ref().map(|bytes| BASE64.encode(bytes));
            serde_json::json!([name.replace('\0', "\u{fffd}"), value])
        };
        self.headers.iter().map(pair).collect()
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

impl<D: MessageDecoder + ?Sized> MessageDecoder for Arc<D> {
    fn decode(&self, message: &InboundMessage, group: &ConsumerGroup) -> Result<InboxEvent, DecodeError> {
        self.as_ref().decode(message, group)
    }
}

impl<D: MessageDecoder + ?Sized> MessageDecoder for Box<D> {
    fn decode(&self, message: &InboundMessage, group: &ConsumerGroup) -> Result<InboxEvent, DecodeError> {
        self.as_ref().decode(message, group)
    }
}

type Getter = Box<dyn Fn(&InboundMessage) -> Option<String> + Send + Sync>;

/// Decodes JSON as the guide has it.
///
/// | what | from |
/// |---|---|
/// | message id | header `message_id`, `event_id`, the envelope's `event_id`, else `topic:partition:offset` |
/// | event type | header `event_type`, the member `event_type` of the envelope or of a bare payload, else the topic |
/// | source | header `source`, `source_service`, else the topic |
/// | payload | the envelope's `payload`, else the whole value |
///
/// An envelope is a JSON object with a `payload` and either a `schema_version` or both `event_id` and `event_type`, as text. A
/// bare payload with these members of its own is taken for one, so do not name them so. Empty headers and members count
/// as absent. A message without a value (a tombstone) has the payload `null`. The getters for message id, event type and source
/// can be replaced; for anything else implement [`MessageDecoder`].
///
/// What is no UTF-8 or no JSON is a [`DecodeError`], and so is a message id, event type or source that does not fit its
/// column. Tracing identifiers, a schema version, headers and a key that do not fit are left out instead.
///
/// ```
/// use omni_box_core::{ConsumerGroup, DefaultMessageDecoder, Event, InboundMessage, MessageDecoder};
///
/// let decoder = DefaultMessageDecoder::new().source(|_| Some("shop".into()));
/// let message = InboundMessage {
///     topic: "orders".into(),
///     partition: 3,
///     offset: 17,
///     key: None,
///     value: Some(r#"{"order": 1}"#.into()),
///     headers: vec![("event_type".into(), Some("order.placed".into()))],
///     timestamp: None,
/// };
/// let event = decoder.decode(&message, &ConsumerGroup::new("shipping")?)?;
/// assert_eq!((event.message_id(), event.event_type(), event.source()), ("orders:3:17", "order.placed", "shop"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

/// The members of a JSON object that say what it is. What [`EnvelopeEventConverter`](crate::EnvelopeEventConverter) and
/// [`SchemaVersionedConverter`](crate::SchemaVersionedConverter) write has a payload among them.
#[derive(Default, Deserialize)]
struct Outline<'a> {
    #[serde(borrow)]
    event_id: Option<&'a RawValue>,
    #[serde(borrow)]
    event_type: Option<&'a RawValue>,
    #[serde(borrow)]
    schema_version: Option<&'a RawValue>,
    #[serde(borrow)]
    trace_id: Option<&'a RawValue>,
    #[serde(borrow)]
    correlation_id: Option<&'a RawValue>,
    #[serde(borrow)]
    causation_id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
}

/// Tells a member that is `null` from one that is absent.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The member's text, unless it is no text or empty.
fn text_of(member: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(member?.get()).ok().filter(|text: &String| !text.is_empty())
}

impl<'a> Outline<'a> {
    /// Reads the outline; text that is no object, or none with unique members, has an empty one.
    ///
    /// This scans a payload that is no envelope a second time. The scan copies nothing, and is small beside the digest.
    fn parse(text: &'a str) -> Self {
        // serde would also read an array as the fields in their order
        if !text.trim_start().starts_with('{') {
            return Self::default();
        }
        serde_json::from_str(text).unwrap_or_default()
    }

    /// The payload inside, if this is an envelope: it has a payload and either a schema version or an event's id and type.
    fn enveloped(&self) -> Option<&'a RawValue> {
        let named = text_of(self.event_id).is_some() && text_of(self.event_type).is_some();
        self.payload.filter(|_| named || text_of(self.schema_version).is_some())
    }
}

impl MessageDecoder for DefaultMessageDecoder {
    fn decode(&self, message: &InboundMessage, group: &ConsumerGroup) -> Result<InboxEvent, DecodeError> {
        let text = message.value.as_deref().map_or(Ok("null"), value_text)?;
        let outline = Outline::parse(text);
        let enveloped = outline.enveloped();
        let payload = match enveloped {
            Some(inner) => Payload::from_raw(inner.to_owned()),
            None => Payload::from_text(text),
        }
        .map_err(|error| DecodeError::new(error.chain()))?;

        let custom = |getter: &Option<Getter>| getter.as_ref().and_then(|get| get(message));
        let header = |name: &str| message.header(name).filter(|text| !text.is_empty()).map(str::to_owned);
        // identifiers of an envelope describe the message; the same names in a bare payload are the application's own
        let inside = |member: Option<&RawValue>| enveloped.and_then(|_| text_of(member));

        let message_id = custom(&self.message_id)
            .or_else(|| header("message_id"))
            .or_else(|| header("event_id"))
            .or_else(|| inside(outline.event_id))
            .unwrap_or_else(|| message.coordinates());
        let event_type = custom(&self.event_type)
            .or_else(|| header("event_type"))
            .or_else(|| text_of(outline.event_type))
            .unwrap_or_else(|| message.topic.clone());
        let source = custom(&self.source)
            .or_else(|| header("source"))
            .or_else(|| header("source_service"))
            .unwrap_or_else(|| message.topic.clone());
        let content = EventContent {
            trace_id: header("trace_id").or_else(|| inside(outline.trace_id)),
            correlation_id: header("correlation_id").or_else(|| inside(outline.correlation_id)),
            causation_id: header("causation_id").or_else(|| inside(outline.causation_id)),
            schema_version: header("schema_version").or_else(|| inside(outline.schema_version)),
            headers: text_headers(message),
            ..EventContent::new(event_type, payload)
        };

        let mut event = NewInboxEvent::new(message_id, group.clone(), source, content)
            .position(message.position())
            .digest(digest(message));
        if let Some(key) = message.key.as_deref() {
            event = event.partition_key(key);
        }
        if let Some(at) = message.timestamp {
            event = event.produced_at(at);
        }
        self.domain.create_inbox_event(event).map_err(|error| DecodeError::new(error.chain()))
    }
}

fn value_text(value: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(value)
        .map_err(|error| DecodeError::new(format!("value is not UTF-8 from byte {}", error.valid_up_to())))
}

/// Headers that are text; the others stay with the broker (and with the quarantined message).
fn text_headers(message: &InboundMessage) -> Headers {
    let text = |value: &Option<Bytes>| Some(std::str::from_utf8(value.as_deref()?).ok()?.to_owned());
    message.headers.iter().filter_map(|(key, value)| Some((key.as_str(), text(value)?))).collect()
}

/// SHA-256 of the value. A tombstone has that of no bytes, which no message with a value shares: an empty value is no JSON.
fn digest(message: &InboundMessage) -> Vec<u8> {
    Sha256::digest(message.value.as_deref().unwrap_or_default()).to_vec()
}
