//! Messages, beyond the contract: limits that the server keeps, sqlx's nested transactions, and what a column cannot hold.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use omni_box_core::{
    ConsumerGroup, ErrorKind, Event, EventContent, InboundMessage, InboxEvent, InboxRepository,
    NewInboxEvent, OmniBoxDomainService, Payload, QuarantinedMessage, Received, Savepoints, SourcePosition,
    Store, TopicPartition,
};
use sqlx::{Connection, Executor};

use crate::database::{Database, eventually, run};

fn group() -> ConsumerGroup {
    ConsumerGroup::new("shipping").unwrap()
}

fn partition() -> TopicPartition {
    TopicPartition { topic: "orders".into(), partition: 3 }
}

fn message(id: &str, offset: i64, value: &str) -> InboxEvent {
    let content = EventContent::new("order.placed", Payload::from_text(value).unwrap());
    let event = NewInboxEvent::new(id, group(), "orders", content)
        .position(SourcePosition { topic: "orders".into(), partition: 3, offset })
        .partition_key(format!("k{}", offset % 2))
        .digest(value.as_bytes().to_vec());
    OmniBoxDomainService::default().create_inbox_event(event).unwrap()
}

async fn receive(db: &Database, events: &[InboxEvent]) -> Vec<Received> {
    let mut tx = db.store.begin().await.unwrap();
    let received = db.store.receive(&mut tx, events).await.unwrap();
    db.store.commit(tx).await.unwrap();
    received
}

#[tokio::test]
async fn a_key_that_is_no_text_is_kept_beside_the_row() {
    run(async |db: Arc<Database>| {
        let content = EventContent::new("order.placed", Payload::from_text("{}").unwrap());
        let event = NewInboxEvent::new("m", group(), "orders", content)
            .position(SourcePosition { topic: "orders".into(), partition: 3, offset: 0 })
            .partition_key(b"\xff\x00".to_vec());
        let event = OmniBoxDomainService::default().create_inbox_event(event).unwrap();
        receive(&db, std::slice::from_ref(&event)).await;
        let rows = db.store.pending_of(&group(), &partition(), None, 10).await.unwrap();
        assert_eq!((rows[0].partition_key(), rows[0].raw_key()), (None, Some(&b"\xff\x00"[..])));
    })
    .await;
}

