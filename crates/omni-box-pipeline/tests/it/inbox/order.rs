//! Order per key, and what a waiting message holds up.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use omni_box_core::{Attempt, HandlerOutcome};
use omni_box_harness::eventually;
use serde_json::json;

use super::service::{Effects, LONG, Service, broken};

#[tokio::test]
async fn a_retry_holds_its_key_and_no_other() {
    let Some(service) = Service::new(1).await else { return };
    for n in 0..30 {
        service.broker.send(0, &format!("m{n}"), &format!("k{}", n % 3), json!({"n": n}));
    }
    let is_open = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let open = is_open.clone();
    let act = Effects::new(move |id, _, _| {
        let is_held = id == "m3" && !open.load(std::sync::atomic::Ordering::SeqCst);
        Box::pin(async move {
            if is_held {
                let after = Some(Duration::from_millis(20));
                return Ok(HandlerOutcome::retry("held", Attempt::Free, after));
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    let running = service.run(&act);
    eventually(LONG, async || service.count("select count(*) from effects").await == 21).await;
    assert_eq!(service.count("select count(*) from effects where key = 'k0'").await, 1, "m0 alone");
    // acknowledged behind the commit; the watermark stops before the waiting message
    eventually(LONG, async || service.broker.committed(0) == 3).await;
    is_open.store(true, std::sync::atomic::Ordering::SeqCst);
    service.drained().await;
    running.stop().await;
    assert_in_order(&service).await;
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn keys_stay_in_order_under_retries() {
    let Some(service) = Service::new(1).await else { return };
    for n in 0..300 {
        service.broker.send(0, &format!("m{n}"), &format!("k{}", n % 7), json!({"n": n}));
    }
    let failed = Arc::new(Mutex::new(HashSet::new()));
    let act = Effects::new(move |id, _, _| {
        let n: u32 = id[1..].parse().unwrap();
        let fails = n.is_multiple_of(5) && failed.lock().unwrap().insert(n);
        Box::pin(async move { if fails { Err(broken()) } else { Ok(HandlerOutcome::Completed) } })
    });
    let running = service.run(&act);
    service.drained().await;
    running.stop().await;
    assert_eq!(service.count("select count(*) from effects").await, 300);
    assert_in_order(&service).await;
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn messages_without_a_key_keep_the_partitions_order() {
    let Some(service) = Service::new(1).await else { return };
    for n in 0..50 {
        let id = format!("m{n}");
        service.broker.send_raw(0, None, Some(format!("{{\"n\":{n}}}").into_bytes()), &[("event_id", &id)]);
    }
    let failed = Arc::new(Mutex::new(HashSet::new()));
    let act = Effects::new(move |id, _, _| {
        let fails = id.ends_with('3') && failed.lock().unwrap().insert(id.to_owned());
        Box::pin(async move { if fails { Err(broken()) } else { Ok(HandlerOutcome::Completed) } })
    });
    let running = service.run(&act);
    service.drained().await;
    running.stop().await;
    assert_eq!(service.count("select count(*) from effects").await, 50);
    assert_in_order(&service).await;
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_failure_that_was_recorded_alone_does_not_overtake_after_a_crash() {
    let Some(service) = Service::new(1).await else { return };
    service.broker.send(0, "m0", "k", json!({"n": 0}));
    service.broker.send(0, "m1", "k", json!({"n": 1}));
    let act = Effects::new(|id, call, _| {
        Box::pin(async move {
            match (id, call) {
                ("m1", 1) => panic!("as the test wants it"),
                // its first run was rolled back with the group
                ("m0", 2) => std::future::pending().await,
                _ => Ok(HandlerOutcome::Completed),
            }
        })
    });
    let running = service.run(&act);
    eventually(LONG, async || act.calls("m0") == 2).await;
    running.crash().await;
    let running = service.run(&act);
    service.drained().await;
    running.stop().await;
    assert_eq!(service.count("select count(*) from effects").await, 2);
    assert_in_order(&service).await;
    service.database.close().await.unwrap();
}

/// Effects of a key happened in the order of the messages' numbers.
async fn assert_in_order(service: &Service) {
    let displaced = service
        .count(
            "select count(*) from (
                 select substr(message_id, 2)::int n,
                        lag(substr(message_id, 2)::int) over (partition by key order by seq) before
                 from effects) e where n < before",
        )
        .await;
    assert_eq!(displaced, 0, "out of order");
}
