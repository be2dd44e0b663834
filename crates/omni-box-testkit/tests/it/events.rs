//! Events for the tests of brokers and faults.

use std::sync::Arc;

use omni_box_core::{EventId, InboundMessage, NewOutboxEvent, OmniBoxDomainService, OutboxEvent};

pub(crate) fn event(topic: &str, key: Option<&str>) -> Arc<OutboxEvent> {
    let event = NewOutboxEvent::from_json("order.placed", topic, r#"{"order":7}"#);
    let event = match key {
        Some(key) => event.partition_key(key),
        None => event,
    };
    Arc::new(OmniBoxDomainService::default().create_outbox_event(event).unwrap())
}

/// The events that messages are of, by their headers.
pub(crate) fn ids_of(messages: &[InboundMessage]) -> Vec<EventId> {
    let id = |message: &InboundMessage| {
        EventId::from(message.header("event_id").unwrap().parse::<uuid::Uuid>().unwrap())
    };
    messages.iter().map(id).collect()
}
