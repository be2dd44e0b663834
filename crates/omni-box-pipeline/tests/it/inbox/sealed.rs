//! Groups without savepoints: what fails in one is done again, takes effect once, and is charged only where it has a savepoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{Error, ErrorKind, HandlerOutcome, InboxEvent};
use omni_box_pipeline::{ProcessingContext, ProcessingStep, SavepointPolicy, StepResult};
use serde_json::json;

use super::faults::{CommitFault, sealed_transactions};
use super::service::{Effects, Running, Service, broken};

/// Messages in a group; the first group has savepoints.
const GROUP: usize = 5;
const MESSAGES: usize = 4 * GROUP;

/// Sends messages of three keys.
fn send(service: &Service) {
    for n in 0..MESSAGES {
        service.broker.send(0, &format!("m{n}"), &format!("k{}", n % 3), json!({"n": n}));
    }
}

/// Each message took effect once and in the order of its key, each row says so, and no message but this one was charged.
async fn assert_each_once(service: &Service, case: &str, charged: &str, attempts: i32) {
    let messages = i64::try_from(MESSAGES).unwrap();
    assert_eq!(service.count("select count(*) from effects").await, messages, "{case}: effects");
    let distinct = "select count(distinct message_id) from effects";
    assert_eq!(service.count(distinct).await, messages, "{case}: each effect");
    let completed =
        "select count(*) from inbox_events where status = 'completed' and completed_at is not null";
    assert_eq!(service.count(completed).await, messages, "{case}: rows");
    let row = service.row(charged).await.map(|(_, attempts)| attempts);
    assert_eq!(row, Some(attempts), "{case}: attempts of {charged}");
    let innocent =
        format!("select count(*) from inbox_events where attempts_made > 0 and message_id <> '{charged}'");
    assert_eq!(service.count(&innocent).await, 0, "{case}: attempts of others");
    let displaced = "select count(*) from (select substr(message_id, 2)::int n,
        lag(substr(message_id, 2)::int) over (partition by key order by seq) b from effects) e where n < b";
    assert_eq!(service.count(displaced).await, 0, "{case}: the order of each key");
    assert_eq!(service.quarantined().await, 0, "{case}");
}

/// How the handler of the special message ends until its message is charged.
#[derive(Debug, Clone, Copy)]
enum Ends {
    InAnError,
    InAPanic,
    TooLate,
    InARetry,
    InAFailedStatement,
    HidingAFailedStatement,
}

/// The special message fails in its sealed group, and then where it is charged.
async fn check(service: &Service, special: &'static str, ends: Ends) {
    let case = format!("{special} ends {ends:?}");
    service.execute("truncate effects, inbox_events").await;
    let act = Effects::new(move |id, _, conn| {
        Box::pin(async move {
            let attempts = "select attempts_made from inbox_events where message_id = $1";
            if id != special
                || sqlx::query_scalar::<_, i32>(attempts).bind(id).fetch_one(&mut *conn).await? > 0
            {
                return Ok(HandlerOutcome::Completed);
            }
            match ends {
                Ends::InAnError => Err(broken()),
                Ends::InAPanic => panic!("as the test wants it"),
                Ends::TooLate => std::future::pending().await,
                Ends::InARetry => Ok(HandlerOutcome::retry("not now", omni_box_core::Attempt::Counted, None)),
                Ends::InAFailedStatement => {
                    sqlx::query("select 1 / 0").execute(conn).await.unwrap_err();
                    Err(broken())
                }
                Ends::HidingAFailedStatement => {
                    sqlx::query("select 1 / 0").execute(conn).await.unwrap_err();
                    Ok(HandlerOutcome::Completed)
                }
            }
        })
    });
    let broker = super::broker::Broker::new(1);
    for n in 0..MESSAGES {
        broker.send(0, &format!("m{n}"), &format!("k{}", n % 3), json!({"n": n}));
    }
    let sealed = sealed_transactions(&service.store);
    let group = omni_box_core::ConsumerGroup::new(super::service::GROUP).unwrap();
    let builder = service.builder_on(broker.consumer(), group).group_size(GROUP).handler(act.clone());
    let running = Running::new(builder.process_timeout(Duration::from_millis(700)));
    omni_box_harness::eventually(super::service::LONG, async || broker.is_drained()).await;
    running.stop().await;
    assert!(sealed_transactions(&service.store) > sealed, "{case}: groups without savepoints");
    assert_each_once(service, &case, special, 1).await;
    assert_eq!(act.calls("m0"), 1, "{case}: a group that succeeded is not done again");
    assert!(act.calls(special) >= 3, "{case}: once for nothing, once charged, once to the end");
    assert!(act.calls("m5") >= 2, "{case}: its neighbour is done again");
}

