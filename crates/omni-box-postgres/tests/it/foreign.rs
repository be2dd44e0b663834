//! The function by which triggers and programs in other languages enqueue.

use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    Activity, NewOutboxEvent, OmniBoxDomainService, OrderedLanes, OutboxExt, OutboxRepository, OwnerId,
};
use omni_box_postgres::{PgConfig, PgStore, SchemaDifference, Table};
use serde_json::{Value, json};
use sqlx::types::Uuid;
use sqlx::{AssertSqlSafe, Row};

use crate::database::{Database, request, run, run_with};

const SOON: Duration = Duration::from_secs(10);

/// Arguments that are texts, each with what the library calls the same.
type Setter = fn(NewOutboxEvent, String) -> NewOutboxEvent;
const TEXTS: [(&str, Setter, usize); 7] = [
    ("partition_key", |event, text| event.partition_key(text), 255),
    ("aggregate_type", |event, text| event.aggregate(text, Uuid::nil()), 50),
    ("idempotency_key", |event, text| event.idempotency_key(text), 128),
    ("schema_version", |event, text| event.schema_version(text), 50),
    ("trace_id", |event, text| event.trace_id(text), 64),
    ("correlation_id", |event, text| event.correlation_id(text), 64),
    ("causation_id", |event, text| event.causation_id(text), 64),
];

/// Whether the library takes an event, and the function takes the same.
async fn both(db: &Database, event: NewOutboxEvent, arguments: &str, what: &str) {
    let library = OmniBoxDomainService::default().create_outbox_event(event);
    let call = format!("select enqueue({arguments})");
    let function = sqlx::query(AssertSqlSafe(call)).execute(&db.pool).await;
    assert_eq!(library.is_ok(), function.is_ok(), "{what}: {:?}, {:?}", library.err(), function.err());
    if let Err(error) = function {
        let error = error.into_database_error().unwrap();
        assert_eq!(error.code().as_deref(), Some("22023"), "{what}: {error}");
    }
}

