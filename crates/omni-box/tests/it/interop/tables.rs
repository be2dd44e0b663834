//! One outbox: rows of either library are published by the other.

use std::collections::BTreeMap;

use omni_box::ErrorKind;
use omni_box::postgres::{PgConfig, PgStore, Table};
use omni_box::prelude::*;
use omni_box::store::DeliveryMode;
use omni_box_harness::topic::{Isolation, Record, read_topic};
use serde_json::{Value, json};

use super::{World, python_event, rust_event};

/// The statements that this library's own tests of the adoption begin with.
const MODELS: &str = include_str!("../../../../omni-box-postgres/tests/it/python_models.sql");

fn ids(answer: &Value) -> Vec<String> {
    serde_json::from_value(answer.clone()).unwrap()
}

fn id_of(record: &Record) -> String {
    let (_, id) = record.headers.iter().find(|(name, _)| name == "event_id").unwrap();
    String::from_utf8(id.clone().unwrap()).unwrap()
}

/// The ids that lie in a topic, by key.
async fn published(world: &World, topic: &str) -> BTreeMap<String, Vec<String>> {
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in read_topic(&world.brokers, topic, Isolation::ReadCommitted).await.unwrap() {
        let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
        by_key.entry(key).or_default().push(id_of(&record));
    }
    by_key
}

