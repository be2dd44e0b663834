//! The programs of docs/other-languages.md, run as they stand there.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use omni_box::postgres::{PgConfig, PgStore};
use omni_box_harness::{TestDatabase, eventually, go, node, postgres, python};
use omni_box_testkit::MemoryBroker;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::sqlite::{open, relay};

const PATIENCE: Duration = Duration::from_secs(120);

/// The program under a heading.
fn program(heading: &str, language: &str) -> &'static str {
    let page = include_str!("../../../../docs/other-languages.md");
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let (_, code) = section.split_once(&format!("```{language}\n")).unwrap();
    code.split_once("```").unwrap().0
}

/// A database with the tables, and one of the application's.
async fn database() -> Option<(TestDatabase, PgStore)> {
    postgres()?;
    let database = TestDatabase::create().await.unwrap();
    let store = PgStore::new(database.pool().clone(), PgConfig::default());
    store.migrate().await.unwrap();
    execute(&store, "create table orders (id bigint, customer text)").await;
    Some((database, store))
}

async fn execute(store: &PgStore, sql: &'static str) {
    sqlx::raw_sql(sql).execute(store.pool()).await.unwrap();
}

/// Runs a program twice, and looks for its order and its one event.
async fn check(database: TestDatabase, store: &PgStore, mut run: impl AsyncFnMut()) {
    run().await;
    run().await;
    let stored = "select (select count(*) from orders), json_agg(json_build_array(event_type, topic, partition_key, payload, headers,
        idempotency_key, status, attempts_made, held, deferred))::text from outbox_events";
    let (orders, events): (i64, String) = sqlx::query_as(stored).fetch_one(store.pool()).await.unwrap();
    assert_eq!(orders, 2);
    let expected =
        r#"[["order.placed", "orders", "c1", {"id":7}, {}, "order-7", "pending", 0, false, false]]"#;
    let without_spaces = |json: &str| json.replace(' ', "");
    assert_eq!(without_spaces(&events), without_spaces(expected));
    database.close().await.unwrap();
}

/// The database's URL without what only sqlx knows.
fn url(database: &TestDatabase) -> String {
    let url = database.url();
    url.split_once('?').map_or(url.as_str(), |(url, _)| url).to_owned()
}

async fn succeeds(command: &mut Command) {
    command.kill_on_drop(true);
    let output: Output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn psql_enqueues() {
    let Some((database, store)) = database().await else { return };
    check(database, &store, async || execute(&store, program("psql", "sql")).await).await;
}

#[tokio::test]
async fn a_trigger_enqueues() {
    let Some((database, store)) = database().await else { return };
    execute(&store, program("A trigger", "sql")).await;
    execute(&store, "insert into orders (id, customer) values (7, 'c1')").await;
    let event = "select count(*) from outbox_events where payload::jsonb = '{\"id\": 7, \"customer\": \"c1\"}' and idempotency_key = 'order-7'";
    let events: i64 = sqlx::query_scalar(event).fetch_one(store.pool()).await.unwrap();
    assert_eq!(events, 1);
    // what is rolled back has no event
    execute(&store, "begin; insert into orders (id, customer) values (8, 'c1'); rollback").await;
    let events: i64 =
        sqlx::query_scalar("select count(*) from outbox_events").fetch_one(store.pool()).await.unwrap();
    assert_eq!(events, 1);
    database.close().await.unwrap();
}

#[tokio::test]
async fn python_enqueues() {
    let Some(python) = python() else { return };
    let Some((database, store)) = database().await else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("place.py");
    std::fs::write(&file, program("Python", "python")).unwrap();
    let url = url(&database);
    check(database, &store, async || {
        let mut command = Command::new(&python);
        command.arg(&file).env("DATABASE_URL", &url);
        succeeds(&mut command).await;
    })
    .await;
}

#[tokio::test]
async fn node_enqueues() {
    let Some(modules) = node() else { return };
    let Some((database, store)) = database().await else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("place.js");
    std::fs::write(&file, program("Node", "js")).unwrap();
    let url = url(&database);
    check(database, &store, async || {
        let mut command = Command::new("node");
        command
            .arg(&file)
            .env("NODE_PATH", Path::new(&modules).join("node_modules"))
            .env("DATABASE_URL", &url);
        succeeds(&mut command).await;
    })
    .await;
}

#[tokio::test]
async fn go_enqueues() {
    let Some(module) = go() else { return };
    let Some((database, store)) = database().await else { return };
    std::fs::write(Path::new(&module).join("main.go"), program("Go", "go")).unwrap();
    let url = url(&database);
    check(database, &store, async || {
        let mut command = Command::new("go");
        command.args(["run", "."]).current_dir(&module).env("DATABASE_URL", &url);
        succeeds(&mut command).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_is_enough_for_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("shop.db")).await;
    store.migrate().await.unwrap();
    sqlx::raw_sql("create table orders (id integer, customer text)").execute(store.pool()).await.unwrap();
    for _ in 0..2 {
        sqlx::raw_sql(program("SQLite", "sql")).execute(store.pool()).await.unwrap();
    }
    let (broker, stop) = (MemoryBroker::new(), CancellationToken::new());
    broker.create_topic("orders", 1);
    let relay = relay(store.clone(), &broker, &stop);
    let pending = "select count(*) from outbox_events where status = 'pending'";
    eventually(PATIENCE, async || {
        sqlx::query_scalar::<_, i64>(pending).fetch_one(store.pool()).await.unwrap() == 0
    })
    .await;
    stop.cancel();
    relay.await.unwrap().unwrap();
    let records = broker.records("orders");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].header("event_type"), Some("order.placed"));
}
