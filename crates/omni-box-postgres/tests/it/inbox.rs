//! Messages: received once, settled in their transaction, kept when they cannot be handled.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omni_box_core::{
    Attempt, BatchSize, ClaimToken, ConsumerGroup, ErrorKind, Event, EventContent, EventRepository,
    EventStatus, Failure, FetchFilters, InboundMessage, InboxEvent, InboxRepository, InboxSettlement,
    NewInboxEvent, OmniBoxDomainService, OwnerId, PartitionEnd, Payload, QuarantinedMessage, Received, Retry,
    Savepoints, SourcePosition, Store, TopicPartition, WorkerId,
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

async fn settle(db: &Database, settlement: InboxSettlement) {
    let mut tx = db.store.begin().await.unwrap();
    InboxRepository::settle(&db.store, &mut tx, &settlement).await.unwrap();
    db.store.commit(tx).await.unwrap();
}

fn failures(event: &InboxEvent, attempt: Attempt, retry: Retry) -> InboxSettlement {
    let failures = vec![(event.id(), Failure::new("no stock", attempt, retry))];
    InboxSettlement { failures, ..InboxSettlement::default() }
}

#[tokio::test]
async fn a_message_is_judged_by_its_row() {
    run(async |db: Arc<Database>| {
        let stored = [
            message("new", 0, "1"),
            message("done", 1, "1"),
            message("given up", 2, "1"),
            message("other", 3, "1"),
        ];
        assert_eq!(receive(&db, &stored).await, vec![Received::New; 4]);
        settle(&db, InboxSettlement { completed: vec![stored[1].id()], ..InboxSettlement::default() }).await;
        settle(&db, failures(&stored[2], Attempt::Counted, Retry::Never)).await;

        let again = [
            message("other", 3, "2"),
            message("given up", 2, "1"),
            message("fresh", 9, "1"),
            message("done", 1, "1"),
            message("new", 0, "1"),
        ];
        let received = receive(&db, &again).await;
        assert!(matches!(&received[0], Received::Conflict(row) if row.id() == stored[3].id()));
        assert!(
            matches!(&received[1], Received::Failed(row) if row.lifecycle().last_error() == Some("no stock"))
        );
        assert_eq!(received[2], Received::New);
        assert!(matches!(&received[3], Received::Completed(row) if row.id() == stored[1].id()));
        assert!(matches!(&received[4], Received::Pending { event, wait }
            if event.id() == stored[0].id() && wait.is_zero() && event.content() == stored[0].content()));
        // a row without a digest is a repeat
        db.execute("update inbox_events set digest = null where message_id = 'other'").await;
        assert!(matches!(receive(&db, &again[..1]).await[0], Received::Pending { .. }));
    })
    .await;
}

#[tokio::test]
async fn failures_wait_and_are_counted() {
    run(async |db: Arc<Database>| {
        let event = message("a", 0, "1");
        receive(&db, std::slice::from_ref(&event)).await;
        settle(&db, failures(&event, Attempt::Counted, Retry::After(Duration::from_secs(3600)))).await;
        let received = receive(&db, std::slice::from_ref(&event)).await;
        let Received::Pending { event: row, wait } = &received[0] else { panic!("{received:?}") };
        assert!(*wait > Duration::from_secs(3590) && *wait <= Duration::from_secs(3600), "{wait:?}");
        assert_eq!((row.lifecycle().attempts_made(), row.lifecycle().last_error()), (1, Some("no stock")));
        settle(&db, failures(&event, Attempt::Refunded, Retry::After(Duration::ZERO))).await;
        settle(&db, failures(&event, Attempt::Refunded, Retry::After(Duration::ZERO))).await;
        let received = receive(&db, std::slice::from_ref(&event)).await;
        let Received::Pending { event: row, wait } = &received[0] else { panic!("{received:?}") };
        assert!(row.lifecycle().attempts_made() == 0 && wait.is_zero());
    })
    .await;
}