fn by_key(ids: &[String], keys: usize) -> BTreeMap<String, Vec<String>> {
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (n, id) in ids.iter().enumerate() {
        by_key.entry(format!("key-{}", n % keys)).or_default().push(id.clone());
    }
    by_key
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_python_are_relayed_in_the_order_of_their_keys() {
    let Some(world) = World::create().await else { return };
    world.store.migrate().await.unwrap();
    let topic = world.topic("python-rows").await;
    let event = |n: usize| python_event(&topic, &format!("key-{}", n % 3), &json!({ "n": n }));
    let events: Vec<Value> = (0..30).map(event).collect();
    let created = ids(&world.python("enqueue", json!({ "events": events })).await);
    world.relay(RawEventConverter).await;
    assert_eq!(published(&world, &topic).await, by_key(&created, 3));
    world.database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_rust_are_drained_by_python_in_the_order_of_their_keys() {
    let Some(world) = World::create().await else { return };
    world.store.migrate().await.unwrap();
    world.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap();
    let topic = world.topic("rust-rows").await;
    let event = |n: usize| rust_event(&topic, &format!("key-{}", n % 3), &json!({ "n": n }));
    // each has a time of its own: Python orders by it
    let mut created = Vec::new();
    for n in 0..30 {
        created.extend(world.enqueue(vec![event(n)]).await);
    }
    world.python("publish", json!({ "converter": "envelope" })).await;
    assert_eq!(published(&world, &topic).await, by_key(&created, 3));
    let completed =
        "select count(*) from outbox_events where status = 'completed' and completed_at is not null";
    assert_eq!(world.scalar::<i64>(completed).await, 30);
    world.database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_is_one_event_for_both() {
    let Some(world) = World::create().await else { return };
    world.store.migrate().await.unwrap();
    let topic = world.topic("keys").await;
    let mut of_python = python_event(&topic, "a", &json!({ "n": 1 }));
    of_python["idempotency_key"] = "order-1".into();
    let of_rust = || rust_event(&topic, "a", &json!({ "n": 1 })).idempotency_key("order-1");
    let first = ids(&world.python("enqueue", json!({ "events": [of_python] })).await);
    assert_eq!(world.enqueue(vec![of_rust()]).await, first);
    let mut second = of_python.clone();
    second["idempotency_key"] = "order-2".into();
    let of_rust = rust_event(&topic, "a", &json!({ "n": 2 })).idempotency_key("order-2");
    let stored = world.enqueue(vec![of_rust]).await;
    assert_eq!(ids(&world.python("enqueue", json!({ "events": [second] })).await), stored);
    assert_eq!(world.scalar::<i64>("select count(*) from outbox_events").await, 2);
    world.database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_pythons_models_is_adopted_and_python_goes_on() {
    let Some(world) = World::create().await else { return };
    let topic = world.topic("adopted").await;
    let event = |n: usize| python_event(&topic, &format!("key-{}", n % 3), &json!({ "n": n }));
    let events = |from: usize, to: usize| json!({ "events": (from..to).map(event).collect::<Vec<_>>() });
    world.python("create_tables", json!({})).await;
    let mut created = ids(&world.python("enqueue", events(0, 6)).await);
    world.python("publish", json!({ "converter": "raw" })).await;
    created.extend(ids(&world.python("enqueue", events(6, 12)).await));

    world.store.migrate().await.unwrap();
    assert_eq!(world.store.verify().await.unwrap(), []);
    assert_eq!(world.scalar::<i64>("select count(*) from outbox_events").await, 12);
    created.extend(ids(&world.python("enqueue", events(12, 18)).await));
    created.extend(
        world
            .enqueue(
                (18..21).map(|n| rust_event(&topic, &format!("key-{}", n % 3), &json!({ "n": n }))).collect(),
            )
            .await,
    );
    world.python("publish", json!({ "converter": "raw" })).await;
    created.extend(ids(&world.python("enqueue", events(21, 24)).await));

    // Python's publishers have ended
    world.store.set_delivery_mode(DeliveryMode::Lanes).await.unwrap();
    world.relay(RawEventConverter).await;
    assert_eq!(published(&world, &topic).await, by_key(&created, 3));
    world.database.close().await.unwrap();
}

/// Their unique indexes have `created_at` in them: what this library promises of ids, idempotency keys and messages cannot rest on them.
#[tokio::test(flavor = "multi_thread")]
async fn partitioned_tables_of_pythons_models_are_refused_and_left_alone() {
    let Some(world) = World::create().await else { return };
    world.python("create_tables", json!({ "partitioned": true })).await;
    let columns = "select count(*) from information_schema.columns where table_schema = 'public'";
    let before: i64 = world.scalar(columns).await;
    for (table, name) in
        [(Table::OutboxEvents, "outbox_events_partitioned"), (Table::InboxEvents, "inbox_events_partitioned")]
    {
        let config = PgConfig::builder().table(table, name).build().unwrap();
        let refused = PgStore::new(world.database.pool().clone(), config).migrate().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Misconfigured, "{refused}");
        assert!(refused.to_string().contains(&format!("the table {name} is there already")), "{refused}");
        assert!(refused.to_string().contains("it is partitioned"), "{refused}");
        assert_eq!(world.scalar::<i64>(columns).await, before, "{name}");
    }
    world.database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_of_other_tests_are_those_of_pythons_models() {
    let Some(world) = World::create().await else { return };
    let statements: Vec<String> = serde_json::from_value(world.python("models", json!({})).await).unwrap();
    let words = |sql: &str| {
        let sql = sql.to_lowercase().replace(';', " ");
        sql.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    let code: String =
        MODELS.lines().filter(|line| !line.starts_with("--")).flat_map(|line| [line, "\n"]).collect();
    assert_eq!(words(&statements.join(" ")), words(&code));
    world.database.close().await.unwrap();
}

/// A store on rows of Python's keeps what this library itself would refuse.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_this_library_would_refuse_is_published_and_stops_nothing() {
    let Some(world) = World::create().await else { return };
    world.store.migrate().await.unwrap();
    let topic = world.topic("refused").await;
    let mut odd = python_event(&topic, "a", &json!({ "text": "x".repeat(900_000) }));
    odd["headers"] = json!({ "Event_ID": "mine", "Größe": "groß" });
    odd["max_attempts"] = 100_000.into();
    let created = ids(&world
        .python("enqueue", json!({ "events": [odd, python_event(&topic, "a", &json!({ "n": 1 }))] }))
        .await);
    world.relay(EnvelopeEventConverter).await;
    assert_eq!(published(&world, &topic).await, BTreeMap::from([("a".to_owned(), created)]));
    world.database.close().await.unwrap();
}
