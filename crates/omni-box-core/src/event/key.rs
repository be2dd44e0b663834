//! What an event is stored once by, and whose order it keeps, as bytes that a store can index.

use std::fmt;

use crate::hidden::Hidden;
use crate::id::{ConsumerGroup, EventId};

/// What an event is stored once by: the idempotency key of an outbox event, group and message id of an inbox event.
///
/// Its [bytes](Self::as_bytes) are those of no other identity of the same kind of event; a store without columns indexes them. `Debug`
/// shows their number only.
///
/// ```
/// use omni_box_core::event::Identity;
/// use omni_box_core::{ConsumerGroup, Event, NewOutboxEvent, OmniBoxDomainService};
///
/// let domain = OmniBoxDomainService::default();
/// let order = || NewOutboxEvent::from_json("order.placed", "orders", r#"{"order": 7}"#);
/// let keyed = || domain.create_outbox_event(order().idempotency_key("order-7"));
/// assert_eq!(keyed()?.identity(), keyed()?.identity(), "the second is the first one again");
/// assert_eq!(domain.create_outbox_event(order())?.identity(), None, "stored whenever it is enqueued");
///
/// let (shipping, billing) = (ConsumerGroup::new("shipping")?, ConsumerGroup::new("billing")?);
/// assert_ne!(Identity::of_message(&shipping, "m-1"), Identity::of_message(&billing, "m-1"));
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(Vec<u8>);

/// Whose order an event keeps: topic and key of an outbox event; group, partition and key of an inbox event. An event without a key is an
/// order key of its own, but for an inbox event with a partition, which shares its partition's.
///
/// Its [bytes](Self::as_bytes) are those of no other order key of the same kind of event. `Debug` shows their number only.
///
/// ```
/// use omni_box_core::{Event, NewOutboxEvent, OmniBoxDomainService};
///
/// let domain = OmniBoxDomainService::default();
/// let order = |topic: &str| NewOutboxEvent::from_json("order.placed", topic, r#"{"order": 7}"#);
/// let of_ada = |topic| domain.create_outbox_event(order(topic).partition_key("ada"));
/// assert_eq!(of_ada("orders")?.order_key(), of_ada("orders")?.order_key());
/// assert_ne!(of_ada("orders")?.order_key(), of_ada("invoices")?.order_key(), "a key is that of its topic");
///
/// let without = || domain.create_outbox_event(order("orders"));
/// assert_ne!(without()?.order_key(), without()?.order_key(), "no order is asked for");
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderKey(Vec<u8>);

impl Identity {
    /// The identity of a message within its group.
    pub fn of_message(group: &ConsumerGroup, message_id: &str) -> Self {
        Self(joined(&[Some(group.as_str().as_bytes()), Some(message_id.as_bytes())]))
    }

    /// The identity of an event that has this idempotency key.
    pub(super) fn of_idempotency_key(key: &str) -> Self {
        Self(key.as_bytes().to_vec())
    }

    /// What a store indexes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl OrderKey {
    /// The order key of an event that asks for no order.
    pub(super) fn of_id(id: EventId) -> Self {
        Self(id.as_uuid().as_bytes().to_vec())
    }

    pub(super) fn of_parts(parts: &[Option<&[u8]>]) -> Self {
        Self(joined(parts))
    }

    /// What a store indexes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The parts behind each other, each with its length: no others read the same.
fn joined(parts: &[Option<&[u8]>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        let length = part.map_or(-1, |part| part.len() as i64);
        bytes.extend(length.to_be_bytes());
        bytes.extend(part.unwrap_or_default());
    }
    bytes
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&Hidden::new(&self.0)).finish()
    }
}

impl fmt::Debug for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OrderKey").field(&Hidden::new(&self.0)).finish()
    }
}
