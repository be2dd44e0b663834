//! The events, as types: what they are called, their versions, their keys.

use omni_box::EventSchema;
use serde::{Deserialize, Serialize};

/// The first version, which no service writes any more and some messages still are of.
#[derive(Serialize, Deserialize, EventSchema)]
#[event(type = "order.placed", key = customer)]
pub(crate) struct OrderPlacedV1 {
    pub(crate) number: u32,
    pub(crate) customer: String,
}

#[derive(Serialize, Deserialize, EventSchema)]
#[event(type = "order.placed", version = "2", key = customer, upcast_from = OrderPlacedV1)]
pub(crate) struct OrderPlaced {
    pub(crate) number: u32,
    pub(crate) customer: String,
    pub(crate) item: String,
}

impl From<OrderPlacedV1> for OrderPlaced {
    fn from(OrderPlacedV1 { number, customer }: OrderPlacedV1) -> Self {
        Self { number, customer, item: "a surprise".to_owned() }
    }
}

/// Has every field of an order that was placed, and must not be shipped.
#[derive(Serialize, Deserialize, EventSchema)]
#[event(type = "order.cancelled", key = customer)]
pub(crate) struct OrderCancelled {
    pub(crate) number: u32,
    pub(crate) customer: String,
    pub(crate) item: String,
}

/// What the shipping tells the world.
#[derive(Serialize, Deserialize, EventSchema)]
#[event(type = "order.shipped", key = customer)]
pub(crate) struct OrderShipped {
    pub(crate) number: u32,
    pub(crate) customer: String,
}

/// An event that this service has no use for.
#[derive(Serialize, EventSchema)]
#[event(type = "order.audited")]
pub(crate) struct OrderAudited {
    pub(crate) number: u32,
}
