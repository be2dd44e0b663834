//! A handler that blocks its thread: its time cannot end it.

use std::time::Duration;

use omni_box_core::{Error, ErrorKind, EventStatus, HandlerOutcome};
use serde_json::json;

use super::memory::{Handler, Memory};
use super::service::{Effects, Running, Service};

const TIMEOUT: Duration = Duration::from_millis(100);
const BLOCKED: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_handler_that_blocks_beyond_its_time_is_charged_for_what_its_transaction_met() {
    let memory = Memory::new();
    let handler = Handler::new(|id, _| async move {
        if id == "m" {
            std::thread::sleep(BLOCKED);
            // as of a server that ended the transaction meanwhile
            return Err(Error::new(ErrorKind::Unavailable, "the connection is closed").into());
        }
        Ok(HandlerOutcome::Completed)
    });
    for (n, id) in ["n0", "m", "n2"].into_iter().enumerate() {
        memory.broker.send(0, id, &format!("k{n}"), json!({"n": n}));
    }
    let running = Running::new(memory.builder(&handler).process_timeout(TIMEOUT));
    memory.drained().await;
    running.stop().await;
    assert_eq!(memory.row("m"), Some((EventStatus::Failed, 6)));
    assert_eq!(handler.calls("m"), 6, "one call for each attempt");
    for id in ["n0", "n2"] {
        assert_eq!(memory.row(id), Some((EventStatus::Completed, 0)), "{id}");
    }
}

#[tokio::test]
async fn a_handler_that_outlives_its_transaction_and_says_it_succeeded_is_charged_alone() {
    let Some(service) = Service::new(1).await else { return };
    for n in 0..10 {
        let id = if n == 5 { "m".to_owned() } else { format!("n{n}") };
        service.broker.send(0, &id, &format!("k{n}"), json!({"n": n}));
    }
    let act = Effects::new(|id, _, conn| {
        Box::pin(async move {
            if id == "m" {
                // what the server does with a transaction that is silent for too long
                let _ = sqlx::query("select pg_terminate_backend(pg_backend_pid())").execute(conn).await;
                std::thread::sleep(BLOCKED);
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    let calls = act.clone();
    let running = Running::new(service.builder().handler(act).process_timeout(TIMEOUT));
    service.drained().await;
    running.stop().await;
    assert_eq!(service.row("m").await, Some(("failed".to_owned(), 6)));
    assert_eq!(calls.calls("m"), 6, "one call for each attempt");
    assert_eq!(service.count("select count(distinct message_id) from effects").await, 9);
    assert_eq!(service.count("select count(*) from effects").await, 9);
    service.database.close().await.unwrap();
}