#[tokio::test]
async fn it_takes_what_the_library_takes_and_refuses_what_it_refuses() {
    run(async |db: Arc<Database>| {
        let event = || NewOutboxEvent::new("t", "orders", &json!({ "n": 1 }));
        for (name, set, most) in TEXTS {
            for length in [0, 1, most, most + 1] {
                // characters, not bytes
                let text = "é".repeat(length);
                let arguments = format!("'t', 'orders', '{{\"n\": 1}}', {name} => '{text}'");
                both(&db, set(event(), text), &arguments, &format!("{name} of {length}")).await;
            }
        }
        for (event_type, topic) in [
            ("", "o"),
            ("t", ""),
            (&*"t".repeat(101), "o"),
            ("t", &"o".repeat(256)),
            (&"t".repeat(100), &"o".repeat(255)),
        ] {
            let arguments = format!("'{event_type}', '{topic}', '{{\"n\": 1}}'");
            both(&db, NewOutboxEvent::new(event_type, topic, &json!({ "n": 1 })), &arguments, event_type)
                .await;
        }
        let large = |bytes: usize| json!({ "x": "x".repeat(bytes - r#"{"x":""}"#.len()) });
        for payload in [
            json!({}),
            json!([1]),
            json!("text"),
            json!(null),
            json!({ "a": {} }),
            large(1_000_000),
            large(1_000_001),
        ] {
            let arguments = format!("'t', 'orders', '{payload}'");
            let shown: String = arguments.chars().take(40).collect();
            both(&db, NewOutboxEvent::new("t", "orders", &payload), &arguments, &shown).await;
        }
        let many = |count: usize| Value::Object((0..count).map(|n| (n.to_string(), "v".into())).collect());
        for headers in [
            json!({}),
            json!({ "Größe": "" }),
            json!({ "": "v" }),
            json!({ "a": "é".repeat(512) }),
            json!({ "a": "é".repeat(513) }),
            Value::Object([("k".repeat(64), "v".into())].into_iter().collect()),
            Value::Object([("k".repeat(65), "v".into())].into_iter().collect()),
            json!({ "a": "x\ny" }),
            json!({ "a": "x\u{85}y" }),
            json!({ "a\t": "x" }),
            json!({ "tenant": "a", "Tenant": "b" }),
            json!({ "Event_ID": "x" }),
            json!({ "causation_id": "x" }),
            json!({ "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" }),
            many(100),
            many(101),
        ] {
            let members = headers.as_object().unwrap().iter();
            let with_headers =
                members.fold(event(), |event, (key, value)| event.header(key, value.as_str().unwrap()));
            let arguments = format!("'t', 'orders', '{{\"n\": 1}}', headers => '{headers}'");
            both(&db, with_headers, &arguments, &headers.to_string()).await;
        }
        for seconds in [-61, -59, 0, 364 * 86_400, 366 * 86_400] {
            let at = chrono::Utc::now() + chrono::TimeDelta::seconds(seconds);
            let arguments = format!("'t', 'orders', '{{\"n\": 1}}', scheduled_at => '{}'", at.to_rfc3339());
            both(&db, event().scheduled_at(at), &arguments, &format!("{seconds} s")).await;
        }
        // what the types of Rust do not let pass
        for arguments in [
            "null, 'orders', '{\"n\": 1}'",
            "'t', null, '{\"n\": 1}'",
            "'t', 'orders', null",
            "'t', 'orders', '{\"n\": 1}', headers => '[]'",
            "'t', 'orders', '{\"n\": 1}', headers => '{\"a\": 1}'",
            "'t', 'orders', '{\"n\": 1}', max_attempts => 0",
            "'t', 'orders', '{\"n\": 1}', max_attempts => null",
        ] {
            let call = format!("select enqueue({arguments})");
            let error = sqlx::query(AssertSqlSafe(call)).execute(&db.pool).await.unwrap_err();
            assert_eq!(error.into_database_error().unwrap().code().as_deref(), Some("22023"), "{arguments}");
        }
    })
    .await;
}

#[tokio::test]
async fn ids_that_do_not_fit_are_left_out() {
    run(async |db: Arc<Database>| {
        let (most, more) = ("é".repeat(64), "é".repeat(65));
        let call = "select enqueue('t', 'orders', '{\"n\": 1}', trace_id => $1, correlation_id => $2, causation_id => '')";
        sqlx::query(call).bind(&most).bind(more).execute(&db.pool).await.unwrap();
        let ids: (Option<String>, Option<String>, Option<String>) =
            sqlx::query_as("select trace_id, correlation_id, causation_id from outbox_events")
                .fetch_one(&db.pool)
                .await
                .unwrap();
        assert_eq!(ids, (Some(most), None, None));
    })
    .await;
}

#[tokio::test]
async fn its_event_is_that_of_the_library() {
    run(async |db: Arc<Database>| {
        let id = Uuid::from_u128(7);
        let event = NewOutboxEvent::new("order.placed", "orders", &json!({ "n": 1 }))
            .partition_key("key")
            .header("tenant", "blue")
            .aggregate("order", id)
            .idempotency_key("by library")
            .schema_version("2.1")
            .trace_id("t")
            .correlation_id("co")
            .causation_id("ca");
        let mut tx = db.pool.begin().await.unwrap();
        db.store.enqueue(&mut tx, event).await.unwrap();
        tx.commit().await.unwrap();
        db.execute(&format!(
            "select enqueue('order.placed', 'orders', '{{\"n\":1}}', 'key', '{{\"tenant\": \"blue\"}}', 'order', '{id}', 'by function', '2.1',
                't', 'co', 'ca')"
        ))
        .await;
        let rows = "select (to_jsonb(e) - '{id,seq,created_at,updated_at,scheduled_at,idempotency_key}'::text[])::text,
            created_at = updated_at and created_at = scheduled_at, idempotency_key from outbox_events e order by seq";
        let rows = sqlx::query(rows).fetch_all(&db.pool).await.unwrap();
        assert_eq!(rows[0].get::<String, _>(0), rows[1].get::<String, _>(0));
        assert!(rows[1].get::<bool, _>(1));
        assert_eq!(rows[1].get::<String, _>(2), "by function");
    })
    .await;
}

#[tokio::test]
async fn a_repeat_of_an_idempotency_key_has_the_id_of_the_first() {
    run(async |db: Arc<Database>| {
        let call = "select enqueue('t', 'orders', '{\"n\": 1}', idempotency_key => 'once')";
        let first: Uuid = db.scalar(call).await;
        let mut open = db.pool.begin().await.unwrap();
        sqlx::query("select enqueue('t', 'orders', '{\"n\": 1}', idempotency_key => 'twice')")
            .execute(&mut *open)
            .await
            .unwrap();
        // waits for the transaction that has the key
        let second = tokio::spawn({
            let db = Arc::clone(&db);
            async move {
                db.scalar::<Uuid>("select enqueue('t', 'orders', '{\"n\": 2}', idempotency_key => 'twice')")
                    .await
            }
        });
        assert_eq!(db.scalar::<Uuid>(call).await, first);
        assert!(!second.is_finished());
        open.commit().await.unwrap();
        let stored: Uuid = db.scalar("select id from outbox_events where idempotency_key = 'twice'").await;
        // the transaction of the second saw nothing of it before
        assert_eq!(second.await.unwrap(), stored);
        assert_eq!(db.scalar::<i64>("select count(*) from outbox_events").await, 2);
    })
    .await;
}

#[tokio::test]
async fn it_wakes_an_idle_relay() {
    run(async |db: Arc<Database>| {
        let mut wakeup = db.store.wakeup().unwrap();
        let owner = OwnerId::generate();
        let leases = db.store.lease(&request(owner, Duration::from_secs(60))).await.unwrap().leases;
        db.store.announce(owner, &leases, Activity::Idle).await.unwrap();
        // the one for what was notified before it listened
        tokio::time::timeout(SOON, wakeup.wait()).await.unwrap();
        db.execute("select enqueue('t', 'orders', '{\"n\": 1}')").await;
        tokio::time::timeout(SOON, wakeup.wait()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn verify_misses_it_and_installations_in_one_schema_have_their_own() {
    let other = PgConfig::builder()
        .table(Table::OutboxEvents, "b_events")
        .table(Table::InboxEvents, "b_inbox")
        .table(Table::OutboxLanes, "b_lanes")
        .table(Table::OutboxRelays, "b_relays")
        .table(Table::InboxPartitions, "b_partitions")
        .table(Table::Quarantine, "b_quarantine")
        .table(Table::Control, "b_control")
        .table(Table::Breakers, "b_breakers")
        .table(Table::InboxMembers, "b_members")
        .table(Table::Migrations, "b_migrations")
        .build()
        .unwrap();
    run_with(PgConfig::default(), async |db: Arc<Database>| {
        let second = PgStore::new(db.pool.clone(), other.clone());
        for store in [&db.store, &second] {
            store.migrate().await.unwrap();
            assert_eq!(store.verify().await.unwrap(), []);
        }
        db.execute("select enqueue('t', 'orders', '{\"n\": 1}'); select b_events_enqueue('t', 'orders', '{\"n\": 1}')").await;
        assert_eq!(db.scalar::<i64>("select count(*) from b_events").await, 1);
        db.execute("drop function enqueue").await;
        let missing = SchemaDifference::MissingFunction("enqueue".to_owned());
        assert_eq!(missing.to_string(), "function enqueue is missing");
        assert_eq!(db.store.verify().await.unwrap(), [missing]);
        assert_eq!(second.verify().await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_role_needs_no_right_but_those_that_the_page_names() {
    run(async |db: Arc<Database>| {
        let role = format!("writer_{}", Uuid::new_v4().simple());
        db.execute(&format!(
            "create role {role}; grant insert, select on outbox_events to {role}; grant select on outbox_lanes to {role}"
        ))
        .await;
        let mut tx = db.pool.begin().await.unwrap();
        let call = "select enqueue('t', 'orders', '{\"n\": 1}', idempotency_key => 'a')";
        sqlx::raw_sql(AssertSqlSafe(format!("set local role {role}; {call}; {call}"))).execute(&mut *tx).await.unwrap();
        tx.rollback().await.unwrap();
        db.execute(&format!("drop owned by {role}; drop role {role}")).await;
    })
    .await;
}

#[tokio::test]
async fn no_error_repeats_a_value() {
    run(async |db: Arc<Database>| {
        for arguments in [
            "'t', 'orders', '[\"secret\"]'",
            "'t', 'orders', '{\"n\": 1}', headers => '{\"secret\": \"se\\ncret\"}'",
            "'t', 'orders', '{\"n\": 1}', idempotency_key => repeat('secret', 30)",
        ] {
            let call = format!("select enqueue({arguments})");
            let error = sqlx::query(AssertSqlSafe(call)).execute(&db.pool).await.unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    })
    .await;
}
