//! Orders as Avro.

#![allow(deprecated, reason = "functions are shorter to show than the readers and writers that follow them")]

use std::sync::Arc;

use anyhow::Context;
use apache_avro::types::Value;
use apache_avro::{Schema, from_avro_datum, to_avro_datum};
use omni_box::event::{OutboxEvent, Payload};
use omni_box::message::{EventConverter, converter_fn};
use omni_box::{Error, Event};

use crate::Order;
use crate::registry::{Registry, framed, split};

/// The id that the registry has given the schema.
pub(crate) const ID: u32 = 7;
pub(crate) const SCHEMA: &str = r#"{
    "type": "record", "name": "Order",
    "fields": [{"name": "number", "type": "long"}, {"name": "item", "type": "string"}]
}"#;

/// Writes an order with the header of its schema. An event that is none can never be encoded, and is failed.
pub(crate) fn converter(registry: &Registry) -> anyhow::Result<impl EventConverter + use<>> {
    let schema = Schema::parse_str(registry.schema(ID)?)?;
    Ok(converter_fn(move |event: &OutboxEvent| {
        let order: Order = event.payload().deserialize()?;
        let record = Value::Record(vec![
            ("number".to_owned(), Value::Long(order.number)),
            ("item".to_owned(), Value::String(order.item)),
        ]);
        let body = to_avro_datum(&schema, record);
        Ok(framed(ID, &body.map_err(|error| Error::invalid("not an order").with_source(error))?))
    }))
}

/// Reads a message's value by the schema that its header names.
pub(crate) fn payload(registry: &Arc<Registry>, value: Option<&[u8]>) -> anyhow::Result<Payload> {
    let (id, mut body) = split(value)?;
    let schema = Schema::parse_str(registry.schema(id)?)?;
    // its error's text may quote the message; a text that ends early is read as null
    let record = from_avro_datum(&schema, &mut body, None)
        .ok()
        .filter(|record| record.validate(&schema))
        .with_context(|| format!("the value is not Avro of schema {id}"))?;
    Ok(Payload::new(&serde_json::Value::try_from(record)?)?)
}
