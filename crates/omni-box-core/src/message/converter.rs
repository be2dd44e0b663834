//! From an outbox event to the bytes on the wire.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use chrono::SecondsFormat;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::{Error, FailureClass, Result};
use crate::event::{Event, OutboxEvent};
use crate::hidden::Hidden;

/// A message's body and what the converter adds to its headers. `Debug` shows no body and no header's value.
pub struct Encoded<'a> {
    /// The body; `None` is a tombstone, which has no value.
    pub body: Option<Cow<'a, [u8]>>,
    /// Headers beside those of [`message_headers`], and in place of those of the same name.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { body, headers } = self;
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Encoded")
            .field("body", &body.as_ref().map(Hidden::new))
            .field("headers", &names)
            .finish()
    }
}

impl<'a> Encoded<'a> {
    /// A body without headers of the converter's own.
    pub fn new(body: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { body: Some(body.into()), headers: Vec::new() }
    }

    /// No body: a compacted topic forgets the event's key.
    pub fn tombstone() -> Self {
        Self { body: None, headers: Vec::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// All headers of the message: those of the event that the converter does not set, then the converter's.
    pub fn wire_headers<'e>(&'e self, event: &'e OutboxEvent) -> Vec<(&'e str, Cow<'e, str>)> {
        let is_set = |name: &str| self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        let mut headers = message_headers(event);
        headers.retain(|(name, _)| !is_set(name));
        headers.extend(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str().into())));
        headers
    }

    /// Encodes an event, as every publisher does.
    ///
    /// # Errors
    /// The converter's, of permanent class always: an error of another class becomes [`Invalid`](crate::ErrorKind::Invalid) and
    /// keeps its cause. Retried, it would let the event's followers overtake it, or be taken for an outage of the broker.
    pub fn of(event: &'a OutboxEvent, converter: &dyn EventConverter) -> Result<Self> {
        converter.convert(event).map_err(|error| match error.class() {
            FailureClass::Permanent => error,
            FailureClass::Event | FailureClass::Infrastructure => {
                Error::invalid("event cannot be encoded").with_source(error)
            }
        })
    }
}

/// Decides the body of a published message.
///
/// - The same event gives the same bytes every time: a repeat on the topic must be recognisable as one.
/// - An error of any class is permanent: the event is failed, not retried. Publishers call [`Encoded::of`], which sees to it.
pub trait EventConverter: Send + Sync + 'static {
    /// Encodes an event.
    ///
    /// # Errors
    /// When this event can never be encoded.
    fn convert<'a>(&self, event: &'a OutboxEvent) -> Result<Encoded<'a>>;
}

macro_rules! converter_behind_pointer {
    ($($pointer:ident),*) => {$(
        impl<C: EventConverter + ?Sized> EventConverter for $pointer<C> {
            fn convert<'a>(&self, event: &'a OutboxEvent) -> Result<Encoded<'a>> {
                C::convert(self, event)
            }
        }
    )*};
}

converter_behind_pointer!(Arc, Box);

/// A converter from a function that makes the body's bytes.
///
/// ```
/// use omni_box_core::{Encoded, Event, NewOutboxEvent, OmniBoxDomainService, converter_fn};
///
/// let lines = converter_fn(|event| Ok(format!("{} {}\n", event.event_type(), event.payload().as_str())));
/// let event = NewOutboxEvent::new("user.created", "users", &serde_json::json!({"id": 42}));
/// let event = OmniBoxDomainService::default().create_outbox_event(event)?;
/// let body = Encoded::of(&event, &lines)?.body;
/// assert_eq!(body.as_deref(), Some(b"user.created {\"id\":42}\n".as_slice()));
/// # Ok::<(), omni_box_core::Error>(())
/// ```
pub fn converter_fn<F, B>(convert: F) -> ConverterFn<F>
where
    F: Fn(&OutboxEvent) -> Result<B> + Send + Sync + 'static,
    B: Into<Vec<u8>>,
{
    ConverterFn { convert }
}

/// What [`converter_fn`] returns.
#[derive(Clone, Copy)]
pub struct ConverterFn<F> {
    convert: F,
}

impl<F, B> EventConverter for ConverterFn<F>
where
    F: Fn(&OutboxEvent) -> Result<B> + Send + Sync + 'static,
    B: Into<Vec<u8>>,
{
    fn convert<'a>(&self, event: &'a OutboxEvent) -> Result<Encoded<'a>> {
        Ok(Encoded::new((self.convert)(event)?.into()))
    }
}

impl<F> fmt::Debug for ConverterFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConverterFn")
    }
}

