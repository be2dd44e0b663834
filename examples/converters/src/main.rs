//! Avro and Protobuf with the header of a schema registry, both ways: `cargo run -p converters`.
//!
//! The outbox and the inbox hold JSON. A converter writes what a topic's consumers read, a decoder makes JSON of it again, and a handler sees
//! no difference. A body that cannot be read is kept in quarantine, with a reason that does not repeat it.

mod avro;
mod protobuf;
mod registry;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use omni_box::message::{DecodeError, DefaultMessageDecoder, InboundMessage, MessageDecoder, PerTopic};
use omni_box::prelude::*;
use omni_box_testkit::{MemoryBroker, MemoryStore, NewMessage};
use serde::{Deserialize, Serialize};

use crate::registry::Registry;

const AVRO: &str = "orders.avro";
const PROTOBUF: &str = "orders.protobuf";
/// Longest time for all of it.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
struct Order {
    number: i64,
    item: String,
}

/// Makes JSON of what a topic has.
fn decoder(registry: &Arc<Registry>) -> DefaultMessageDecoder {
    let registry = registry.clone();
    DefaultMessageDecoder::new().payload(move |message: &InboundMessage| {
        let value = message.value.as_deref();
        let payload = match message.topic.as_str() {
            AVRO => avro::payload(&registry, value),
            _ => protobuf::payload(&registry, value),
        };
        payload.map_err(|error| DecodeError::new(error.to_string()))
    })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
    let registry = Arc::new(Registry::new([(avro::ID, avro::SCHEMA), (protobuf::ID, protobuf::SCHEMA)]));
    let mut tx = store.begin().await?;
    for (number, topic) in [(1, AVRO), (2, PROTOBUF)] {
        broker.create_topic(topic, 1);
        let order = Order { number, item: "lamp".to_owned() };
        store.enqueue(&mut tx, NewOutboxEvent::new("order.placed", topic, &order)).await?;
    }
    store.commit(tx).await?;

    let converter = PerTopic::new(EnvelopeEventConverter)
        .topic(AVRO, avro::converter(&registry)?)
        .topic(PROTOBUF, protobuf::converter());
    let relay = OutboxRelay::builder(store.clone(), broker.publisher(converter)).build()?;
    let handled = Arc::new(Mutex::new(Vec::new()));
    let ship = {
        let handled = handled.clone();
        move |cx: InboxContext<'_, MemoryStore>, order: Order| {
            let line = format!("order {}: {}", order.number, order.item);
            handled.lock().expect("no holder panics").push((cx.event.source().to_owned(), line));
            async {}
        }
    };
    let consumer = broker.consumer(&ConsumerGroup::new("shipping")?, [AVRO, PROTOBUF]);
    let inbox = InboxConsumerRunner::builder(consumer, store)
        .decoder(decoder(&registry))
        .handler(on("order.placed", ship))
        .build()?;
    let done = async {
        while handled.lock().expect("no holder panics").len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, Workers::new().relay(relay).inbox(inbox).run_until(done)).await??;

    let mut handled = std::mem::take(&mut *handled.lock().expect("no holder panics"));
    handled.sort();
    for (topic, line) in handled {
        let record = &broker.records(&topic)[0];
        let value = record.value.as_deref().unwrap_or_default();
        let hex: Vec<String> = value.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("{topic:<16}{}\n{:<16}{line}", hex.join(" "), "");
    }

    println!("cannot be read:");
    let group = ConsumerGroup::new("shipping")?;
    let avro = broker.records(AVRO)[0].value.clone().unwrap_or_default();
    let unknown = registry::framed(9, &avro[5..]);
    for (what, topic, value) in [
        ("JSON", AVRO, br#"{"number": 3, "item": "lamp"}"#.to_vec()),
        ("an unknown schema", AVRO, unknown),
        ("a part of it", AVRO, avro[..8].to_vec()),
        ("three bytes", PROTOBUF, vec![0; 3]),
        ("Avro", PROTOBUF, avro.to_vec()),
    ] {
        broker.send(NewMessage::to(topic).value(value));
        let message = broker.records(topic).pop().ok_or_else(|| anyhow::anyhow!("it was sent"))?;
        let refused = decoder(&registry).decode(&message, &group).err();
        println!("  {what:<18}{}", refused.map_or("is read".to_owned(), |error| error.to_string()));
    }
    // without a decoder of its own
    let message = &broker.records(AVRO)[0];
    let refused = DefaultMessageDecoder::new().decode(message, &group).err();
    println!("  {:<18}{}", "no registry", refused.map_or("is read".to_owned(), |error| error.to_string()));
    Ok(())
}