#[tokio::test]
async fn what_fails_in_a_group_without_savepoints_is_charged_in_the_next_one() {
    let Some(service) = Service::new(1).await else { return };
    for special in ["m7", "m9", "m5"] {
        check(&service, special, Ends::InAnError).await;
    }
    for ends in [
        Ends::InAPanic,
        Ends::TooLate,
        Ends::InARetry,
        Ends::InAFailedStatement,
        Ends::HidingAFailedStatement,
    ] {
        check(&service, "m7", ends).await;
        check(&service, "m9", ends).await;
    }
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_commit_that_fails_or_is_not_answered_doubles_nothing() {
    let Some(service) = Service::new(1).await else { return };
    for fault in [
        CommitFault::FailBefore(ErrorKind::Internal),
        CommitFault::FailBefore(ErrorKind::Contention),
        CommitFault::FailBefore(ErrorKind::Unavailable),
        CommitFault::FailAfter(ErrorKind::Unavailable),
        CommitFault::FailAfter(ErrorKind::Internal),
    ] {
        service.execute("truncate effects, inbox_events").await;
        let faults = service.store.plan().clone();
        let act = Effects::new(move |id, call, _| {
            let is_first = id == "m7" && call == 1;
            if is_first {
                fault.plan(&faults);
            }
            Box::pin(async { Ok(HandlerOutcome::Completed) })
        });
        let broker = super::broker::Broker::new(1);
        for n in 0..MESSAGES {
            broker.send(0, &format!("m{n}"), &format!("k{}", n % 3), json!({"n": n}));
        }
        let group = omni_box_core::ConsumerGroup::new(super::service::GROUP).unwrap();
        let running =
            Running::new(service.builder_on(broker.consumer(), group).group_size(GROUP).handler(act));
        omni_box_harness::eventually(super::service::LONG, async || broker.is_drained()).await;
        running.stop().await;
        assert_each_once(&service, &format!("{fault:?}"), "m7", 0).await;
    }
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_process_that_ends_in_a_group_without_savepoints_loses_nothing() {
    for fault in [CommitFault::StopBefore, CommitFault::StopAfter] {
        let Some(service) = Service::new(1).await else { return };
        let faults = service.store.plan().clone();
        let act = Effects::new(move |id, call, _| {
            if id == "m7" && call == 1 {
                fault.plan(&faults);
            }
            Box::pin(async { Ok(HandlerOutcome::Completed) })
        });
        send(&service);
        let running = Running::new(service.builder().group_size(GROUP).handler(act));
        service.store.plan().until_frozen().await;
        running.crash().await;
        let stored = if fault == CommitFault::StopBefore { 5 } else { 10 };
        assert_eq!(service.count("select count(*) from inbox_events").await, stored, "{fault:?}");
        assert_eq!(service.count("select count(*) from effects").await, stored, "{fault:?}");
        let running = Running::new(service.builder().group_size(GROUP).handler(Effects::plain()));
        service.drained().await;
        running.stop().await;
        let once = "select count(distinct message_id) from effects";
        assert_eq!(service.count(once).await, MESSAGES as i64, "{fault:?}");
        assert_eq!(service.count("select count(*) from effects").await, MESSAGES as i64, "{fault:?}");
        service.database.close().await.unwrap();
    }
}

#[tokio::test]
async fn with_savepoints_for_every_message_an_error_runs_no_neighbour_again() {
    let Some(service) = Service::new(1).await else { return };
    let act = Effects::new(|id, call, _| {
        let fails = id == "m7" && call == 1;
        Box::pin(async move {
            if fails {
                Err(Error::new(ErrorKind::Rejected, "no").into())
            } else {
                Ok(HandlerOutcome::Completed)
            }
        })
    });
    send(&service);
    let builder = service.builder().group_size(GROUP).savepoints(SavepointPolicy::EveryMessage);
    let running = Running::new(builder.handler(act.clone()));
    service.drained().await;
    running.stop().await;
    assert_eq!(sealed_transactions(&service.store), 0);
    for n in 0..MESSAGES {
        assert_eq!(act.calls(&format!("m{n}")), 1, "m{n}");
    }
    assert_eq!(service.status("m7").await.as_deref(), Some("failed"));
    service.database.close().await.unwrap();
}

/// Stops the group once, at one message.
#[derive(Clone)]
struct StopsAt(&'static str, Arc<AtomicBool>);

#[async_trait]
impl ProcessingStep<InboxEvent> for StopsAt {
    async fn execute(&self, event: &InboxEvent, _cx: &mut ProcessingContext<'_>) -> StepResult {
        if event.message_id() == self.0 && !self.1.swap(true, Ordering::SeqCst) {
            return StepResult::stop();
        }
        StepResult::next()
    }
}

#[tokio::test]
async fn what_a_group_leaves_for_later_is_pending_until_it_is_handled() {
    let Some(service) = Service::new(1).await else { return };
    let left = Arc::new(AtomicBool::new(false));
    let pool = service.pool().clone();
    let act = Effects::new(move |id, call, _| {
        let (pool, left, looks) = (pool.clone(), left.clone(), id == "m7" && call == 1);
        Box::pin(async move {
            if looks {
                let pending = "select count(*) from inbox_events where status = 'pending' and message_id in ('m7', 'm8', 'm9')";
                let pending: i64 = sqlx::query_scalar(pending).fetch_one(&pool).await?;
                left.store(pending == 3, Ordering::SeqCst);
                if pending != 3 {
                    return Err(broken());
                }
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    send(&service);
    let has_stopped = Arc::new(AtomicBool::new(false));
    let builder = service.builder().group_size(GROUP).step(StopsAt("m7", has_stopped.clone()));
    let running = Running::new(builder.handler(act));
    service.drained().await;
    running.stop().await;
    assert!(has_stopped.load(Ordering::SeqCst));
    assert_each_once(&service, "left for later", "m7", 0).await;
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_group_without_savepoints_may_be_large() {
    let Some(service) = Service::new(1).await else { return };
    for n in 0..400 {
        service.broker.send(0, &format!("m{n}"), &format!("k{}", n % 3), json!({"n": n}));
    }
    let running = Running::new(service.builder().group_size(300).handler(Effects::plain()));
    service.drained().await;
    running.stop().await;
    assert_eq!(service.count("select count(*) from effects").await, 400);
    let largest = "select max(n) from (select count(*) n from inbox_events group by xmin::text) g";
    assert!(service.count(largest).await > 60, "more messages than a transaction has savepoints");
    service.database.close().await.unwrap();
}
