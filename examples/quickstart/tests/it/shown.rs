//! What it shows, without servers and on real ones.

use std::path::Path;

use omni_box_harness::{TestDatabase, servers};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};

use crate::{DEADLINE, Run};

/// Checks that each step is told once, in order.
#[track_caller]
fn check_steps(lines: &[&str], orders: u32) {
    let (undone, behind) = (orders + 1, orders + 2);
    let wanted = [
        format!("1 transaction  {orders} orders placed, each in one transaction with its event"),
        "2 outbox row   the event waits in the outbox, no broker was asked".to_owned(),
        "3 message      the relay published them, a customer's in their order; the row is completed"
            .to_owned(),
        format!("4 effect       the handler shipped {orders} orders, each once"),
        "5 duplicate    the same message sent again by another producer: no second effect".to_owned(),
        format!("6 rollback     order {undone} was rolled back: no order, no event, no message, no shipment"),
    ];
    let steps: Vec<&str> =
        lines.iter().copied().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect();
    assert_eq!(steps, wanted);
    let detail = |part: &str| assert!(lines.iter().any(|line| line.contains(part)), "no {part}: {lines:#?}");
    detail(r#"status pending  payload {"number":1,"customer":"ada"}"#);
    detail("event_type=order.placed");
    detail(&format!("recognised by event_id, committed; still {orders} orders shipped"));
    detail(&format!("order {behind} of the same customer was placed behind it, and shipped"));
    detail("All of it was checked");
    detail("examples/orders");
}

/// The line that says what is kept.
fn kept<'a>(lines: &[&'a str], what: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| line.strip_prefix("Kept: ")?.strip_prefix(what))
}

/// The words behind `before` up to the next punctuation.
fn named<'a>(lines: &[&'a str], before: &str) -> &'a str {
    let (_, name) = lines[0].split_once(before).expect("the first line says where");
    name.split([';', ',']).next().expect("split gives one part at least").trim()
}

#[test]
fn without_servers_it_shows_every_step_in_plain_text_and_leaves_nothing() {
    let run = Run::new(&[]);
    let lines = run.lines();
    check_steps(&lines, 3);
    assert!(!run.stdout.contains('\x1b'), "colours in a pipe: {:?}", run.stdout);
    assert_eq!(kept(&lines, ""), None);
    let file = Path::new(named(&lines, "SQLite file "));
    assert!(file.is_absolute() && !file.exists());
    assert!(!file.parent().expect("the file is in a directory").exists());
}

#[tokio::test]
async fn what_is_kept_opens_and_holds_what_was_shown() {
    let run = Run::new(&["--events", "50", "--keep"]);
    let lines = run.lines();
    check_steps(&lines, 50);
    let file = Path::new(kept(&lines, "SQLite file ").expect("it says where"));
    let options = SqliteConnectOptions::new().filename(file);
    let mut conn = SqliteConnection::connect_with(&options).await.expect("the file opens");
    let counts: (i64, i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from orders), (select count(distinct number) from shipments), \
         (select count(*) from outbox_events where status = 'completed'), \
         (select count(*) from inbox_events where status = 'completed')",
    )
    .fetch_one(&mut conn)
    .await
    .expect("the tables are there");
    assert_eq!(counts, (51, 51, 51, 51));
    conn.close().await.expect("the file closes");
    std::fs::remove_dir_all(file.parent().expect("the file is in a directory")).expect("ours to remove");
}

#[test]
fn a_named_file_is_made_and_never_written_again() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("shop.db");
    let path = file.to_str().expect("a path in text");
    let run = Run::new(&["--database-url", path, "--events", "1"]);
    assert_eq!(kept(&run.lines(), "SQLite file "), Some(path));
    let before = std::fs::read(&file).expect("the file is there");

    let run = Run::new(&["--database-url", path]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("is there already"), "{}", run.stderr);
    assert_eq!(std::fs::read(&file).expect("the file is there"), before);
}

#[tokio::test]
async fn on_real_servers_it_shows_the_same_twice_and_leaves_nothing() {
    let Some(servers) = servers() else { return };
    let database = TestDatabase::create().await.expect("a database");
    let url = database.url();
    let args = ["--database-url", &url, "--brokers", &servers.kafka_brokers];
    for _ in 0..2 {
        let run = Run::new(&args);
        let lines = run.lines();
        check_steps(&lines, 3);
        assert_eq!(kept(&lines, ""), None);
        let topic = named(&lines, "topic ").to_owned();
        assert!(!topics(&servers.kafka_brokers).contains(&topic), "{topic} is left");
    }
    let schemas: i64 =
        sqlx::query_scalar("select count(*) from pg_namespace where nspname like 'quickstart%'")
            .fetch_one(database.pool())
            .await
            .expect("the database answers");
    assert_eq!(schemas, 0);
    database.close().await.expect("the database is dropped");
}

fn topics(brokers: &str) -> Vec<String> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).create().expect("a client");
    let metadata = consumer.fetch_metadata(None, DEADLINE).expect("the broker answers");
    metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
}
