//! `/metrics` of the program on real servers: each number is what the judge counts in tables and topic.

use std::collections::BTreeMap;
use std::time::Duration;

use omni_box_harness::process::Child;
use omni_box_harness::topic::{Isolation, committed_offsets, create_topic, read_topic};
use omni_box_harness::{TestDatabase, eventually, servers};
use tokio::process::Command;

/// Orders beside the one that the program places itself.
const ORDERS: i64 = 20;
const SOON: Duration = Duration::from_secs(90);

/// Series and their values.
fn parse(page: &str) -> BTreeMap<&str, f64> {
    let series = page.lines().filter(|line| !line.starts_with('#'));
    series
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name, value.parse().expect(value)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_number_is_what_tables_and_topic_hold() {
    let Some(servers) = servers() else { return };
    let database = TestDatabase::create().await.expect("a database");
    let topic = create_topic(&servers.kafka_brokers, "scrape", 2, &[]).await.expect("a topic");
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_observability"));
    command.args(["--stay", "--topic", &topic, "--database-url", &database.url()]);
    command.args(["--brokers", &servers.kafka_brokers]).env_remove("RUST_LOG");
    let mut program = Child::spawn(command, &directory.path().join("log")).expect("the built program starts");
    let serving = program.line(SOON, |line| line.starts_with("serving ")).await.expect("it serves");
    let page = serving.trim_start_matches("serving ").to_owned();

    let client = reqwest::Client::new();
    let orders = page.replace("/metrics", "/orders");
    for number in 0..ORDERS {
        let order = client.post(&orders).json(&serde_json::json!({ "number": number }));
        order.send().await.expect("it answers").error_for_status().expect("it accepts");
    }
    let count = async |sql: &'static str| -> f64 {
        let count: i64 = sqlx::query_scalar(sql).fetch_one(database.pool()).await.expect("a table");
        count as f64
    };
    let group = format!("shipping-{topic}");
    let all = (ORDERS + 1) as f64;
    eventually(SOON, async || {
        let offsets = committed_offsets(&servers.kafka_brokers, &group, &topic).await.expect("the group");
        let published = count("select count(*) from outbox_events where status = 'completed'").await;
        offsets.values().sum::<i64>() == ORDERS + 1 && published == all
    })
    .await;
    let scrape = async || {
        let answer = client.get(&page).send().await.expect("it answers");
        answer.text().await.expect("it is text")
    };
    // the acknowledgement of a commit is told after the broker has it
    let committed = || async { parse(&scrape().await).get("inbox_messages_committed_total") == Some(&all) };
    eventually(SOON, async || committed().await).await;

    let text = scrape().await;
    let shown = parse(&text);
    let records =
        read_topic(&servers.kafka_brokers, &topic, Isolation::ReadCommitted).await.expect("the topic");
    let shipped = count("select count(*) from shipments").await;
    let handled = count("select count(*) from inbox_events where status = 'completed'").await;
    assert_eq!((records.len() as f64, shipped, handled), (all, all, all), "what happened");
    let delays = |name: &str| format!("{name}_count{{topic=\"{topic}\"}}");
    for (series, expected) in [
        (
            r#"outbox_events_published_total{event_type="order.placed",status="published"}"#,
            records.len() as f64,
        ),
        (r#"outbox_events_published_total{event_type="order.placed",status="failed"}"#, 0.0),
        (r#"outbox_handler_duration_seconds_count{event_type="order.placed"}"#, all),
        (delays("outbox_publish_delay_seconds").as_str(), all),
        ("outbox_in_flight_events", 0.0),
        ("outbox_owned_lanes", count("select count(*) from outbox_lanes where owner is not null").await),
        (r#"outbox_gate_closed{gate="broker"}"#, 0.0),
        ("inbox_messages_consumed_total", records.len() as f64),
        ("inbox_messages_processed_total", handled),
        ("inbox_messages_duplicate_total", 0.0),
        (r#"inbox_events_processed_total{event_type="order.placed",status="completed"}"#, shipped),
        (r#"inbox_handler_duration_seconds_count{event_type="order.placed"}"#, shipped),
        (delays("inbox_delivery_delay_seconds").as_str(), handled),
        ("inbox_group_size_sum", handled),
        ("inbox_assigned_partitions", 2.0),
        ("inbox_in_flight_messages", 0.0),
    ] {
        assert_eq!(shown.get(series), Some(&expected), "{series} of\n{text}");
    }
    program.sigterm().expect("it runs");
    assert!(program.wait(SOON).await.expect("it ends").success());
    database.close().await.expect("the database is dropped");
}
