//! The suites, tested: on the store and broker in memory, and on ones that are broken on purpose.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod broken;
mod broker;
mod memory;

use omni_box_core::{EventId, InboundMessage};

/// The events that messages are of, by their headers.
fn ids_of(messages: &[InboundMessage]) -> Vec<EventId> {
    let id = |message: &InboundMessage| {
        EventId::from(message.header("event_id").unwrap().parse::<uuid::Uuid>().unwrap())
    };
    messages.iter().map(id).collect()
}
