//! An event exists exactly when the transaction that wrote it committed.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use omni_box_core::{ErrorKind, Event, EventRepository, NewOutboxEvent, Store};
use sqlx::Executor;

use crate::database::{Database, build, event, run};

async fn count(db: &Database) -> i64 {
    db.scalar("select count(*) from outbox_events").await
}

#[tokio::test]
async fn commits_and_rolls_back_with_the_business_row() {
    run(async |db: Arc<Database>| {
        db.execute("create table orders (id int)").await;
        for commit in [true, false] {
            let mut tx = db.pool.begin().await.unwrap();
            tx.execute("insert into orders values (1)").await.unwrap();
            let created = db.store.create(&mut tx, &event("a")).await.unwrap();
            assert!(created.is_new());
            if commit { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
        }
        assert_eq!((count(&db).await, db.scalar::<i64>("select count(*) from orders").await), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn accepts_a_transaction_that_sqlx_does_not_know_of() {
    run(async |db: Arc<Database>| {
        let mut conn = db.pool.acquire().await.unwrap();
        conn.execute("begin").await.unwrap();
        db.store.create(&mut conn, &event("a")).await.unwrap();
        conn.execute("rollback").await.unwrap();
        assert_eq!(count(&db).await, 0);
        conn.execute("begin").await.unwrap();
        db.store.create(&mut conn, &event("a")).await.unwrap();
        conn.execute("commit").await.unwrap();
        assert_eq!(count(&db).await, 1);
    })
    .await;
}

#[tokio::test]
async fn an_idempotency_key_raced_by_sixteen_stores_one_event() {
    run(async |db: Arc<Database>| {
        let barrier = Arc::new(tokio::sync::Barrier::new(16));
        let mut racers = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (db, barrier) = (Arc::clone(&db), Arc::clone(&barrier));
            racers.spawn(async move {
                let event =
                    build(NewOutboxEvent::from_json("t", "orders", r#"{"a":1}"#).idempotency_key("same"));
                let mut tx = db.pool.begin().await.unwrap();
                barrier.wait().await;
                let created = db.store.create(&mut tx, &event).await.unwrap();
                tx.commit().await.unwrap();
                created
            });
        }
        let created = racers.join_all().await;
        assert_eq!(created.iter().filter(|created| created.is_new()).count(), 1);
        let ids: std::collections::HashSet<_> =
            created.into_iter().map(|created| created.into_event().id()).collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(count(&db).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_serialization_failure_is_contention() {
    run(async |db: Arc<Database>| {
        let keyed = || build(NewOutboxEvent::from_json("t", "orders", r#"{"a":1}"#).idempotency_key("a"));
        let mut late = db.pool.begin_with("begin isolation level repeatable read").await.unwrap();
        late.execute("select 1 from outbox_events").await.unwrap();
        db.enqueue(&[keyed()]).await;
        let error = db.store.create(&mut late, &keyed()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Contention, "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn only_a_schedule_of_its_own_defers_an_event() {
    run(async |db: Arc<Database>| {
        let ahead = Utc::now() + TimeDelta::seconds(5);
        db.enqueue(&[
            event("plain"),
            build(NewOutboxEvent::from_json("t", "orders", r#"{"a":1}"#).scheduled_at(ahead)),
        ])
        .await;
        let deferred: Vec<bool> =
            sqlx::query_scalar("select deferred from outbox_events order by seq").fetch_all(&db.pool).await.unwrap();
        assert_eq!(deferred, [false, true]);
        // a foreign writer whose clock is 5 s ahead, and names both times
        db.execute(
            "insert into outbox_events (id, event_type, aggregate_type, aggregate_id, topic, partition_key, payload, headers,
                status, attempts_made, max_attempts, scheduled_at, created_at, updated_at)
             values (gen_random_uuid(), 't', 'order', gen_random_uuid(), 'orders', 'k', '{\"a\": 1}'::jsonb, '{}', 'pending', 0,
                6, now() + interval '5 s', now() + interval '5 s', now() + interval '5 s')",
        )
        .await;
        assert_eq!(db.scalar::<i64>("select count(*) from outbox_events where deferred").await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_failed_statement_cannot_be_committed_in_silence() {
    run(async |db: Arc<Database>| {
        let mut tx = db.store.begin().await.unwrap();
        db.store.create(&mut tx, &event("a")).await.unwrap();
        tx.execute("select 1 / 0").await.unwrap_err();
        db.store.commit(tx).await.unwrap_err();
        assert_eq!(count(&db).await, 0);
    })
    .await;
}

#[tokio::test]
async fn errors_repeat_no_payload() {
    run(async |db: Arc<Database>| {
        let secret = build(NewOutboxEvent::from_json("t", "orders", r#"{"card":"4111-secret"}"#));
        db.execute("alter table outbox_events add check (payload->>'card' is null)").await;
        let mut tx = db.pool.begin().await.unwrap();
        let error = db.store.create(&mut tx, &secret).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(!format!("{error:?} {}", error.chain()).contains("secret"), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn an_event_that_is_named_twice_in_one_call_is_new_once() {
    run(async |db: Arc<Database>| {
        let once = build(NewOutboxEvent::from_json("t", "orders", r#"{"a":1}"#).idempotency_key("same"));
        let mut tx = db.pool.begin().await.unwrap();
        let created = db.store.create_many(&mut tx, &[once.clone(), event("a"), once.clone()]).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(
            created.iter().map(omni_box_core::Created::is_new).collect::<Vec<_>>(),
            [true, true, false]
        );
        assert_eq!(count(&db).await, 2);
    })
    .await;
}
