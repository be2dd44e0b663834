//! Every strategy and policy against everything that may happen to a message, on PostgreSQL and Apache Kafka.

use std::time::Duration;

use futures_util::future::join_all;
use omni_box_core::{HandlerError, HandlerOutcome};
use omni_box_harness::eventually;
use omni_box_pipeline::{AckStrategy, CommitOffsetPolicy};

use super::faults::CommitFault;
use super::service::{Effects, LONG, Running, Service, broken};
use super::topic::Topic;

const STRATEGIES: [AckStrategy; 3] =
    [AckStrategy::AtMostOnce, AckStrategy::AtLeastOnce, AckStrategy::ExactlyOnceInbox];
const POLICIES: [CommitOffsetPolicy; 2] = [CommitOffsetPolicy::OnPersist, CommitOffsetPolicy::OnSuccess];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    Ok,
    ErrorOnce,
    ErrorAlways,
    PanicOnce,
    TimeoutOnce,
    Duplicate,
    PersistFailure,
    CrashBeforeCommit,
    CrashAfterCommit,
}

/// Effects of the message and its row's status in the end.
fn expected(
    strategy: AckStrategy,
    policy: CommitOffsetPolicy,
    scenario: Scenario,
) -> (i64, Option<&'static str>) {
    use AckStrategy::{AtLeastOnce, AtMostOnce};
    use Scenario::*;
    let is_seen_again = strategy == AtLeastOnce && policy == CommitOffsetPolicy::OnSuccess;
    match (scenario, strategy) {
        (ErrorOnce | PanicOnce | TimeoutOnce, AtMostOnce) => (0, Some("failed")),
        (ErrorAlways, _) => (0, Some("failed")),
        (CrashBeforeCommit, AtMostOnce) => (0, None),
        (Duplicate | CrashAfterCommit, _) if is_seen_again => (2, Some("completed")),
        _ => (1, Some("completed")),
    }
}

fn handler(scenario: Scenario, service: &Service) -> Effects {
    let faults = service.store.plan().clone();
    Effects::new(move |id, call, conn| {
        let faults = faults.clone();
        Box::pin(async move {
            if id != "m" {
                return Ok(HandlerOutcome::Completed);
            }
            match scenario {
                Scenario::ErrorOnce if call == 1 => Err(broken()),
                Scenario::ErrorAlways => Err(broken()),
                Scenario::PanicOnce if call == 1 => panic!("as the scenario wants it"),
                Scenario::TimeoutOnce if call == 1 => {
                    sqlx::query("select pg_sleep(60)").execute(conn).await.map_err(HandlerError::from)?;
                    Ok(HandlerOutcome::Completed)
                }
                Scenario::CrashBeforeCommit if call == 1 => {
                    CommitFault::StopBefore.plan(&faults);
                    Ok(HandlerOutcome::Completed)
                }
                Scenario::CrashAfterCommit if call == 1 => {
                    CommitFault::StopAfter.plan(&faults);
                    Ok(HandlerOutcome::Completed)
                }
                _ => Ok(HandlerOutcome::Completed),
            }
        })
    })
}

async fn check(strategy: AckStrategy, policy: CommitOffsetPolicy, scenario: Scenario) {
    let case = format!("{strategy:?} {policy:?} {scenario:?}");
    let Some(topic) = Topic::create(1).await else { return };
    let Some(service) = Service::new(1).await else { return };
    let mut messages = vec![("before", "a", 0), ("m", "b", 1), ("after", "c", 2)];
    if scenario == Scenario::Duplicate {
        messages.insert(2, messages[1]);
    }
    topic.send(messages.iter().copied()).await;
    let handler = handler(scenario, &service);
    let run = || {
        let builder = service.builder_on(topic.consumer(), topic.group());
        let builder = builder.handler(handler.clone()).ack_strategy(strategy);
        Running::new(builder.commit_offset_policy(policy).process_timeout(Duration::from_secs(1)))
    };
    if scenario == Scenario::PersistFailure {
        // 53100: the disk is full
        service
            .execute(
                "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'full' using errcode = '53100'; end $$;
                 create trigger refuse before insert on inbox_events for each row when (new.message_id = 'm') execute function refuse()",
            )
            .await;
    }

    let mut running = run();
    match scenario {
        Scenario::CrashBeforeCommit | Scenario::CrashAfterCommit => {
            let stopped = tokio::time::timeout(LONG, service.store.plan().until_frozen()).await;
            stopped.unwrap_or_else(|_| panic!("{case}: the commit is reached"));
            running.crash().await;
            running = run();
        }
        Scenario::PersistFailure => {
            eventually(LONG, async || service.effects("before").await == 1).await;
            if strategy != AckStrategy::AtMostOnce {
                assert!(topic.committed().await <= 1, "{case}: what is not stored is not acknowledged");
            }
            service.execute("drop trigger refuse on inbox_events").await;
        }
        _ => {}
    }

    let (effects, status) = expected(strategy, policy, scenario);
    topic.drained(messages.len() as i64).await;
    eventually(LONG, async || {
        service.effects("m").await == effects && service.status("m").await.as_deref() == status
    })
    .await;
    running.stop().await;
    assert_eq!(service.effects("m").await, effects, "{case}: effects");
    assert_eq!(service.status("m").await.as_deref(), status, "{case}: status");
    if strategy != AckStrategy::AtMostOnce || status.is_some() {
        let others = if status == Some("completed") && effects == 2 { 1..=2 } else { 1..=1 };
        for other in ["before", "after"] {
            assert!(others.contains(&service.effects(other).await), "{case}: effects of {other}");
        }
    }
    assert_eq!(service.quarantined().await, 0, "{case}: quarantined");
    service.database.close().await.unwrap();
}

async fn check_all(scenario: Scenario) {
    let cases = STRATEGIES.into_iter().flat_map(|strategy| POLICIES.map(|policy| (strategy, policy)));
    join_all(cases.map(|(strategy, policy)| check(strategy, policy, scenario))).await;
}

#[tokio::test]
async fn ok() {
    check_all(Scenario::Ok).await;
}

#[tokio::test]
async fn error_once() {
    check_all(Scenario::ErrorOnce).await;
}

#[tokio::test]
async fn error_always() {
    check_all(Scenario::ErrorAlways).await;
}

#[tokio::test]
async fn panic_once() {
    check_all(Scenario::PanicOnce).await;
}

#[tokio::test]
async fn timeout_inside_a_query() {
    check_all(Scenario::TimeoutOnce).await;
}

#[tokio::test]
async fn duplicate() {
    check_all(Scenario::Duplicate).await;
}

#[tokio::test]
async fn persist_failure() {
    check_all(Scenario::PersistFailure).await;
}

#[tokio::test]
async fn crash_before_commit() {
    check_all(Scenario::CrashBeforeCommit).await;
}

#[tokio::test]
async fn crash_after_commit() {
    check_all(Scenario::CrashAfterCommit).await;
}
