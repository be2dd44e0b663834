//! Tests of the public interface, one module per subject.

#![allow(clippy::unwrap_used, reason = "helpers outside of test functions may fail a test too")]

mod cloudevents;
mod converters;
mod decoder;
mod error;
mod handler;
mod hidden;
mod lifecycle;
mod limits;
mod payload;
mod pointers;
mod public_types;
mod record;
mod registry;
mod retry;
mod rows;
mod schema;
mod trace;
mod tracker;
mod wake;

use omni_box_core::{
    ConsumerGroup, EventContent, InboundMessage, InboxEvent, NewInboxEvent, NewOutboxEvent,
    OmniBoxDomainService, OutboxEvent, Payload, Result,
};

fn create(event: NewOutboxEvent) -> Result<OutboxEvent> {
    OmniBoxDomainService::default().create_outbox_event(event)
}

fn new_event() -> NewOutboxEvent {
    NewOutboxEvent::from_json("order.placed", "orders", r#"{"order":1}"#)
}

fn group() -> ConsumerGroup {
    ConsumerGroup::new("shipping").unwrap()
}

fn new_inbox(payload: &str) -> NewInboxEvent {
    let content = EventContent::new("order.placed", Payload::from_text(payload).unwrap());
    NewInboxEvent::new("message-1", group(), "orders", content)
}

fn inbox_event(payload: &str) -> InboxEvent {
    OmniBoxDomainService::default().create_inbox_event(new_inbox(payload)).unwrap()
}

fn message(value: Option<&[u8]>) -> InboundMessage {
    InboundMessage {
        topic: "orders".into(),
        partition: 3,
        offset: 17,
        key: None,
        value: value.map(|value| value.to_vec().into()),
        headers: Vec::new(),
        timestamp: None,
    }
}
