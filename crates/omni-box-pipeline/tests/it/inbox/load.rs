//! Many messages, many partitions, everything failing now and then.

use std::time::Duration;

use omni_box_core::{HandlerOutcome, TransientError};
use omni_box_harness::eventually;
use serde_json::json;

use super::service::{Effects, Running, Service, broken};

const MESSAGES: i32 = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_messages_take_effect_once_through_failures_and_crashes() {
    let Some(service) = Service::new(16).await else { return };
    for n in 0..MESSAGES {
        service.broker.send(n % 16, &format!("m{n}"), &format!("k{}", n % 640), json!({"n": n}));
    }
    let act = Effects::new(|id, call, conn| {
        // by the id and the call, so that a run can be repeated
        let n: u32 = id[1..].parse().unwrap();
        let dice = n.wrapping_mul(2_654_435_761).wrapping_add(call.wrapping_mul(40_503)) % 1_000;
        Box::pin(async move {
            match dice {
                0..=9 if call < 5 => Err(broken()),
                10..=19 => Err(TransientError::new("elsewhere").into()),
                20..=21 if call < 5 => panic!("as the test wants it"),
                22..=24 if call < 5 => {
                    sqlx::query("select 1 / 0").execute(conn).await.map_err(|_| broken())?;
                    Ok(HandlerOutcome::Completed)
                }
                _ => Ok(HandlerOutcome::Completed),
            }
        })
    });
    let run = || Running::new(service.builder().handler(act.clone()).concurrency_limit(6));
    let patience = Duration::from_secs(240);
    for share in 1..=3 {
        let running = run();
        let wanted = i64::from(MESSAGES) * share / 5;
        eventually(patience, async || service.count("select count(*) from effects").await >= wanted).await;
        running.crash().await;
    }
    let running = run();
    eventually(patience, async || service.broker.is_drained()).await;
    running.stop().await;
    let total = i64::from(MESSAGES);
    let unfinished: Vec<(String, String, i32, Option<String>)> = sqlx::query_as(
        "select message_id, status, attempts_made, last_error from inbox_events where status <> 'completed'",
    )
    .fetch_all(service.pool())
    .await
    .unwrap();
    assert!(unfinished.is_empty(), "{unfinished:?}");
    assert_eq!(service.count("select count(*) from inbox_events").await, total);
    assert_eq!(service.count("select count(*) from effects").await, total);
    assert_eq!(service.count("select count(distinct message_id) from effects").await, total);
    let displaced = "select count(*) from (select substr(message_id, 2)::int n,
        lag(substr(message_id, 2)::int) over (partition by key order by seq) b from effects) e where n < b";
    assert_eq!(service.count(displaced).await, 0);
    service.database.close().await.unwrap();
}
