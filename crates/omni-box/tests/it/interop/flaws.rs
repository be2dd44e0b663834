//! What the Python library gets wrong by this library's contracts. A test fails once a version of Python's has mended it.

use omni_box::prelude::*;
use omni_box::store::DeliveryMode;
use omni_box_harness::topic::{Message, produce};
use serde_json::json;

use super::{World, python_event, rust_event};

#[tokio::test(flavor = "multi_thread")]
async fn python_passes_over_a_message_that_is_not_json_and_loses_it() {
    let Some(world) = World::create().await else { return };
    world.store.migrate().await.unwrap();
    let topic = world.topic("no-json").await;
    let message = |value: &str| Message { value: Some(value.into()), ..Message::default() };
    produce(&world.brokers, &topic, &[message("no json"), message("{\"n\": 1}")]).await.unwrap();
    let arguments = |kafka_group: &str| json!({ "topics": [topic], "group": "python", "kafka_group": kafka_group, "count": 2 });
    let results = world.python("consume", arguments(&topic)).await;
    assert_eq!(results[0]["error"], "JSONDecodeError");
    assert_eq!(results[1]["message_id"], format!("{topic}:0:1"));
    let committed = omni_box_harness::topic::committed_offsets(&world.brokers, &topic, &topic).await.unwrap();
    assert_eq!(committed[&0], 2, "Python has acknowledged both");
    assert_eq!(world.scalar::<i64>("select count(*) from inbox_events").await, 1);

    // here it is kept, and shown to an operator
    let both =
        "select (select count(*) from inbox_events) = 2 and (select count(*) from inbox_quarantine) = 1";
    world.consume(&[&topic], &format!("{topic}-rust"), both, false).await;
    world.database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn python_writes_updated_at_hours_off_where_the_session_is_not_in_utc() {
    let Some(world) = World::create().await else { return };
    world.store.migrate().await.unwrap();
    world.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap();
    let topic = world.topic("zone").await;
    world.enqueue(vec![rust_event(&topic, "key", &json!({ "n": 1 }))]).await;
    world.python("publish", json!({ "converter": "raw", "time_zone": "Asia/Tokyo" })).await;
    let off =
        "select completed_at - updated_at between interval '8 h' and interval '10 h' from outbox_events";
    assert!(world.scalar::<bool>(off).await);
    world.database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn python_cannot_read_an_event_without_an_aggregate_and_drains_nothing_beside_it() {
    let Some(world) = World::create().await else { return };
    world.store.migrate().await.unwrap();
    world.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap();
    let topic = world.topic("aggregate").await;
    world.python("enqueue", json!({ "events": [python_event(&topic, "key", &json!({ "n": 1 }))] })).await;
    world
        .enqueue(vec![NewOutboxEvent::new("order.placed", &topic, &json!({ "n": 2 })).partition_key("other")])
        .await;
    let told = world.refused("publish", json!({ "converter": "raw" })).await;
    assert!(told.contains("ValidationError") && told.contains("aggregate_type"), "{told}");
    assert_eq!(world.scalar::<i64>("select count(*) from outbox_events where status = 'pending'").await, 2);
    // this library relays both
    world.relay(RawEventConverter).await;
    world.database.close().await.unwrap();
}
