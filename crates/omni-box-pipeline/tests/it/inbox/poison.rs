//! A message that ends the process is found and parked.

use std::sync::Arc;

use omni_box_core::{Error, ErrorKind, EventStatus, HandlerOutcome};
use omni_box_harness::eventually;
use serde_json::json;
use tokio::sync::Notify;

use super::memory::{Handler, Memory};
use super::service::{Effects, LONG, Running, Service, broken};

#[tokio::test]
async fn a_message_that_ends_the_process_is_failed_after_its_attempts() {
    let Some(service) = Service::new(1).await else { return };
    for n in 0..5 {
        let id = if n == 2 { "m".to_owned() } else { format!("n{n}") };
        service.broker.send(0, &id, &format!("k{n}"), json!({"n": n}));
    }
    let reached = Arc::new(Notify::new());
    let notify = reached.clone();
    let act = Effects::new(move |id, _, _| {
        let notify = notify.clone();
        Box::pin(async move {
            if id == "m" {
                // here the process would abort
                notify.notify_one();
                std::future::pending::<()>().await;
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    // the first end is not known to be a handler's doing; each of the six that follow is counted
    for ends in 1..=7 {
        let running = service.run(&act);
        tokio::time::timeout(LONG, reached.notified()).await.expect("the handler is reached");
        running.crash().await;
        let counted = service.row("m").await.map_or(0, |(_, attempts)| attempts);
        assert_eq!(counted, ends - 1, "after {ends} ends");
    }
    let running = service.run(&act);
    service.drained().await;
    running.stop().await;
    assert_eq!(service.row("m").await, Some(("failed".to_owned(), 6)));
    assert_eq!(act.calls("m"), 7);
    assert_eq!(service.count("select count(distinct message_id) from effects").await, 4);
    assert_eq!(service.count("select count(*) from effects").await, 4);
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn an_innocent_message_is_completed_after_an_unclean_end() {
    let Some(service) = Service::new(1).await else { return };
    let running = service.run(&Effects::plain());
    service.broker.send(0, "first", "k", json!({"n": 0}));
    service.drained().await;
    running.crash().await;
    for n in 0..100 {
        service.broker.send(0, &format!("n{n}"), &format!("k{n}"), json!({"n": n}));
    }
    let act = Effects::new(|id, call, _| {
        Box::pin(async move {
            if id == "n1" && call == 1 { Err(broken()) } else { Ok(HandlerOutcome::Completed) }
        })
    });
    let running = service.run(&act);
    service.drained().await;
    running.stop().await;
    assert_eq!(service.count("select count(*) from effects").await, 101);
    assert_eq!(service.count("select count(*) from inbox_events where status = 'completed'").await, 101);
    assert!(service.row("n1").await.unwrap().1 <= 2, "a failed attempt is counted once");
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_good_end_is_known_to_be_good() {
    let Some(service) = Service::new(1).await else { return };
    let act = Effects::plain();
    for round in 0..2 {
        let running = service.run(&act);
        service.broker.send(0, &format!("m{round}"), "k", json!({"n": round}));
        eventually(LONG, async || service.effects(&format!("m{round}")).await == 1).await;
        running.stop().await;
    }
    assert_eq!(service.count("select sum(attempts_made)::bigint from inbox_events").await, 0);
    service.database.close().await.unwrap();
}

/// After an unclean end, `m` meets the database's failures in so many calls; returns its row and the calls.
async fn after_an_unclean_end(kind: ErrorKind, failures: u32) -> (Option<(EventStatus, u32)>, u32) {
    let memory = Memory::new();
    let handler = Handler::new(move |id, call| async move {
        match id.as_str() {
            "m" if call <= failures => Err(Error::new(kind, "as the test wants it").into()),
            _ => Ok(HandlerOutcome::Completed),
        }
    });
    let running = Running::new(memory.builder(&handler));
    memory.broker.send(0, "before", "k", json!({}));
    memory.drained().await;
    running.crash().await;
    memory.broker.send(0, "m", "k", json!({}));
    let running = Running::new(memory.builder(&handler));
    memory.drained().await;
    running.stop().await;
    (memory.row("m"), handler.calls("m"))
}

#[tokio::test(start_paused = true)]
async fn failures_of_the_database_after_an_unclean_end_cost_no_attempts() {
    for kind in [ErrorKind::Unavailable, ErrorKind::Contention] {
        let (row, calls) = after_an_unclean_end(kind, 4).await;
        assert_eq!(row, Some((EventStatus::Completed, 1)), "{kind:?}: the attempt that succeeded");
        assert_eq!(calls, 5, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_of_the_database_that_follow_one_message_after_an_unclean_end_are_its_own_in_the_end() {
    let (row, calls) = after_an_unclean_end(ErrorKind::Unavailable, u32::MAX).await;
    assert_eq!(row, Some((EventStatus::Failed, 6)));
    assert_eq!(calls, 30, "five for each attempt");
}