#[tokio::test]
async fn a_lock_that_cannot_be_had_in_time_is_contention() {
    run(async |db: Arc<Database>| {
        let event = message("a", 0, "1");
        let mut first = db.store.begin().await.unwrap();
        db.store.receive(&mut first, std::slice::from_ref(&event)).await.unwrap();
        let mut second = db.store.begin_handling(Duration::from_millis(300)).await.unwrap();
        let error = db.store.receive(&mut second, &[message("a", 0, "1")]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Contention, "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_message_is_found_by_its_id() {
    run(async |db: Arc<Database>| {
        let event = message("a", 0, "1");
        receive(&db, std::slice::from_ref(&event)).await;
        let mut conn = db.pool.acquire().await.unwrap();
        let row = db.store.by_message(&mut conn, "a", &group()).await.unwrap().unwrap();
        assert_eq!(row.id(), event.id());
        assert!(db.store.by_message(&mut conn, "b", &group()).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_savepoint_undoes_one_message_alone() {
    run(async |db: Arc<Database>| {
        db.execute("create table effects (n int primary key)").await;
        let savepoints = InboxRepository::savepoints(&db.store).unwrap();
        let mut tx = db.store.begin().await.unwrap();
        Savepoints::start(savepoints, &mut tx).await.unwrap();
        tx.execute("insert into effects values (1)").await.unwrap();
        savepoints.advance(&mut tx).await.unwrap();
        tx.execute("insert into effects values (2)").await.unwrap();
        tx.execute("insert into effects values (2)").await.unwrap_err();
        savepoints.rollback(&mut tx).await.unwrap();
        // a handler's own nested transaction, dropped, and one committed
        let mut nested = tx.begin().await.unwrap();
        nested.execute("insert into effects values (3)").await.unwrap();
        drop(nested);
        let mut nested = tx.begin().await.unwrap();
        nested.execute("insert into effects values (4)").await.unwrap();
        nested.commit().await.unwrap();
        savepoints.advance(&mut tx).await.unwrap();
        db.store.commit(tx).await.unwrap();
        let left: Vec<i32> =
            sqlx::query_scalar("select n from effects order by n").fetch_all(&db.pool).await.unwrap();
        assert_eq!(left, [1, 4]);
    })
    .await;
}

#[tokio::test]
async fn a_handling_transaction_ends_on_its_own() {
    run(async |db: Arc<Database>| {
        let mut tx = db.store.begin_handling(Duration::from_millis(200)).await.unwrap();
        let error = tx.execute("select pg_sleep(10)").await.unwrap_err();
        assert_eq!(db.store.classify(&error), Some(ErrorKind::Timeout));
        Store::rollback(&db.store, tx).await.unwrap();
        // the limits end with the transaction
        let mut conn = db.pool.acquire().await.unwrap();
        let limit: String = sqlx::query_scalar("select current_setting('statement_timeout')")
            .fetch_one(&mut *conn)
            .await
            .unwrap();
        assert_eq!(limit, "0");
    })
    .await;
}

#[tokio::test]
async fn an_abandoned_transaction_closes_its_connection() {
    run(async |db: Arc<Database>| {
        db.execute("create table effects (n int)").await;
        let mut tx = db.store.begin().await.unwrap();
        let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *tx).await.unwrap();
        tx.execute("insert into effects values (1)").await.unwrap();
        // in the middle of a statement
        tokio::select! {
            _ = tx.execute("select pg_sleep(1)") => panic!("it sleeps"),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        let started = std::time::Instant::now();
        db.store.abandon(tx).await;
        assert!(started.elapsed() < Duration::from_millis(500));
        eventually("the server has ended the connection", async || {
            let gone = format!("select not exists (select from pg_stat_activity where pid = {pid})");
            db.scalar::<bool>(&gone).await.then_some(())
        })
        .await;
        assert_eq!(db.scalar::<i64>("select count(*) from effects").await, 0);
    })
    .await;
}

#[tokio::test]
async fn quarantine_keeps_raw_bytes_once() {
    run(async |db: Arc<Database>| {
        let kept = QuarantinedMessage {
            consumer_group: group(),
            message: InboundMessage {
                topic: "orders".into(),
                partition: 3,
                offset: 7,
                key: Some(Bytes::from_static(b"\xff\0")),
                value: None,
                headers: vec![("a\0".into(), Some(Bytes::from_static(b"\xfe"))), ("a\0".into(), None)],
                timestamp: None,
            },
            error: "not \0 JSON".into(),
        };
        for _ in 0..2 {
            let mut tx = db.store.begin().await.unwrap();
            db.store.quarantine(&mut tx, std::slice::from_ref(&kept)).await.unwrap();
            db.store.commit(tx).await.unwrap();
        }
        assert_eq!(db.scalar::<i64>("select count(*) from inbox_quarantine").await, 1);
        assert_eq!(
            db.scalar::<Vec<u8>>("select key from inbox_quarantine where value is null").await,
            b"\xff\0"
        );
        assert_eq!(
            db.scalar::<String>("select headers::text from inbox_quarantine").await,
            "[[\"a\u{fffd}\", \"/g==\"], [\"a\u{fffd}\", null]]"
        );
    })
    .await;
}

/// A message is kept whatever its producer's clock says.
#[tokio::test]
async fn times_before_the_servers_first_keep_no_message_out() {
    run(async |db: Arc<Database>| {
        for (offset, timestamp) in [(1, DateTime::<Utc>::MIN_UTC), (2, DateTime::<Utc>::MAX_UTC)] {
            let message = InboundMessage {
                topic: "orders".into(),
                partition: 3,
                offset,
                key: None,
                value: Some(Bytes::from_static(b"{")),
                headers: Vec::new(),
                timestamp: Some(timestamp),
            };
            let kept = QuarantinedMessage { consumer_group: group(), message, error: "no JSON".into() };
            let content = EventContent::new("order.placed", Payload::from_text("{}").unwrap());
            let event =
                NewInboxEvent::new(format!("m{offset}"), group(), "orders", content).produced_at(timestamp);
            let event = OmniBoxDomainService::default().create_inbox_event(event).unwrap();
            let mut tx = db.store.begin().await.unwrap();
            db.store.quarantine(&mut tx, &[kept]).await.unwrap();
            db.store.receive(&mut tx, &[event]).await.unwrap();
            db.store.commit(tx).await.unwrap();
        }
        assert_eq!(db.scalar::<i64>("select count(*) from inbox_quarantine").await, 2);
        assert_eq!(db.scalar::<i64>("select count(*) from inbox_events where produced_at is null").await, 1);
    })
    .await;
}

/// What a handler may send to end its transaction.
const ENDS: [&str; 6] =
    ["commit", "rollback", "end", "commit and chain", "rollback and chain", "rollback; begin read write"];

#[tokio::test]
async fn a_sealed_transaction_is_ended_by_its_store_alone() {
    run(async |db: Arc<Database>| {
        db.execute("create table effects (n int)").await;
        let sealed = db.store.sealed().unwrap();
        for (offset, end) in ENDS.into_iter().enumerate() {
            let event = message(end, offset as i64, r#"{"a": 1}"#);
            let mut tx = sealed.begin_sealed(Duration::from_secs(20)).await.unwrap();
            let received = sealed.receive_completed(&mut tx, &[&event]).await.unwrap();
            assert_eq!(received, [Received::New], "{end}");
            tx.execute("insert into effects values (1)").await.unwrap();
            let ended = tx.execute(sqlx::raw_sql(end)).await;
            assert_eq!(ended.is_err(), end.starts_with("commit") || end == "end", "{end}: {ended:?}");
            // a handler behind that one; of a chained transaction its write is open
            let written = tx.execute("insert into effects values (2)").await;
            let is_open = end == "rollback and chain" || end.ends_with("write");
            assert_eq!(written.is_ok(), is_open, "{end}: {written:?}");
            let committed = db.store.commit(tx).await;
            assert_eq!(committed.unwrap_err().kind(), ErrorKind::NoTransaction, "{end}");
            assert_eq!(db.scalar::<i64>("select count(*) from effects").await, 0, "{end}");
            assert_eq!(db.scalar::<i64>("select count(*) from inbox_events").await, 0, "{end}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_sealed_transaction_leaves_its_connection_as_it_was() {
    run(async |db: Arc<Database>| {
        db.execute("create table effects (n int)").await;
        let sealed = db.store.sealed().unwrap();
        for round in 0..3 {
            let mut tx = sealed.begin_sealed(Duration::from_secs(20)).await.unwrap();
            let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *tx).await.unwrap();
            let mut part = tx.begin().await.unwrap();
            part.execute("insert into effects values (1)").await.unwrap();
            part.commit().await.unwrap();
            db.store.commit(tx).await.unwrap();
            let session = "select current_setting('default_transaction_read_only') || (select count(*) from pg_cursors where name <> '')";
            assert_eq!(db.scalar::<String>(session).await, "off0", "{round}: session {pid}");
            db.execute("insert into effects values (2)").await;
        }
        assert_eq!(db.scalar::<i64>("select count(*) from effects").await, 6);
    })
    .await;
}

#[tokio::test]
async fn behind_a_pooler_no_transaction_is_sealed() {
    run(async |db: Arc<Database>| {
        let config =
            omni_box_postgres::PgConfig::builder().listen(omni_box_postgres::Listen::Off).build().unwrap();
        assert!(omni_box_postgres::PgStore::new(db.pool.clone(), config).sealed().is_none());
    })
    .await;
}
