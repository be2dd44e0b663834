//! Events as types: what a type's events are called, where they go, and how older versions of them are read.

mod registry;
mod upcast;
mod version;

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use registry::{SchemaRegistry, SchemaRegistryBuilder};
pub use upcast::Upcast;

use super::content::DEFAULT_VERSION;
use super::{Event, NewOutboxEvent, Payload};
use crate::error::{Error, ErrorKind, Result};

/// A type whose values are the payloads of one type of event. Derived by `#[derive(EventSchema)]` (feature `macros` of
/// `omni-box`), or written by hand:
///
/// ```
/// use std::borrow::Cow;
///
/// use omni_box_core::{EventSchema, Payload, Upcast};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize)]
/// struct OrderPlacedV1 {
///     id: u64,
/// }
///
/// impl EventSchema for OrderPlacedV1 {
///     const EVENT_TYPE: &'static str = "order.placed";
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct OrderPlaced {
///     id: u64,
///     customer: String,
/// }
///
/// impl EventSchema for OrderPlaced {
///     const EVENT_TYPE: &'static str = "order.placed";
///     const VERSION: &'static str = "2";
///     const TOPIC: Option<&'static str> = Some("orders");
///     const UPCAST: Upcast<Self> = Upcast::from_older::<OrderPlacedV1>();
///
///     fn partition_key(&self) -> Option<Cow<'_, str>> {
///         Some(Cow::Borrowed(&self.customer))
///     }
/// }
///
/// impl From<OrderPlacedV1> for OrderPlaced {
///     fn from(old: OrderPlacedV1) -> Self {
///         Self { id: old.id, customer: "unknown".to_owned() }
///     }
/// }
///
/// let old = Payload::from_text(r#"{"id": 7}"#)?;
/// assert_eq!(OrderPlaced::from_version(Some("1.0.0"), &old)?.customer, "unknown");
///
/// let new = Payload::from_text(r#"{"id": 7, "customer": "Ada"}"#)?;
/// assert_eq!(OrderPlaced::from_version(Some("2.1"), &new)?.customer, "Ada");
///
/// let error = OrderPlaced::from_version(Some("3"), &new).err().unwrap();
/// assert_eq!(error.to_string(), r#"order.placed has no version that reads "3", known are 2, 1.0.0"#);
/// # Ok::<(), omni_box_core::Error>(())
/// ```
///
/// - One type has one version. Older versions are types of their own, linked by [`UPCAST`](Self::UPCAST).
/// - The version of a message is read by the longest known version that equals it, or that it begins with, up to a dot. `2` reads `2.1.0`
///   and does not read `20`.
/// - A message without a version is of version 1.0.0, as [`EnvelopeEventConverter`](crate::EnvelopeEventConverter) writes it.
/// - A version that nothing reads is an error that names the known versions. The payload is never read as another version.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the payload of a type of event",
    note = "add `#[derive(EventSchema)]` with `#[event(type = \"..\")]`, or implement `EventSchema`"
)]
pub trait EventSchema: Sized {
    /// The type of its events, such as `order.placed`: 1 to 100 characters.
    const EVENT_TYPE: &'static str;

    /// The version of its payload: 1 to 50 characters. It is written to `schema_version` when an event is enqueued.
    const VERSION: &'static str = DEFAULT_VERSION;

    /// The topic its events go to, unless an event says otherwise.
    const TOPIC: Option<&'static str> = None;

    /// The next older version of the payload, if there is one: [`Upcast::from_older`].
    const UPCAST: Upcast<Self> = Upcast::none();

    /// The key whose order an event keeps. Without one, no order is asked for.
    fn partition_key(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// An event with this payload, its type, version, topic and key, to add what else it needs before it is enqueued.
    ///
    /// ```
    /// # use omni_box_core::{EventSchema, OmniBoxDomainService};
    /// # #[derive(serde::Serialize)]
    /// # struct OrderPlaced { id: u64 }
    /// # impl EventSchema for OrderPlaced {
    /// #     const EVENT_TYPE: &'static str = "order.placed";
    /// # }
    /// let placed = OrderPlaced { id: 7 };
    /// let event = placed.event().topic("orders").idempotency_key("order-7");
    /// let event = OmniBoxDomainService::default().create_outbox_event(event)?;
    /// assert_eq!(event.topic(), "orders");
    /// # Ok::<(), omni_box_core::Error>(())
    /// ```
    fn event(&self) -> NewOutboxEvent
    where
        Self: Serialize,
    {
        let event = NewOutboxEvent::without_topic(Self::EVENT_TYPE, self).schema_version(Self::VERSION);
        let event = match Self::TOPIC {
            Some(topic) => event.topic(topic),
            None => event,
        };
        match self.partition_key() {
            Some(key) => event.partition_key(key),
            None => event,
        }
    }

    /// The versions that can be read, the newest first.
    fn versions() -> impl Iterator<Item = &'static str> {
        upcast::versions::<Self>()
    }

    /// The known version that reads messages of `version`.
    fn known_version(version: Option<&str>) -> Option<&'static str> {
        version::longest_prefix(Self::versions(), version.unwrap_or(DEFAULT_VERSION))
    }

    /// Reads a payload of a version.
    ///
    /// # Errors
    /// [`Decode`](ErrorKind::Decode) when no known version reads it, naming those that are known, or when the payload does
    /// not fit the type of its version. The payload is not repeated in the error.
    fn from_version(version: Option<&str>, payload: &Payload) -> Result<Self>
    where
        Self: DeserializeOwned,
    {
        match Self::known_version(version) {
            Some(known) => upcast::read(known, payload),
            None => {
                let known: Vec<_> = Self::versions().collect();
                Err(unknown_version(Self::EVENT_TYPE, version, &known))
            }
        }
    }

    /// Reads the payload of an event of this type, by the event's own version.
    ///
    /// # Errors
    /// [`Decode`](ErrorKind::Decode) when the event is of another type, and as [`from_version`](Self::from_version).
    fn from_event<E: Event>(event: &E) -> Result<Self>
    where
        Self: DeserializeOwned,
    {
        if event.event_type() != Self::EVENT_TYPE {
            let message = format!("event is {:?}, not {:?}", event.event_type(), Self::EVENT_TYPE);
            return Err(Error::new(ErrorKind::Decode, message));
        }
        Self::from_version(event.content().schema_version.as_deref(), event.payload())
    }
}

fn unknown_version(event_type: &str, version: Option<&str>, known: &[&str]) -> Error {
    let known = known.join(", ");
    let message = match version {
        Some(version) => format!("{event_type} has no version that reads {version:?}, known are {known}"),
        None => format!(
            "{event_type} has no version that reads {DEFAULT_VERSION:?} (the message names none), known are {known}"
        ),
    };
    Error::new(ErrorKind::Decode, message)
}
