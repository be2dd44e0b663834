//! Each attribute has its effect.

use omni_box_core::{EventSchema as _, Payload};
use omni_box_macros::EventSchema;
use serde::{Deserialize, Serialize};

const TOPIC: &str = "orders";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Customer {
    id: u32,
}

#[derive(Deserialize, EventSchema)]
#[event(type = "order.placed")]
struct OrderV1 {
    customer: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, EventSchema)]
#[event(type = "order.placed", version = "2", topic = TOPIC)]
#[event(key = customer.id, upcast_from = OrderV1)]
struct Order {
    customer: Customer,
}

impl From<OrderV1> for Order {
    fn from(old: OrderV1) -> Self {
        Self { customer: Customer { id: old.customer } }
    }
}

#[derive(Serialize, EventSchema)]
#[event(type = "numbered", key = 1)]
struct Numbered(&'static str, u64);

#[derive(Serialize, EventSchema)]
#[event(type = "optional", key = r#type)]
struct Optional {
    r#type: Option<String>,
}

#[derive(Serialize, EventSchema)]
#[event(type = "choice", key = Self::route)]
enum Choice {
    Left(u8),
    Right { to: u8 },
}

impl Choice {
    fn route(&self) -> String {
        match self {
            Self::Left(to) => format!("left/{to}"),
            Self::Right { to } => format!("right/{to}"),
        }
    }
}

#[derive(Serialize, EventSchema)]
#[event(type = "wrapped", crate = ::omni_box_core, key = id)]
struct Wrapped<'a, T: Serialize>
where
    T: ToString,
{
    id: &'a str,
    value: T,
}

fn key(schema: &impl omni_box_core::EventSchema) -> Option<String> {
    schema.partition_key().map(|key| key.into_owned())
}

#[test]
fn constants() {
    assert_eq!((Order::EVENT_TYPE, Order::VERSION, Order::TOPIC), ("order.placed", "2", Some("orders")));
    assert_eq!((OrderV1::EVENT_TYPE, OrderV1::VERSION, OrderV1::TOPIC), ("order.placed", "1.0.0", None));
    assert_eq!(Order::versions().collect::<Vec<_>>(), ["2", "1.0.0"]);
}

#[test]
fn keys() {
    assert_eq!(key(&Order { customer: Customer { id: 7 } }).as_deref(), Some("7"));
    assert_eq!(key(&Numbered("a", 3)).as_deref(), Some("3"));
    assert_eq!(key(&Optional { r#type: Some("k".to_owned()) }).as_deref(), Some("k"));
    assert_eq!(key(&Optional { r#type: None }), None);
    assert_eq!(key(&Choice::Left(1)).as_deref(), Some("left/1"));
    assert_eq!(key(&Choice::Right { to: 2 }).as_deref(), Some("right/2"));
    assert_eq!(key(&Wrapped { id: "w", value: 1 }).as_deref(), Some("w"));
    assert_eq!(key(&OrderV1 { customer: 1 }), None);
}

#[test]
fn an_older_version_is_converted() {
    let old = Payload::from_text(r#"{"customer":7}"#).unwrap();
    assert_eq!(Order::from_version(None, &old).unwrap(), Order { customer: Customer { id: 7 } });
}
