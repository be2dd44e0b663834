//! The program on real servers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::time::Duration;

use omni_box_harness::{TestDatabase, servers, topic};
use tokio::process::Command;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test]
async fn every_order_is_shipped_once() {
    let Some(servers) = servers() else { return };
    let database = TestDatabase::create().await.unwrap();
    let topic = topic::create_topic(&servers.kafka_brokers, "orders", 2, &[]).await.unwrap();
    let group = format!("shipping-{}", Uuid::now_v7());

    // a second run finds the first one's rows, messages and position
    for orders in [12_i64, 24] {
        let program = Command::new(env!("CARGO_BIN_EXE_adapters-only"))
            .args(["--database-url", &database.url(), "--brokers", &servers.kafka_brokers])
            .args(["--topic", &topic, "--group", &group, "--orders", "12"])
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(LIMIT, program).await.unwrap().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", output.status);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "12 orders placed and shipped\n");

        let counts: (i64, i64, i64) = sqlx::query_as(
            "select (select count(*) from orders), count(*), count(distinct order_id) from shipments",
        )
        .fetch_one(database.pool())
        .await
        .unwrap();
        assert_eq!(counts, (orders, orders, orders), "orders, shipments, and orders that were shipped");
    }
    database.close().await.unwrap();
}