/// Headers that every message carries: the event's fields, then its own headers. One of its own that says again what a field says (only a
/// foreign writer can store that) is left out. The last of two counts, and `event_id` is what tells messages apart.
pub fn message_headers(event: &OutboxEvent) -> Vec<(&str, Cow<'_, str>)> {
    let content = event.content();
    let fields = [
        ("schema_version", &content.schema_version),
        ("trace_id", &content.trace_id),
        ("correlation_id", &content.correlation_id),
        ("causation_id", &content.causation_id),
    ];
    let mut headers: Vec<(&str, Cow<'_, str>)> = Vec::with_capacity(2 + fields.len() + content.headers.len());
    headers.push(("event_id", event.id().to_string().into()));
    headers.push(("event_type", event.event_type().into()));
    headers.extend(fields.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?.into()))));
    let from_fields = headers.len();
    for (name, value) in content.headers.iter() {
        if !headers[..from_fields].iter().any(|(field, _)| field.eq_ignore_ascii_case(name)) {
            headers.push((name, value.into()));
        }
    }
    headers
}

/// The payload as it is.
///
/// ```
/// use omni_box_core::{RawEventConverter, Encoded, NewOutboxEvent, OmniBoxDomainService};
///
/// let order = NewOutboxEvent::from_json("order.placed", "orders", r#"{"order":7}"#);
/// let event = OmniBoxDomainService::default().create_outbox_event(order)?;
/// let encoded = Encoded::of(&event, &RawEventConverter)?;
/// assert_eq!(encoded.body.as_deref(), Some(br#"{"order":7}"#.as_slice()));
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RawEventConverter;

impl EventConverter for RawEventConverter {
    fn convert<'a>(&self, event: &'a OutboxEvent) -> Result<Encoded<'a>> {
        Ok(Encoded::new(event.payload().as_str().as_bytes()))
    }
}

/// `{"schema_version": .., "payload": ..}`; version 1.0.0 when the event has none.
#[derive(Debug, Clone, Copy, Default)]
pub struct SchemaVersionedConverter;

impl EventConverter for SchemaVersionedConverter {
    fn convert<'a>(&self, event: &'a OutboxEvent) -> Result<Encoded<'a>> {
        #[derive(Serialize)]
        struct Body<'a> {
            schema_version: &'a str,
            payload: &'a RawValue,
        }
        json(&Body { schema_version: schema_version(event), payload: event.payload().as_raw() })
    }
}

/// The payload with the event's id, type, version, aggregate, time of creation and tracing identifiers around it. The names are those of
/// the Python library omni-box. What is absent is left out.
///
/// ```
/// use omni_box_core::{EnvelopeEventConverter, Encoded, NewOutboxEvent, OmniBoxDomainService};
///
/// let order = NewOutboxEvent::from_json("order.placed", "orders", r#"{"order":7}"#);
/// let event = OmniBoxDomainService::default().create_outbox_event(order)?;
/// let encoded = Encoded::of(&event, &EnvelopeEventConverter)?;
/// let value: serde_json::Value = serde_json::from_slice(encoded.body.as_deref().unwrap()).unwrap();
/// assert_eq!(value["event_type"], "order.placed");
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct EnvelopeEventConverter;

impl EventConverter for EnvelopeEventConverter {
    fn convert<'a>(&self, event: &'a OutboxEvent) -> Result<Encoded<'a>> {
        #[derive(Serialize)]
        struct Body<'a> {
            event_id: String,
            event_type: &'a str,
            schema_version: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            aggregate_type: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            aggregate_id: Option<String>,
            timestamp: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            trace_id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            correlation_id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            causation_id: Option<&'a str>,
            payload: &'a RawValue,
        }
        let content = event.content();
        json(&Body {
            event_id: event.id().to_string(),
            event_type: event.event_type(),
            schema_version: schema_version(event),
            aggregate_type: event.aggregate_type(),
            aggregate_id: event.aggregate_id().map(|id| id.to_string()),
            timestamp: event.lifecycle().created_at().to_rfc3339_opts(SecondsFormat::Micros, false),
            trace_id: content.trace_id.as_deref(),
            correlation_id: content.correlation_id.as_deref(),
            causation_id: content.causation_id.as_deref(),
            payload: event.payload().as_raw(),
        })
    }
}

fn schema_version(event: &OutboxEvent) -> &str {
    event.content().version()
}

/// A body of JSON.
pub(super) fn json<'a>(body: &impl Serialize) -> Result<Encoded<'a>> {
    let bytes = serde_json::to_vec(body)
        .map_err(|error| Error::invalid("event cannot be encoded").with_source(error))?;
    Ok(Encoded::new(bytes))
}
