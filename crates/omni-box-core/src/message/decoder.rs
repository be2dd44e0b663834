//! From a broker's message to an inbox event.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::InboundMessage;
use crate::domain::OmniBoxDomainService;
use crate::event::{EventContent, Headers, InboxEvent, NewInboxEvent, Payload};
use crate::id::ConsumerGroup;

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

/// Decides what a message means: id, type, source, headers and payload.
///
/// - Never panics, for any bytes.
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

/// A decoder from a function.
///
/// ```
/// use omni_box_core::{
///     ConsumerGroup, DecodeError, EventContent, InboundMessage, NewInboxEvent, OmniBoxDomainService, Payload,
///     decoder_fn,
/// };
///
/// let decoder = decoder_fn(|message, group| {
///     let count = message.value.as_deref().map_or(0, <[u8]>::len);
///     let payload = Payload::from_text(&format!("{{\"bytes\": {count}}}"));
///     let content = EventContent::new("photo.taken", payload.map_err(|e| DecodeError::new(e.chain()))?);
///     let event = NewInboxEvent::new(message.last_resort_id(), group.clone(), "camera", content);
///     OmniBoxDomainService::default().create_inbox_event(event).map_err(|e| DecodeError::new(e.chain()))
/// });
/// ```
pub fn decoder_fn<F>(decode: F) -> DecoderFn<F>
where
    F: Fn(&InboundMessage, &ConsumerGroup) -> Result<InboxEvent, DecodeError> + Send + Sync + 'static,
{
    DecoderFn { decode }
}

/// What [`decoder_fn`] returns.
#[derive(Clone, Copy)]
pub struct DecoderFn<F> {
    decode: F,
}

impl<F> MessageDecoder for DecoderFn<F>
where
    F: Fn(&InboundMessage, &ConsumerGroup) -> Result<InboxEvent, DecodeError> + Send + Sync + 'static,
{
    fn decode(&self, message: &InboundMessage, group: &ConsumerGroup) -> Result<InboxEvent, DecodeError> {
        (self.decode)(message, group)
    }
}

impl<F> fmt::Debug for DecoderFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecoderFn")
    }
}

type Getter = Box<dyn Fn(&InboundMessage) -> Option<String> + Send + Sync>;
type Loader = Box<dyn Fn(&InboundMessage) -> Result<Payload, DecodeError> + Send + Sync>;

/// Decodes JSON, compatible with the Python library omni-box.
///
/// | what | from |
/// |---|---|
/// | message id | header `message_id`, `event_id`, the envelope's `event_id`, else [`last_resort_id`](InboundMessage::last_resort_id) |
/// | event type | header `event_type`, the member `event_type` of the envelope or of a bare payload, else the topic |
/// | source | header `source`, `source_service`, else the topic |
/// | payload | the envelope's `payload`, else the whole value |
///
/// An envelope is a JSON object with a `payload` and either a `schema_version` or both `event_id` and `event_type`, as text. So is one of
/// a `payload` and a `schema_version` that is `null`, as Python writes it for an event without a version. A bare payload with these members of its own is taken for one, so do not name them so. Empty headers and members count
/// as absent. A message without a value (a tombstone) has the payload `null`. The getters for message id, event type and source
/// can be replaced, and so can [how a value becomes JSON](Self::payload); for anything else implement [`MessageDecoder`].
///
/// A value that is not UTF-8, or not JSON, is a [`DecodeError`]. So is a message id, event type or source that does not fit its column.
/// Tracing identifiers, a schema version, headers and a key that do not fit are left out instead.
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
    payload: Option<Loader>,
}

impl DefaultMessageDecoder {
    /// Takes each meaning from where the table says.
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

    /// Makes JSON of a message's value, which may be in any format (Avro, Protobuf, compressed JSON); called for a tombstone too. The rest of
    /// the table applies to what it returns as if that had been the value. It must not panic, and return the same each time.
    ///
    /// ```
    /// use omni_box_core::{
    ///     ConsumerGroup, DecodeError, DefaultMessageDecoder, InboundMessage, MessageDecoder, Payload,
    /// };
    ///
    /// // a temperature as four bytes
    /// let decoder = DefaultMessageDecoder::new().payload(|message| {
    ///     let bytes = message.value.as_deref().and_then(|value| value.try_into().ok());
    ///     let celsius = f32::from_be_bytes(bytes.ok_or_else(|| DecodeError::new("value has not four bytes"))?);
    ///     Payload::new(&serde_json::json!({ "celsius": celsius })).map_err(|e| DecodeError::new(e.chain()))
    /// });
    /// # let message = InboundMessage {
    /// #     topic: "weather".into(), partition: 3, offset: 17, key: None, value: None, headers: vec![], timestamp: None,
    /// # };
    /// let message = InboundMessage { value: Some(21.5f32.to_be_bytes().to_vec().into()), ..message };
    /// let event = decoder.decode(&message, &ConsumerGroup::new("heating")?)?;
    /// assert_eq!(omni_box_core::Event::payload(&event).as_str(), r#"{"celsius":21.5}"#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn payload(
        mut self,
        load: impl Fn(&InboundMessage) -> Result<Payload, DecodeError> + Send + Sync + 'static,
    ) -> Self {
        self.payload = Some(Box::new(load));
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
    #[serde(borrow, default, deserialize_with = "present")]
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

/// The member's text, unless it is not text or is empty.
fn text_of(member: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(member?.get()).ok().filter(|text: &String| !text.is_empty())
}

impl<'a> Outline<'a> {
    /// Reads the outline; text that is not an object, or not one with unique members, has an empty one.
    ///
    /// This scans a payload that is not an envelope a second time. The scan copies nothing, and is small beside the digest.
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
        let versioned = |version: &RawValue| version.get() == "null" || text_of(Some(version)).is_some();
        self.payload.filter(|_| named || self.schema_version.is_some_and(versioned))
    }
}

impl MessageDecoder for DefaultMessageDecoder {
    fn decode(&self, message: &InboundMessage, group: &ConsumerGroup) -> Result<InboxEvent, DecodeError> {
        let loaded = self.payload.as_ref().map(|load| load(message)).transpose()?;
        let text = match &loaded {
            Some(payload) => payload.as_str(),
            None => message.value.as_deref().map_or(Ok("null"), value_text)?,
        };
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
            .unwrap_or_else(|| message.last_resort_id());
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

/// SHA-256 of the value. A tombstone has that of no bytes, which no message with a value shares: an empty value is not JSON.
fn digest(message: &InboundMessage) -> Vec<u8> {
    Sha256::digest(message.value.as_deref().unwrap_or_default()).to_vec()
}
