//! CloudEvents 1.0, as its Kafka protocol binding puts them into messages.

use std::borrow::Cow;

use chrono::SecondsFormat;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::converter::{Encoded, EventConverter, json};
use crate::error::{Error, Result};
use crate::event::{Event, OutboxEvent};

/// The media type of a payload.
const JSON: &str = "application/json";
/// The media type of an event with its payload.
const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";

/// [CloudEvents 1.0](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md): the event around its
/// payload in one JSON document (*structured*), or the payload alone (*binary*). Then the rest is in headers that begin with `ce_`.
///
/// | attribute | from |
/// |---|---|
/// | `id`, `type`, `time` | the event's id, type and time of creation |
/// | `source` | the converter |
/// | `subject` | the aggregate's id |
/// | `datacontenttype` | `application/json` |
/// | `partitionkey`, `correlationid`, `causationid` | the fields of these names |
/// | `schemaversion` | the schema version |
/// | `traceparent`, `tracestate` | the headers of these names |
///
/// What an event does not have is left out. The headers of [`message_headers`](crate::message_headers) are sent in both modes, so that
/// consumers of omni-box need no setting for binary messages.
///
/// ```
/// use omni_box_core::{CloudEventsConverter, Encoded, NewOutboxEvent, OmniBoxDomainService};
///
/// let converter = CloudEventsConverter::binary("https://shop.example/orders")?;
/// let event = NewOutboxEvent::new("order.placed", "orders", &serde_json::json!({"id": 42}));
/// let event = OmniBoxDomainService::default().create_outbox_event(event)?;
/// let encoded = Encoded::of(&event, &converter)?;
/// assert_eq!(encoded.body.as_deref(), Some(br#"{"id":42}"#.as_slice()));
/// assert!(encoded.headers.contains(&("ce_source".to_owned(), "https://shop.example/orders".to_owned())));
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct CloudEventsConverter {
    source: String,
    mode: Mode,
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    Structured,
    Binary,
}

impl CloudEventsConverter {
    /// One JSON document for an event. `source` names where events happen: a URI, or a reference to one such as `/orders`.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when the source is empty, or holds what no URI does.
    pub fn structured(source: impl Into<String>) -> Result<Self> {
        Self::new(source.into(), Mode::Structured)
    }

    /// The payload as it is, and the rest in headers. `source` is that of [`structured`](Self::structured).
    ///
    /// # Errors
    /// As [`structured`](Self::structured).
    pub fn binary(source: impl Into<String>) -> Result<Self> {
        Self::new(source.into(), Mode::Binary)
    }

    fn new(source: String, mode: Mode) -> Result<Self> {
        // RFC 3986: everything else in a URI is percent-encoded
        let in_uris = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c);
        if source.is_empty() || !source.chars().all(in_uris) {
            return Err(Error::invalid(format!("source {source:?} is not a URI, such as /orders")));
        }
        Ok(Self { source, mode })
    }
}

impl EventConverter for CloudEventsConverter {
    fn convert<'a>(&self, event: &'a OutboxEvent) -> Result<Encoded<'a>> {
        let attributes = attributes(event, &self.source);
        Ok(match self.mode {
            Mode::Structured => json(&Document { event, attributes })?.header("content-type", STRUCTURED),
            Mode::Binary => {
                let raw = Encoded::new(event.payload().as_str().as_bytes()).header("content-type", JSON);
                attributes
                    .into_iter()
                    .fold(raw, |encoded, (name, value)| encoded.header(format!("ce_{name}"), value))
            }
        })
    }
}

/// The attributes of an event but for the type of its data.
fn attributes<'a>(event: &'a OutboxEvent, source: &'a str) -> Vec<(&'static str, Cow<'a, str>)> {
    let content = event.content();
    let time = event.lifecycle().created_at().to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let text = |text: &'a Option<String>| text.as_deref().map(Cow::Borrowed);
    let header = |name| content.headers.get(name).map(Cow::Borrowed);
    let optional = [
        ("subject", event.aggregate_id().map(|id| id.to_string().into())),
        ("partitionkey", event.partition_key().map(Cow::Borrowed)),
        ("correlationid", text(&content.correlation_id)),
        ("causationid", text(&content.causation_id)),
        ("schemaversion", text(&content.schema_version)),
        ("traceparent", header("traceparent")),
        ("tracestate", header("tracestate")),
    ];
    let mut attributes: Vec<(&str, Cow<'_, str>)> = vec![
        ("specversion", "1.0".into()),
        ("id", event.id().to_string().into()),
        ("source", source.into()),
        ("type", event.event_type().into()),
        ("time", time.into()),
    ];
    // an attribute's value is a text of at least one character
    let given = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
    attributes.extend(given.filter(|(_, value)| !value.is_empty()));
    attributes
}

/// The JSON document of a structured message.
struct Document<'a> {
    event: &'a OutboxEvent,
    attributes: Vec<(&'static str, Cow<'a, str>)>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.attributes {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("datacontenttype", JSON)?;
        map.serialize_entry("data", self.event.payload().as_raw())?;
        map.end()
    }
}
