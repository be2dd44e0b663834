//! What one message's failure costs it and its neighbours.

use std::time::Duration;

use omni_box_core::{Attempt, HandlerError, HandlerOutcome, NewOutboxEvent, OutboxExt, TransientError};
use omni_box_harness::eventually;
use omni_box_testkit::Capability;
use serde_json::json;

use super::faults::CommitFault;
use super::service::{Effects, LONG, Service, broken};
use omni_box_core::ErrorKind;

/// Nine neighbours and `m` in their middle, each with a key of its own.
fn send_ten(service: &Service) {
    for n in 0..10 {
        let id = if n == 5 { "m".to_owned() } else { format!("n{n}") };
        service.broker.send(0, &id, &format!("k{n}"), json!({"n": n}));
    }
}

/// Runs ten messages of which `m` fails as `act` says, and checks that the neighbours took effect once each.
async fn ten(act: Effects, m_effects: i64, m_row: (&str, i32)) {
    let Some(service) = Service::new(1).await else { return };
    ten_on(&service, act, m_effects, m_row).await;
    service.database.close().await.unwrap();
}

async fn ten_on(service: &Service, act: Effects, m_effects: i64, m_row: (&str, i32)) {
    send_ten(service);
    let running = service.run(&act);
    service.drained().await;
    running.stop().await;
    assert_eq!(service.row("m").await, Some((m_row.0.to_owned(), m_row.1)));
    assert_eq!(service.effects("m").await, m_effects);
    assert_eq!(service.count("select count(*) from effects where message_id <> 'm'").await, 9);
    assert_eq!(
        service.count("select count(distinct message_id) from effects where message_id <> 'm'").await,
        9
    );
    let charged = "select count(*) from inbox_events where message_id <> 'm' and attempts_made > 0";
    assert_eq!(service.count(charged).await, 0, "neighbours are not charged");
    assert_eq!(
        service.count("select count(*) from inbox_events where status = 'completed'").await,
        9 + i64::from(m_row.0 == "completed")
    );
}

#[tokio::test]
async fn partial_writes_of_a_failed_handler_are_rolled_back() {
    let act = Effects::new(|id, _, _| {
        Box::pin(async move { if id == "m" { Err(broken()) } else { Ok(HandlerOutcome::Completed) } })
    });
    ten(act, 0, ("failed", 6)).await;
}

