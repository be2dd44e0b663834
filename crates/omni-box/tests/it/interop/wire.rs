//! One wire: what either library publishes, the other takes into its inbox as if it were its own.

use omni_box::message::SchemaVersionedConverter;
use omni_box::prelude::*;
use omni_box::store::DeliveryMode;
use serde_json::json;

use super::{World, python_event, rust_event};

const CONVERTERS: [&str; 3] = ["raw", "schema_versioned", "envelope"];

/// What an inbox holds of a message; ids are compared with those of the events.
const RECEIVED: &str =
    "select coalesce(array_agg(concat_ws('|', message_id, event_type, source, payload::jsonb, headers::jsonb,
        trace_id, correlation_id, causation_id, schema_version) order by message_id), '{}')
    from inbox_events where consumer_group = ";

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_each_converter_are_the_same_to_both_from_either() {
    let Some(world) = World::create().await else { return };
    world.store.migrate().await.unwrap();
    world.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap();
    let mut topics = Vec::new();
    for converter in CONVERTERS {
        for publisher in ["rust", "python"] {
            let topic = world.topic(&format!("{publisher}-{converter}")).await;
            let payload = json!({ "n": 1, "text": "é🦀", "nested": [{ "a": null }], "price": 1.5 });
            let full = rust_event(&topic, "key", &payload)
                .header("source", "shop")
                .header("tenant", "blue")
                .trace_id("trace-1")
                .correlation_id("correlation-1")
                .causation_id("causation-1")
                .schema_version("2.1");
            let minimal = rust_event(&topic, "key", &payload).header("source", "shop");
            world.enqueue(vec![full]).await;
            world.enqueue(vec![minimal]).await;
            if publisher == "python" {
                world.python("publish", json!({ "converter": converter, "topic": topic })).await;
            } else {
                match converter {
                    "raw" => world.relay(RawEventConverter).await,
                    "schema_versioned" => world.relay(SchemaVersionedConverter).await,
                    _ => world.relay(EnvelopeEventConverter).await,
                }
            }
            topics.push(topic);
        }
    }

    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let [rust_group, python_group] = ["rust", "python"].map(|library| format!("{library}-{}", topics[0]));
    let count = 2 * names.len();
    let all = format!("select count(*) = {count} from inbox_events where consumer_group = '{rust_group}'");
    world.consume(&names, &rust_group, &all, false).await;
    let arguments =
        json!({ "topics": names, "group": python_group, "kafka_group": python_group, "count": count });
    world.python("consume", arguments).await;

    let rust: Vec<String> = world.scalar(&format!("{RECEIVED} '{rust_group}'")).await;
    let python: Vec<String> = world.scalar(&format!("{RECEIVED} '{python_group}'")).await;
    assert_eq!(rust.len(), 2 * names.len());
    // Python's converter leaves out the version of an event without one, and this library's says 1.0.0
    let unversioned = |messages: &[String]| -> Vec<String> {
        messages.iter().map(|message| message.trim_end_matches("|1.0.0").to_owned()).collect()
    };
    assert_eq!(unversioned(&rust), unversioned(&python));
    let events = "select array_agg(id::text order by id::text) from outbox_events";
    let received =
        "select array_agg(message_id order by message_id) from inbox_events where consumer_group = ";
    let events: Vec<String> = world.scalar(events).await;
    for group in [rust_group, python_group] {
        assert_eq!(world.scalar::<Vec<String>>(&format!("{received}'{group}'")).await, events);
        let odd = format!(
            "select count(*) from inbox_events where consumer_group = '{group}' and
            (source <> 'shop' or event_type <> 'order.placed' or payload::jsonb->>'text' <> 'é🦀')"
        );
        assert_eq!(world.scalar::<i64>(&odd).await, 0);
    }
    world.database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_one_library_has_handled_is_a_repeat_to_the_other() {
    let Some(world) = World::create().await else { return };
    world.store.migrate().await.unwrap();
    let topic = world.topic("dedup").await;
    let event = |n: i32| python_event(&topic, "key", &json!({ "n": n }));
    world.python("enqueue", json!({ "events": [event(1), event(2)] })).await;
    world.relay(EnvelopeEventConverter).await;
    let [by_rust, by_python] = ["by-rust", "by-python"].map(|who| format!("{who}-{topic}"));
    let completed = |count: i32, group: &str| {
        format!(
            "select count(*) = {count} from inbox_events where status = 'completed' and consumer_group = '{group}'"
        )
    };
    let arguments = |group: &str| {
        let kafka_group = format!("{group}-python");
        json!({ "topics": [topic], "group": group, "kafka_group": kafka_group, "count": 2, "handle": true })
    };
    world.consume(&[&topic], &by_rust, &completed(2, &by_rust), true).await;
    let results = world.python("consume", arguments(&by_rust)).await;
    assert!(results.as_array().unwrap().iter().all(|result| result["duplicate"] == true), "{results}");

    let results = world.python("consume", arguments(&by_python)).await;
    assert!(results.as_array().unwrap().iter().all(|result| result["duplicate"] == false), "{results}");
    let old = "select string_agg(i::text, ' ' order by id) from inbox_events i where payload->>'n' <> '3'";
    let before: String = world.scalar(old).await;
    // a third event shows that the two before it have been passed over
    world.python("enqueue", json!({ "events": [event(3)] })).await;
    world.relay(EnvelopeEventConverter).await;
    world.consume(&[&topic], &by_python, &completed(3, &by_python), true).await;
    assert_eq!(world.scalar::<String>(old).await, before);
    assert_eq!(world.scalar::<i64>("select count(*) from inbox_quarantine").await, 0);
    world.database.close().await.unwrap();
}

/// A relay that ends before it has marked an event leaves it to Python's publisher, and the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_both_have_published_is_a_repeat() {
    let Some(world) = World::create().await else { return };
    world.store.migrate().await.unwrap();
    world.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap();
    let topic = world.topic("both").await;
    let payload = json!({ "n": 1, "text": "é🦀", "price": 1.5 });
    world.enqueue(vec![rust_event(&topic, "key", &payload).header("source", "shop")]).await;
    let again = "with again as (update outbox_events set status = 'pending', completed_at = null returning 1)
        select count(*) from again";
    for converter in CONVERTERS {
        match converter {
            "raw" => world.relay(RawEventConverter).await,
            "schema_versioned" => world.relay(SchemaVersionedConverter).await,
            _ => world.relay(EnvelopeEventConverter).await,
        }
        assert_eq!(world.scalar::<i64>(again).await, 1);
        world.python("publish", json!({ "converter": converter, "topic": topic })).await;
        assert_eq!(world.scalar::<i64>(again).await, 1);
    }
    // a message behind them shows that they have been passed over
    world.enqueue(vec![rust_event(&topic, "key", &json!({ "n": 2 })).header("source", "shop")]).await;
    world.relay(EnvelopeEventConverter).await;
    let completed = "select count(*) = 2 from inbox_events where status = 'completed'";
    world.consume(&[&topic], &format!("group-{topic}"), completed, true).await;
    assert_eq!(world.scalar::<i64>("select count(*) from inbox_quarantine").await, 0);
    world.database.close().await.unwrap();
}
