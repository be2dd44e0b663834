//! Start, stop, revocation, one message at a time, holding and storing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use omni_box_core::{Attempt, ConsumerGroup, EventStatus, HandlerError, HandlerOutcome};
use omni_box_harness::eventually;
use omni_box_pipeline::{AckStrategy, CommitOffsetPolicy, InboxConsumerRunner, OnFailed, Outcome};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::memory::{Handler, Memory};
use super::service::{Effects, GROUP, LONG, Running, Service, broken};

#[tokio::test]
async fn without_a_handler_messages_are_stored_for_others() {
    let Some(service) = Service::new(2).await else { return };
    for n in 0..100 {
        service.broker.send(n % 2, &format!("m{n}"), "k", json!({"n": n}));
    }
    let running = Running::new(service.builder());
    service.drained().await;
    running.stop().await;
    assert_eq!(service.count("select count(*) from inbox_events where status = 'pending'").await, 100);

    // a runner with a handler comes later, and finds the rows before what is new
    service.broker.send(0, "new", "k", json!({}));
    let running = service.run(&Effects::plain());
    eventually(LONG, async || service.count("select count(*) from effects").await == 101).await;
    running.stop().await;
    let first = "select count(*) from effects where seq < (select seq from effects where message_id = 'new')
                 and substr(message_id, 2)::int % 2 = 0";
    assert_eq!(
        service
            .count(
                &first.replace(
                    "substr(message_id, 2)",
                    "nullif(regexp_replace(message_id, '\\D', '', 'g'), '')"
                )
            )
            .await,
        50
    );
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn on_persist_acknowledges_before_the_handler_and_survives_a_restart() {
    let Some(service) = Service::new(1).await else { return };
    let is_open = Arc::new(AtomicBool::new(false));
    let open = is_open.clone();
    let act = Effects::new(move |_, _, _| {
        let is_open = open.load(Ordering::SeqCst);
        Box::pin(async move {
            if !is_open {
                std::future::pending::<()>().await;
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    let run = || {
        let builder = service.builder().handler(act.clone());
        Running::new(builder.commit_offset_policy(CommitOffsetPolicy::OnPersist))
    };
    for n in 0..20 {
        service.broker.send(0, &format!("m{n}"), &format!("k{}", n % 4), json!({"n": n}));
    }
    let running = run();
    service.drained().await;
    assert_eq!(service.count("select count(*) from effects").await, 0);
    running.crash().await;
    is_open.store(true, Ordering::SeqCst);
    let running = run();
    eventually(LONG, async || service.count("select count(*) from effects").await == 20).await;
    running.stop().await;
    assert_eq!(service.count("select count(*) from inbox_events where status = 'completed'").await, 20);
    let displaced = "select count(*) from (select substr(message_id, 2)::int n,
        lag(substr(message_id, 2)::int) over (partition by key order by seq) b from effects) e where n < b";
    assert_eq!(service.count(displaced).await, 0);
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn stored_rows_whose_keys_are_no_text_are_ordered_by_key_after_a_restart() {
    let Some(service) = Service::new(1).await else { return };
    for (id, key) in [("m0", b"\xff\x01"), ("m1", b"\xff\x01"), ("m2", b"\xff\x02")] {
        let headers = [("event_id", id), ("event_type", "order.placed")];
        service.broker.send_raw(0, Some(key), Some(b"{\"a\":1}".to_vec()), &headers);
    }
    let is_restarted = Arc::new(AtomicBool::new(false));
    let is_open = Arc::new(AtomicBool::new(false));
    let (restarted, open) = (is_restarted.clone(), is_open.clone());
    let act = Effects::new(move |id, _, _| {
        let is_restarted = restarted.load(Ordering::SeqCst);
        let is_held = id == "m0" && !open.load(Ordering::SeqCst);
        Box::pin(async move {
            if !is_restarted {
                std::future::pending::<()>().await;
            }
            if is_held {
                let after = Some(Duration::from_millis(20));
                return Ok(HandlerOutcome::retry("held", Attempt::Free, after));
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    let run = || {
        let builder = service.builder().handler(act.clone());
        Running::new(builder.commit_offset_policy(CommitOffsetPolicy::OnPersist))
    };
    let running = run();
    service.drained().await;
    running.crash().await;
    is_restarted.store(true, Ordering::SeqCst);
    let running = run();
    eventually(LONG, async || service.effects("m2").await == 1).await;
    assert_eq!(service.count("select count(*) from effects").await, 1, "m1 waits behind m0");
    is_open.store(true, Ordering::SeqCst);
    eventually(LONG, async || service.count("select count(*) from effects").await == 3).await;
    running.stop().await;
    let last =
        "select count(*) from effects where message_id = 'm1' and seq = (select max(seq) from effects)";
    assert_eq!(service.count(last).await, 1);
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_held_message_keeps_its_offset_until_it_is_requeued() {
    let Some(service) = Service::new(1).await else { return };
    service.broker.send(0, "m", "k", json!({"n": 0}));
    service.broker.send(0, "same-key", "k", json!({"n": 1}));
    service.broker.send(0, "other-key", "o", json!({"n": 2}));
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = is_mended.clone();
    let act = Effects::new(move |id, _, _| {
        let fails = id == "m" && !mended.load(Ordering::SeqCst);
        Box::pin(async move { if fails { Err(broken()) } else { Ok(HandlerOutcome::Completed) } })
    });
    let builder = service.builder().handler(act);
    let running = Running::new(builder.on_failed(OnFailed::Hold));
    eventually(LONG, async || service.status("m").await.as_deref() == Some("failed")).await;
    eventually(LONG, async || service.effects("other-key").await == 1).await;
    assert_eq!(service.broker.committed(0), 0);
    assert_eq!(service.effects("same-key").await, 0);
    is_mended.store(true, Ordering::SeqCst);
    service
        .execute("update inbox_events set status = 'pending', attempts_made = 0 where message_id = 'm'")
        .await;
    service.drained().await;
    running.stop().await;
    assert_eq!(service.count("select count(*) from effects").await, 3);
    service.database.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_failed_message_that_is_acknowledged_when_it_is_stored_holds_nothing() {
    let memory = Memory::new();
    let handler = Handler::new(|id, _| async move {
        if id == "m" { Err(HandlerError::permanent("never")) } else { Ok(HandlerOutcome::Completed) }
    });
    let run = || Running::new(memory.builder(&handler).commit_offset_policy(CommitOffsetPolicy::OnPersist));
    memory.broker.send(0, "m", "k", json!({"n": 0}));
    let running = run();
    eventually(LONG, async || memory.row("m") == Some((EventStatus::Failed, 1))).await;
    running.stop().await;
    // as after a crash between the rows and their offsets
    memory.broker.rewind();
    memory.broker.send(0, "same-key", "k", json!({"n": 1}));
    let running = run();
    memory.drained().await;
    eventually(LONG, async || memory.row("same-key") == Some((EventStatus::Completed, 0))).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_message_is_answered_for_while_the_broker_refuses_its_offset() {
    for strategy in [AckStrategy::AtMostOnce, AckStrategy::ExactlyOnceInbox] {
        let memory = Memory::new();
        let handler = Handler::new(|_, _| async { Ok(HandlerOutcome::Completed) });
        let mut runner = memory.builder(&handler).ack_strategy(strategy).build().unwrap();
        let mut one = async || {
            let one = runner.process_one(Instant::now() + LONG);
            let answer = tokio::time::timeout(2 * LONG, one).await;
            let answer = answer.unwrap_or_else(|_| panic!("{strategy:?}: an answer")).unwrap();
            answer.map(|result| (result.message_id, result.outcome, result.committed))
        };
        memory.broker.refuse_commits();
        for id in ["m0", "m1"] {
            memory.broker.send(0, id, "k", json!({}));
        }
        if strategy == AckStrategy::AtMostOnce {
            assert_eq!(one().await, None, "its offset comes first");
            assert_eq!(handler.calls("m0"), 0);
        } else {
            assert_eq!(one().await, Some(("m0".to_owned(), Outcome::Completed, false)));
            assert_eq!(one().await, Some(("m1".to_owned(), Outcome::Completed, false)));
            assert_eq!(memory.broker.committed(0), 0);
        }
        memory.broker.accept_commits();
        if strategy == AckStrategy::AtMostOnce {
            assert_eq!(one().await, Some(("m0".to_owned(), Outcome::Completed, true)));
            assert_eq!(one().await, Some(("m1".to_owned(), Outcome::Completed, true)));
        }
        memory.drained().await;
        runner.stop().await.unwrap();
    }
}

#[tokio::test]
async fn one_message_at_a_time() {
    let Some(service) = Service::new(2).await else { return };
    let act = Effects::new(|id, call, _| {
        Box::pin(async move {
            if id == "m1" && call == 1 { Err(broken()) } else { Ok(HandlerOutcome::Completed) }
        })
    });
    for policy in [CommitOffsetPolicy::OnSuccess, CommitOffsetPolicy::OnPersist] {
        service.execute("truncate effects; truncate inbox_events").await;
        act.calls.lock().unwrap().clear();
        service.broker.rewind();
        let mut runner = service.builder().handler(act.clone()).commit_offset_policy(policy).build().unwrap();
        if service.broker.is_empty() {
            let soon = Instant::now() + Duration::from_millis(50);
            assert_eq!(runner.process_one(soon).await.unwrap(), None, "nothing is there");
            for n in 0..4 {
                service.broker.send(n % 2, &format!("m{n}"), "k", json!({"n": n}));
            }
        }
        let mut outcomes = Vec::new();
        for calls in 1..=5 {
            let result =
                runner.process_one(Instant::now() + LONG).await.unwrap().expect("there is a message");
            assert_eq!(act.calls.lock().unwrap().values().sum::<u32>(), calls, "one handler per call");
            outcomes.push((result.message_id, result.outcome));
        }
        assert!(outcomes.contains(&("m1".to_owned(), Outcome::Retried)), "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|(_, o)| *o == Outcome::Completed).count(), 4, "{outcomes:?}");
        runner.stop().await.unwrap();
        assert!(runner.process_one(Instant::now()).await.is_err(), "it has stopped");
        assert!(service.broker.is_drained());
        assert_eq!(service.count("select count(*) from effects").await, 4);
    }
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_revoked_partition_finishes_its_group_and_begins_no_other() {
    let Some(service) = Service::new(1).await else { return };
    for n in 0..10 {
        service.broker.send(0, &format!("m{n}"), "k", json!({"n": n}));
    }
    let gate = Arc::new(Semaphore::new(0));
    let permits = gate.clone();
    let act = Effects::new(move |_, _, _| {
        let permits = permits.clone();
        Box::pin(async move {
            permits.acquire().await.unwrap().forget();
            Ok(HandlerOutcome::Completed)
        })
    });
    let builder = service.builder();
    let running = Running::new(builder.handler(act.clone()).group_size(3));
    eventually(LONG, async || act.calls("m0") == 1).await;
    service.broker.revoke();
    gate.add_permits(10);
    eventually(LONG, async || service.broker.committed(0) == 3).await;
    running.stop().await;
    assert_eq!(service.count("select count(*) from effects").await, 3);
    assert_eq!(act.calls("m3"), 0);
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_lost_partition_drops_its_transaction_at_once() {
    let Some(service) = Service::new(1).await else { return };
    service.broker.send(0, "m", "k", json!({}));
    let act = Effects::new(|_, _, _| Box::pin(std::future::pending()));
    let builder = service.builder();
    let running = Running::new(builder.handler(act.clone()));
    eventually(LONG, async || act.calls("m") == 1).await;
    service.broker.lose();
    let held = "select count(*) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'";
    eventually(Duration::from_secs(10), async || service.count(held).await == 0).await;
    running.stop().await;
    assert_eq!(service.broker.committed(0), 0);
    assert_eq!(service.count("select count(*) from effects").await, 0);
    let why = "no message has ended the process: its next owner need not be careful";
    assert_eq!(service.count("select count(*) from inbox_partitions where not clean").await, 0, "{why}");
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_handler_that_does_not_end_is_abandoned_at_the_drain_deadline() {
    let Some(service) = Service::new(1).await else { return };
    service.broker.send(0, "m", "k", json!({}));
    let act = Effects::new(|_, _, _| Box::pin(std::future::pending()));
    let consumer = service.broker.memory_consumer().drain_deadline(Duration::from_secs(2));
    let builder = service.builder_on(consumer, ConsumerGroup::new(GROUP).unwrap());
    // the handler's timeout ends it first
    let running = Running::new(builder.handler(act.clone()).process_timeout(Duration::from_millis(900)));
    eventually(LONG, async || act.calls("m") == 1).await;
    let begun = Instant::now();
    running.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(service.broker.committed(0), 0);
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_commit_that_the_broker_refuses_is_tried_again() {
    let Some(service) = Service::new(1).await else { return };
    service.broker.refuse_commits();
    service.broker.send(0, "m", "k", json!({}));
    let running = service.run(&Effects::plain());
    eventually(LONG, async || service.effects("m").await == 1).await;
    assert_eq!(service.broker.committed(0), 0);
    service.broker.accept_commits();
    service.drained().await;
    running.stop().await;
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn settings_that_disagree_are_refused() {
    let Some(service) = Service::new(1).await else { return };
    let error = service
        .builder()
        .process_timeout(Duration::from_secs(44))
        .build()
        .expect_err("with the time of a group, not shorter than the time to drain")
        .to_string();
    assert!(error.contains("process_timeout 44s") && error.contains("drain_deadline 45s"), "{error}");
    let check = |error: omni_box_core::Result<InboxConsumerRunner<_>>, text: &str| {
        let error = error.expect_err(text).to_string();
        assert!(error.contains(text), "{error}");
    };
    check(service.builder().group_size(1001).build(), "group_size 1001");
    check(service.builder().group_size(0).build(), "group_size 0");
    check(service.builder().window(10).build(), "window 10");
    check(service.builder().concurrency_limit(0).build(), "concurrency_limit 0");
    service.database.close().await.unwrap();
}