#[tokio::test]
async fn a_failed_statement_does_not_poison_the_neighbours() {
    let act = Effects::new(|id, call, conn| {
        Box::pin(async move {
            if id == "m" && call == 1 {
                sqlx::query("select 1 / 0").execute(conn).await.map_err(|_| broken())?;
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    ten(act, 1, ("completed", 0)).await;
}

#[tokio::test]
async fn a_handler_that_hides_a_failed_statement_is_charged_alone() {
    let act = Effects::new(|id, call, conn| {
        Box::pin(async move {
            if id == "m" && call < 6 {
                // the error is swallowed, and the transaction is broken
                let _ = sqlx::query("select 1 / 0").execute(conn).await;
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    let Some(service) = Service::new(1).await else { return };
    send_ten(&service);
    let running = service.run(&act);
    service.drained().await;
    running.stop().await;
    assert_eq!(service.status("m").await.as_deref(), Some("completed"));
    assert!(service.row("m").await.unwrap().1 >= 1, "the culprit is charged");
    assert_eq!(service.count("select count(distinct message_id) from effects").await, 10);
    assert_eq!(service.count("select count(*) from effects").await, 10);
    let charged = "select count(*) from inbox_events where message_id <> 'm' and attempts_made > 0";
    assert_eq!(service.count(charged).await, 0);
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_deferred_constraint_charges_the_culprit_alone() {
    let Some(service) = Service::new(1).await else { return };
    service
        .execute(
            "create table parents (id int primary key);
             create table children (parent int references parents (id) deferrable initially deferred)",
        )
        .await;
    let act = Effects::new(|id, _, conn| {
        Box::pin(async move {
            if id == "m" {
                sqlx::query("insert into children values (1)").execute(conn).await?;
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    ten_on(&service, act, 0, ("failed", 6)).await;
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_permanent_failure_is_not_tried_again() {
    let act = Effects::new(|id, _, _| {
        Box::pin(async move {
            if id == "m" { Err(HandlerError::permanent("never")) } else { Ok(HandlerOutcome::Completed) }
        })
    });
    let calls = act.clone();
    ten(act, 0, ("failed", 1)).await;
    assert!(calls.calls("m") <= 1);
}

#[tokio::test]
async fn a_transient_failure_costs_nothing() {
    let act = Effects::new(|id, call, _| {
        Box::pin(async move {
            if id == "m" && call <= 8 {
                return Err(HandlerError::from(TransientError::new("the other service is down")));
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    ten(act, 1, ("completed", 0)).await;
}

#[tokio::test]
async fn a_retry_is_counted_as_the_handler_says() {
    let act = Effects::new(|id, call, _| {
        Box::pin(async move {
            let attempt = if call == 1 { Attempt::Counted } else { Attempt::Free };
            if id == "m" && call <= 3 {
                let after = Some(Duration::from_millis(5));
                return Ok(HandlerOutcome::retry("not yet", attempt, after));
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    ten(act, 1, ("completed", 1)).await;
}

#[tokio::test]
async fn an_unreachable_database_seen_by_one_message_only_is_that_messages_own() {
    let act = Effects::new(|id, _, _| {
        Box::pin(async move {
            if id == "m" {
                return Err(HandlerError::from(sqlx::Error::PoolTimedOut));
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    ten(act, 0, ("failed", 6)).await;
}

#[tokio::test]
async fn a_handler_that_ends_its_own_connection_is_charged_alone() {
    let act = Effects::new(|id, call, conn| {
        Box::pin(async move {
            if id == "m" && call == 1 {
                sqlx::query("select pg_terminate_backend(pg_backend_pid())").execute(conn).await?;
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    ten(act, 1, ("completed", 0)).await;
}

#[tokio::test]
async fn contention_at_commit_charges_nobody() {
    let Some(service) = Service::new(1).await else { return };
    for kind in
        [CommitFault::FailBefore(ErrorKind::Contention), CommitFault::FailAfter(ErrorKind::Unavailable)]
    {
        service.execute("truncate effects; truncate inbox_events").await;
        service.broker.rewind();
        kind.plan(service.store.plan());
        let running = service.run(&Effects::plain());
        if service.broker.committed(0) == 0 {
            send_once(&service);
        }
        eventually(LONG, async || service.count("select count(*) from effects").await == 10).await;
        service.drained().await;
        running.stop().await;
        assert_eq!(service.count("select count(*) from effects").await, 10, "{kind:?}");
        assert_eq!(
            service.count("select coalesce(sum(attempts_made), 0)::bigint from inbox_events").await,
            0
        );
    }
    service.database.close().await.unwrap();
}

fn send_once(service: &Service) {
    if service.broker.is_empty() {
        send_ten(service);
    }
}

#[tokio::test]
async fn deadlocks_charge_nobody() {
    let Some(service) = Service::new(2).await else { return };
    service
        .execute("create table stock (id int primary key, n int); insert into stock values (1, 0), (2, 0)")
        .await;
    for n in 0..200 {
        let partition = n % 2;
        service.broker.send(partition, &format!("d{n}"), &format!("k{n}"), json!({"n": n}));
    }
    let act = Effects::new(|id, _, conn| {
        let n: i32 = id[1..].parse().unwrap();
        Box::pin(async move {
            // each partition takes the two rows in an order of its own
            for id in if n % 2 == 0 { [1, 2] } else { [2, 1] } {
                let update = sqlx::query("update stock set n = n + 1 where id = $1").bind(id);
                update.execute(&mut *conn).await?;
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    let running = service.run(&act);
    service.drained().await;
    running.stop().await;
    assert_eq!(service.count("select min(n)::bigint from stock").await, 200);
    assert_eq!(service.count("select max(n)::bigint from stock").await, 200);
    assert_eq!(service.count("select count(*) from effects").await, 200);
    assert_eq!(service.count("select sum(attempts_made)::bigint from inbox_events").await, 0);
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_store_without_savepoints_takes_one_message_at_a_time() {
    let Some(service) = Service::new(1).await else { return };
    service.store.plan().hide(Capability::Savepoints);
    service.store.plan().hide(Capability::Sealed);
    let act = Effects::new(|id, call, _| {
        Box::pin(
            async move { if id == "m" && call < 3 { Err(broken()) } else { Ok(HandlerOutcome::Completed) } },
        )
    });
    ten_on(&service, act, 1, ("completed", 2)).await;
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn what_is_no_event_is_kept_as_bytes() {
    let Some(service) = Service::new(1).await else { return };
    let broker = &service.broker;
    broker.send_raw(0, Some(b"\xff\xfe"), Some(b"\xff\x00 no json".to_vec()), &[("event_id", "bytes")]);
    broker.send_raw(0, None, Some(b"{\"half\": ".to_vec()), &[]);
    broker.send_raw(0, Some(b"\xff\xfe"), None, &[("event_id", "tombstone")]);
    broker.send(0, "taken", "k", json!({"n": 1}));
    broker.send(0, "taken", "k", json!({"n": 2}));
    broker.send(0, "last", "k", json!({"n": 3}));
    let running = service.run(&Effects::plain());
    service.drained().await;
    running.stop().await;
    assert_eq!(service.quarantined().await, 3, "two that do not decode and one whose id is another's");
    assert_eq!(service.count("select count(*) from effects").await, 3);
    for id in ["tombstone", "taken", "last"] {
        assert_eq!(service.effects(id).await, 1, "{id}");
    }
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn what_the_database_never_takes_is_kept_as_bytes() {
    let Some(service) = Service::new(1).await else { return };
    service
        .execute(
            "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
             create trigger refuse before insert on inbox_events for each row when (new.message_id = 'm') execute function refuse()",
        )
        .await;
    send_ten(&service);
    let running = service.run(&Effects::plain());
    service.drained().await;
    running.stop().await;
    assert_eq!(service.row("m").await, None);
    assert_eq!(service.quarantined().await, 1);
    assert_eq!(service.count("select count(*) from effects").await, 9);
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn an_outbox_event_of_the_handler_commits_with_it() {
    let Some(service) = Service::new(1).await else { return };
    let outbox = service.store.inner().clone();
    let act = Effects::new(move |id, call, conn| {
        let outbox = outbox.clone();
        Box::pin(async move {
            let event = NewOutboxEvent::new("order.shipped", "shipments", &json!({"id": id}));
            outbox.enqueue(conn, event.partition_key(id)).await?;
            match (id, call) {
                ("m", 1) => Err(broken()),
                ("m", 2) => panic!("as the test wants it"),
                _ => Ok(HandlerOutcome::Completed),
            }
        })
    });
    ten_on(&service, act, 1, ("completed", 1)).await;
    assert_eq!(service.count("select count(*) from outbox_events").await, 10);
    assert_eq!(service.count("select count(distinct partition_key) from outbox_events").await, 10);
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_message_whose_transaction_cannot_be_serialized_is_tried_for_free() {
    let act = Effects::new(|id, call, conn| {
        Box::pin(async move {
            if id == "m" && call <= 6 {
                let raise = "do $$ begin raise exception 'busy' using errcode = '40001'; end $$";
                sqlx::query(raise).execute(conn).await?;
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    ten(act, 1, ("completed", 0)).await;
}
