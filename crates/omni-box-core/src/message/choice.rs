//! Converters that choose among others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::converter::{Encoded, EventConverter};
use crate::error::{Error, Result};
use crate::event::{Event, OutboxEvent};

/// A converter for each topic, and one for all others.
///
/// ```
/// use omni_box_core::{
///     Encoded, EnvelopeEventConverter, Error, Event, NewOutboxEvent, OmniBoxDomainService, PerTopic, converter_fn,
/// };
///
/// // any bytes: a length of two bytes, then the type's name
/// let short = converter_fn(|event| {
///     let length = u16::try_from(event.event_type().len()).map_err(|_| Error::invalid("type is too long"))?;
///     Ok([&length.to_be_bytes(), event.event_type().as_bytes()].concat())
/// });
/// let converter = PerTopic::new(EnvelopeEventConverter).topic("audit", short);
///
/// let event = NewOutboxEvent::new("login", "audit", &serde_json::json!({"user": 42}));
/// let event = OmniBoxDomainService::default().create_outbox_event(event)?;
/// assert_eq!(Encoded::of(&event, &converter)?.body.as_deref(), Some(b"\0\x05login".as_slice()));
/// # Ok::<(), omni_box_core::Error>(())
/// ```
pub struct PerTopic {
    topics: BTreeMap<String, Box<dyn EventConverter>>,
    others: Box<dyn EventConverter>,
}

impl PerTopic {
    /// The converter of all topics that have none of their own.
    pub fn new(others: impl EventConverter) -> Self {
        Self { topics: BTreeMap::new(), others: Box::new(others) }
    }

    /// The converter of a topic, in place of an earlier one.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>, converter: impl EventConverter) -> Self {
        self.topics.insert(topic.into(), Box::new(converter));
        self
    }
}

impl EventConverter for PerTopic {
    fn convert<'a>(&self, event: &'a OutboxEvent) -> Result<Encoded<'a>> {
        self.topics.get(event.topic()).unwrap_or(&self.others).convert(event)
    }
}

impl fmt::Debug for PerTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerTopic").field("topics", &self.topics.keys()).finish_non_exhaustive()
    }
}

/// Sends events of some types as tombstones: messages with a key and no value, at which a compacted topic forgets the key.
///
/// - The headers are those of the other converter, but for `content-type`: there is no content.
/// - The payload stays in the outbox, and is not sent.
/// - An event without a partition key is failed: a tombstone of no key says nothing.
///
/// ```
/// use omni_box_core::{Encoded, NewOutboxEvent, OmniBoxDomainService, RawEventConverter, Tombstones};
///
/// let converter = Tombstones::of(["user.deleted"], RawEventConverter);
/// let event = NewOutboxEvent::new("user.deleted", "users", &serde_json::json!({"id": 42})).partition_key("42");
/// let event = OmniBoxDomainService::default().create_outbox_event(event)?;
/// assert_eq!(Encoded::of(&event, &converter)?.body, None);
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tombstones<C> {
    types: BTreeSet<String>,
    others: C,
}

impl<C: EventConverter> Tombstones<C> {
    /// Sends events of these types as tombstones, and others as another converter says.
    pub fn of<T: Into<String>>(types: impl IntoIterator<Item = T>, others: C) -> Self {
        Self { types: types.into_iter().map(Into::into).collect(), others }
    }
}

impl<C: EventConverter> EventConverter for Tombstones<C> {
    fn convert<'a>(&self, event: &'a OutboxEvent) -> Result<Encoded<'a>> {
        let mut encoded = self.others.convert(event)?;
        if self.types.contains(event.event_type()) {
            if event.partition_key().is_none() {
                return Err(Error::invalid(format!(
                    "an event {:?} is a tombstone, and needs a partition key",
                    event.event_type()
                )));
            }
            encoded.body = None;
            encoded.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        }
        Ok(encoded)
    }
}
