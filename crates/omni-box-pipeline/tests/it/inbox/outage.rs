//! A database that is not there: nothing is lost, no message is charged.

use omni_box_harness::eventually;
use serde_json::json;

use super::faults::received;
use super::service::{Effects, LONG, Service};

#[tokio::test]
async fn connections_that_are_cut_again_and_again_charge_nobody() {
    let Some(service) = Service::new(4).await else { return };
    for n in 0..2_000 {
        service.broker.send(n % 4, &format!("m{n}"), &format!("k{n}"), json!({"n": n}));
    }
    let running = service.run(&Effects::plain());
    for progress in [0, 50, 100, 150] {
        eventually(LONG, async || service.broker.committed(0) >= progress).await;
        service
            .execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
            .await;
    }
    service.drained().await;
    running.stop().await;
    assert_eq!(service.count("select count(*) from effects").await, 2_000);
    assert_eq!(service.count("select count(distinct message_id) from effects").await, 2_000);
    assert_eq!(service.count("select sum(attempts_made)::bigint from inbox_events").await, 0);
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_missing_table_is_waited_for() {
    let Some(service) = Service::new(1).await else { return };
    let running = service.run(&Effects::plain());
    service.broker.send(0, "first", "k", json!({}));
    service.drained().await;
    service.execute("alter table inbox_events rename to gone").await;
    for n in 0..20 {
        service.broker.send(0, &format!("m{n}"), "k", json!({"n": n}));
    }
    // more often than a message has attempts
    let before = received(&service.store);
    eventually(LONG, async || received(&service.store) > before + 6).await;
    assert_eq!(service.broker.committed(0), 1);
    service.execute("alter table gone rename to inbox_events").await;
    service.drained().await;
    running.stop().await;
    assert_eq!(service.quarantined().await, 0);
    assert_eq!(service.count("select count(*) from effects").await, 21);
    assert_eq!(service.count("select sum(attempts_made)::bigint from inbox_events").await, 0);
    service.database.close().await.unwrap();
}
