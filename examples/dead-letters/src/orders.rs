//! What is done with an order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use omni_box::prelude::*;
use omni_box::store::InboxRepository;
use omni_box::{EventId, EventSchema, PermanentError};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[derive(Serialize, Deserialize, EventSchema)]
#[event(type = "order.placed", key = number)]
pub(crate) struct OrderPlaced {
    number: u32,
    warehouse: String,
}

/// What was shipped, and by which message.
pub(crate) struct Shipment {
    pub(crate) number: u32,
    pub(crate) event: EventId,
    pub(crate) message_id: String,
    pub(crate) causation: Option<String>,
}

/// Whether the warehouse in Oslo is open, and where shipments are noted. A real handler writes by `cx.conn()`.
#[derive(Clone)]
pub(crate) struct Shop {
    is_oslo_open: Arc<AtomicBool>,
    notes: mpsc::UnboundedSender<Shipment>,
}

/// What was shipped since it was looked at last.
pub(crate) struct Shipments(mpsc::UnboundedReceiver<Shipment>);

impl Shop {
    pub(crate) fn with_closed_oslo() -> (Self, Shipments) {
        let (notes, shipped) = mpsc::unbounded_channel();
        (Self { is_oslo_open: Arc::default(), notes }, Shipments(shipped))
    }

    pub(crate) fn open_oslo(&self) {
        self.is_oslo_open.store(true, Ordering::SeqCst);
    }
}

impl Shipments {
    pub(crate) fn drain(&mut self) -> Vec<Shipment> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

/// The numbers of the orders, for a line of text.
pub(crate) fn numbers(shipped: &[Shipment]) -> String {
    let mut numbers: Vec<String> = shipped.iter().map(|shipment| shipment.number.to_string()).collect();
    numbers.sort();
    numbers.join(" and ")
}

pub(crate) async fn ship<S: InboxRepository>(
    cx: InboxContext<'_, S>,
    order: OrderPlaced,
    State(shop): State<Shop>,
) -> anyhow::Result<()> {
    if order.warehouse == "Oslo" && !shop.is_oslo_open.load(Ordering::SeqCst) {
        // no retry would help
        return Err(PermanentError::new("the warehouse in Oslo is closed").into());
    }
    let shipment = Shipment {
        number: order.number,
        event: cx.event.id(),
        message_id: cx.event.message_id().to_owned(),
        causation: cx.event.content().causation_id.clone(),
    };
    shop.notes.send(shipment).ok().context("nothing listens")
}
