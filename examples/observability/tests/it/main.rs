//! The example as a user runs it.

mod scrape;

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use omni_box_harness::topic::create_topic;
use omni_box_harness::{TestDatabase, servers};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;

const OUTPUT: &str = r#"trace TRACE
  POST /orders
  create TOPIC
  wait TOPIC
  send TOPIC
  process TOPIC
  ship
outbox_events_published_total{event_type="order.placed",status="published"} 1
inbox_events_processed_total{event_type="order.placed",status="completed"} 1
shipments 1
"#;
const DEADLINE: Duration = Duration::from_secs(90);

/// Runs it to its end; its trace, after what it prints and logs was compared.
async fn trace(topic: &str, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_observability"));
    command.args(args).args(["--topic", topic]).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ran = tokio::time::timeout(DEADLINE, command.output()).await.expect("it ends in time");
    let ran = ran.expect("the built program starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{}\n{stdout}{stderr}", ran.status);

    let trace =
        stdout.lines().next().and_then(|line| line.strip_prefix("trace ")).expect("a trace").to_owned();
    assert!(trace.len() == 32 && trace.bytes().any(|digit| digit != b'0'), "{trace}");
    assert_eq!(stdout, OUTPUT.replace("TRACE", &trace).replace("TOPIC", topic));

    let lines = stderr.lines().map(|line| serde_json::from_str(line).expect("each line is JSON"));
    let lines: Vec<Value> = lines.collect();
    for message in ["placed", "shipped"] {
        let line = lines.iter().find(|line| line["message"] == message);
        assert_eq!(line.expect("both are logged")["trace_id"], trace, "{message}");
    }
    trace
}

#[tokio::test]
async fn one_trace_leads_through_all_of_it_without_a_server() {
    trace("orders", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_servers_and_a_collector_see_the_same_trace() {
    let Some(servers) = servers() else { return };
    let database = TestDatabase::create().await.expect("a database");
    let topic = create_topic(&servers.kafka_brokers, "observability", 1, &[]).await.expect("a topic");
    let received: Arc<Mutex<Vec<u8>>> = Arc::default();
    let sink = Router::new().route(
        "/v1/traces",
        post({
            let received = Arc::clone(&received);
            async move |body: Bytes| received.lock().expect("no request panics").extend_from_slice(&body)
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let otlp = format!("http://{}/v1/traces", listener.local_addr().expect("an address"));
    let serving = tokio::spawn(async move { axum::serve(listener, sink).await });

    let url = database.url();
    let args = ["--database-url", &url, "--brokers", &servers.kafka_brokers, "--otlp", &otlp];
    let trace = trace(&topic, &args).await;
    serving.abort();
    let received = received.lock().expect("no request panics").clone();
    // a span has its trace as 16 bytes, and its name as text
    let id = u128::from_str_radix(&trace, 16).expect("hexadecimal").to_be_bytes();
    let spans = received.windows(id.len()).filter(|window| *window == id).count();
    assert!(spans >= 6, "{spans} times in {} bytes", received.len());
    for name in ["POST /orders", &format!("process {topic}"), "ship", "shop"] {
        assert!(received.windows(name.len()).any(|window| window == name.as_bytes()), "{name}");
    }
    database.close().await.expect("the database is dropped");
}
