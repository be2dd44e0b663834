//! Orders as Protobuf.

use omni_box::Event;
use omni_box::event::{OutboxEvent, Payload};
use omni_box::message::{EventConverter, converter_fn};
use prost::Message;

use crate::Order;
use crate::registry::{Registry, framed, split};

/// The id that the registry has given the file of the message.
pub(crate) const ID: u32 = 8;
pub(crate) const SCHEMA: &str = r#"syntax = "proto3"; message Order { int64 number = 1; string item = 2; }"#;
/// Which message of the file: the first one, written short.
const FIRST: u8 = 0;

/// What `prost-build` makes of the schema.
#[derive(Clone, PartialEq, Message)]
struct OrderMessage {
    #[prost(int64, tag = "1")]
    number: i64,
    #[prost(string, tag = "2")]
    item: String,
}

/// Writes an order with the header of its schema, behind which Protobuf has the message's place in the file.
pub(crate) fn converter() -> impl EventConverter {
    converter_fn(|event: &OutboxEvent| {
        let Order { number, item } = event.payload().deserialize()?;
        let mut body = vec![FIRST];
        body.extend(OrderMessage { number, item }.encode_to_vec());
        Ok(framed(ID, &body))
    })
}

/// Reads a message's value, of the one schema that this service knows.
pub(crate) fn payload(registry: &Registry, value: Option<&[u8]>) -> anyhow::Result<Payload> {
    let (id, body) = split(value)?;
    registry.schema(id)?;
    anyhow::ensure!(id == ID, "schema {id} is not that of an order");
    let [FIRST, body @ ..] = body else { anyhow::bail!("the value is not the first message of schema {id}") };
    let OrderMessage { number, item } = OrderMessage::decode(body)
        .map_err(|_| anyhow::anyhow!("the value is not Protobuf of schema {id}"))?;
    Ok(Payload::new(&Order { number, item })?)
}