#[tokio::test]
async fn of_two_owners_of_a_partition_one_waits() {
    run(async |db: Arc<Database>| {
        let event = message("a", 0, "1");
        let mut first = db.store.begin().await.unwrap();
        assert_eq!(
            db.store.receive(&mut first, std::slice::from_ref(&event)).await.unwrap(),
            [Received::New]
        );
        let second = {
            let (db, again) = (Arc::clone(&db), message("a", 0, "1"));
            tokio::spawn(async move { receive(&db, &[again]).await })
        };
        eventually("the second waits for the first", async || {
            db.scalar::<bool>("select exists (select from pg_locks where not granted)").await.then_some(())
        })
        .await;
        let settlement = InboxSettlement { completed: vec![event.id()], ..InboxSettlement::default() };
        InboxRepository::settle(&db.store, &mut first, &settlement).await.unwrap();
        db.store.commit(first).await.unwrap();
        assert!(matches!(second.await.unwrap()[0], Received::Completed(_)));

        // a lock that cannot be had in time is contention
        let mut first = db.store.begin().await.unwrap();
        db.store.receive(&mut first, std::slice::from_ref(&event)).await.unwrap();
        let mut second = db.store.begin_handling(Duration::from_millis(300)).await.unwrap();
        let error = db.store.receive(&mut second, &[message("a", 0, "1")]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Contention, "{error:?}");
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

#[tokio::test]
async fn pending_rows_of_a_partition_come_in_order() {
    run(async |db: Arc<Database>| {
        let events: Vec<_> = [5, 1, 9, 3].map(|offset| message(&offset.to_string(), offset, "1")).into();
        receive(&db, &events).await;
        settle(&db, InboxSettlement { completed: vec![events[3].id()], ..InboxSettlement::default() }).await;
        let offsets = async |after, limit| {
            let rows = db.store.pending_of(&group(), &partition(), after, limit).await.unwrap();
            rows.iter().map(|row| row.position().unwrap().offset).collect::<Vec<_>>()
        };
        assert_eq!(offsets(None, 10).await, [1, 5, 9]);
        assert_eq!(offsets(Some(1), 1).await, [5]);
        assert!(offsets(Some(9), 10).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_partition_remembers_how_its_owner_ended() {
    run(async |db: Arc<Database>| {
        let worker = WorkerId::new("w").unwrap();
        let attach = async || db.store.attach(&group(), &partition(), &worker).await.unwrap();
        assert_eq!(attach().await, PartitionEnd::Clean);
        assert_eq!(attach().await, PartitionEnd::Unclean);
        db.store.detach(&group(), &partition()).await.unwrap();
        assert_eq!(attach().await, PartitionEnd::Clean);
    })
    .await;
}

#[tokio::test]
async fn stored_messages_are_claimed_key_by_key() {
    run(async |db: Arc<Database>| {
        let events: Vec<_> = (0..6).map(|offset| message(&offset.to_string(), offset, "1")).collect();
        receive(&db, &events).await;
        let token = ClaimToken::new(&WorkerId::new("w").unwrap(), OwnerId::generate());
        let limit = BatchSize::new(10).unwrap();
        let locking = EventRepository::<InboxEvent>::locking(&db.store).unwrap();
        let claim = async || {
            locking.claim(&token, limit, Duration::from_secs(60), &FetchFilters::new()).await.unwrap()
        };
        let ids = |events: &[InboxEvent]| {
            let mut ids: Vec<_> = events.iter().map(Event::id).collect();
            ids.sort();
            ids
        };
        let mut heads = ids(&events[..2]);
        heads.sort();
        assert_eq!(ids(&claim().await), heads);
        assert_eq!(claim().await, []);
        let done =
            EventRepository::<InboxEvent>::mark_completed(&db.store, events[0].id(), &token).await.unwrap();
        assert!(done);
        assert_eq!(ids(&claim().await), [events[2].id()]);
        locking.release(&token, &[events[1].id()]).await.unwrap();
        assert_eq!(ids(&claim().await), [events[1].id()]);
        let mut conn = db.pool.acquire().await.unwrap();
        let row = db.store.by_message(&mut conn, "0", &group()).await.unwrap().unwrap();
        assert_eq!(row.status(), EventStatus::Completed);
        let unknown = FetchFilters::new().topic("x");
        assert_eq!(
            locking.claim(&token, limit, Duration::ZERO, &unknown).await.unwrap_err().kind(),
            ErrorKind::Invalid
        );
    })
    .await;
}
