//! What a file can do to its users: locked, read-only, damaged, full. The error says which, and nothing is lost.

use std::time::{Duration, Instant};

use omni_box_core::{
    BatchSize, ConsumerGroup, ErrorKind, Event, EventRepository, FailureClass, FetchFilters, InboundMessage,
    InboxRepository, InboxSettlement, OutboxEvent, OutboxRepository, QuarantinedMessage, Store,
};
use omni_box_sqlite::{SqliteConfig, SqliteStore};
use sqlx::Executor;
use tempfile::TempDir;

use crate::database::{Database, event, message};

fn impatient() -> SqliteConfig {
    SqliteConfig::builder().busy_timeout(Duration::from_millis(200)).build().unwrap()
}

async fn stored(store: &SqliteStore) -> usize {
    let fetch = EventRepository::<OutboxEvent>::fetch_pending;
    fetch(store, BatchSize::new(1000).unwrap(), &FetchFilters::new()).await.unwrap().len()
}

async fn enqueue(store: &SqliteStore, event: &OutboxEvent) -> omni_box_core::Result<()> {
    let mut tx = store.begin().await?;
    store.create(&mut tx, event).await?;
    store.commit(tx).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_file_is_contention_and_is_waited_for() {
    let db = Database::with(impatient()).await;
    for holder in [db.open().await, db.store.clone()] {
        let tx = holder.begin().await.unwrap();
        let begun = Instant::now();
        let error = db.store.begin().await.unwrap_err();
        assert_eq!((error.kind(), error.class()), (ErrorKind::Contention, FailureClass::Infrastructure));
        assert!(error.chain().contains("lock"), "{error:?}");
        assert!(begun.elapsed() >= Duration::from_millis(190), "the lock is waited for");
        // readers wait for no writer
        assert_eq!(stored(&db.store).await, 0);
        holder.rollback(tx).await.unwrap();
        drop(db.store.begin().await.unwrap());
    }
}

/// `SQLITE_BUSY_SNAPSHOT`: a transaction of the application's own that reads first, and writes when another process has. Nothing that waits
/// or writes again inside it helps; run again as a whole, it sees what was written.
#[tokio::test]
async fn a_transaction_whose_snapshot_is_out_of_date_is_run_again_as_a_whole() {
    let db = Database::create().await;
    let other = db.open().await;
    let mut failures = Vec::new();
    loop {
        let mut tx = db.store.pool().begin().await.unwrap();
        let before: i64 =
            sqlx::query_scalar("select count(*) from outbox_events").fetch_one(&mut *tx).await.unwrap();
        if failures.is_empty() {
            enqueue(&other, &event("other")).await.unwrap();
        }
        match db.store.create(&mut tx, &event(&format!("behind {before}"))).await {
            Ok(_) => {
                tx.commit().await.unwrap();
                break;
            }
            Err(error) => {
                let own = sqlx::query("update outbox_lanes set idle = idle").execute(&mut *tx).await;
                let own = db.store.classify(&own.unwrap_err());
                assert_eq!(own, Some(ErrorKind::Contention), "of the application's own statement");
                tx.rollback().await.unwrap();
                failures.push(error);
            }
        }
    }
    assert_eq!(failures.len(), 1, "{failures:?}");
    let error = &failures[0];
    assert_eq!((error.kind(), error.class()), (ErrorKind::Contention, FailureClass::Infrastructure));
    // the extended code
    assert!(error.chain().contains("SQLite error 517"), "{error:?}");
    assert_eq!(db.count("outbox_events where partition_key = 'other'").await, 1);
    assert_eq!(db.count("outbox_events where partition_key = 'behind 1'").await, 1);
    assert_eq!(db.count("outbox_events").await, 2, "nothing of the first run");
}

/// The store's own transactions take the write lock before they read, so that their snapshot is never out of date.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_of_the_store_that_reads_first_can_write() {
    let db = Database::create().await;
    let other = db.open().await;
    for round in 0..20 {
        let mut tx = db.store.begin().await.unwrap();
        let before: i64 =
            sqlx::query_scalar("select count(*) from outbox_events").fetch_one(&mut *tx).await.unwrap();
        assert_eq!(before, 2 * round);
        let late = tokio::spawn({
            let other = other.clone();
            async move { enqueue(&other, &event("late")).await }
        });
        db.store.create(&mut tx, &event("first")).await.unwrap();
        db.store.commit(tx).await.unwrap();
        late.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_read_only_file_is_refused_and_can_be_read() {
    let db = Database::create().await;
    db.enqueue(&[event("a")]).await;
    db.store.pool().close().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(db.path()).read_only(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let store = SqliteStore::new(pool, SqliteConfig::default());
    assert_eq!(store.delivery_mode().await.unwrap().as_str(), "lanes");
    let error = enqueue(&store, &event("b")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert_eq!(error.class(), FailureClass::Infrastructure, "no attempt is spent");
    assert!(error.chain().contains("read-only"), "{error:?}");
    store.migrate().await.unwrap();
    assert_eq!(stored(&store).await, 1);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("notes.txt");
    std::fs::write(&path, "no database at all, but long enough to be looked at ".repeat(100)).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = SqliteStore::open(&path, SqliteConfig::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("not a SQLite database"), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), before, "it is left as it was");

    let error = SqliteStore::open(":memory:", SqliteConfig::default()).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Misconfigured,
        "each connection would have a database of its own: {error:?}"
    );

    let missing = directory.path().join("no such directory/omni.db");
    let error = SqliteStore::open(missing, SqliteConfig::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("path"), "{error:?}");
}

#[tokio::test]
async fn a_damaged_file_is_named() {
    let db = Database::create().await;
    let events: Vec<_> = (0..500).map(|n| event(&n.to_string())).collect();
    db.enqueue(&events).await;
    db.execute("pragma wal_checkpoint(truncate)").await;
    db.store.pool().close().await;
    let sound = std::fs::read(db.path()).unwrap();
    // all but the first page, which says that it is a database; and the newer half
    for from in [4096, sound.len() / 2] {
        let mut bytes = sound.clone();
        bytes[from..].fill(0xa5);
        std::fs::write(db.path(), bytes).unwrap();
        let error = match SqliteStore::open(db.path(), SqliteConfig::default()).await {
            Ok(store) => enqueue(&store, &event("a")).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!((error.kind(), error.class()), (ErrorKind::Unavailable, FailureClass::Infrastructure));
        assert!(error.to_string().contains("damaged"), "{error:?}");
    }
}

/// Leaves room for a few pages more than there are.
async fn fill(store: &SqliteStore) {
    let pages: i64 = sqlx::query_scalar("pragma page_count").fetch_one(store.pool()).await.unwrap();
    let sql = format!("pragma max_page_count = {}", pages + 8);
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(store.pool()).await.unwrap();
}

/// One connection, as the limit of pages is a connection's own.
fn lone() -> SqliteConfig {
    SqliteConfig::builder().max_connections(1).build().unwrap()
}

#[tokio::test]
async fn a_full_disk_keeps_nothing_of_the_transaction() {
    let db = Database::with(lone()).await;
    db.enqueue(&[event("a")]).await;
    fill(&db.store).await;
    let mut kept = 1;
    let error = loop {
        let mut tx = db.store.begin().await.unwrap();
        let batch: Vec<_> = (0..20).map(|n| event(&n.to_string())).collect();
        match db.store.create_many(&mut tx, &batch).await {
            Ok(_) => db.store.commit(tx).await.unwrap(),
            Err(error) => {
                Store::rollback(&db.store, tx).await.unwrap();
                break error;
            }
        }
        kept += 20;
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("full"), "{error:?}");
    assert_eq!(db.count("outbox_events").await, kept, "what was committed before, and nothing else");
    db.execute("pragma max_page_count = 100000").await;
    db.enqueue(&[event("b")]).await;
    assert_eq!(db.count("outbox_events").await, kept + 1, "when there is room again, work goes on");
    let sound: String =
        sqlx::query_scalar("pragma integrity_check").fetch_one(db.store.pool()).await.unwrap();
    assert_eq!(sound, "ok");
}

/// SQLite may end a transaction on its own. What would complete a message behind that is refused: the handler's writes are gone.
#[tokio::test]
async fn a_message_is_not_completed_after_its_transaction_ended() {
    let db = Database::create().await;
    let message = message("m");
    let mut tx = db.store.begin().await.unwrap();
    db.store.receive(&mut tx, std::slice::from_ref(&message)).await.unwrap();
    db.store.commit(tx).await.unwrap();

    let mut tx = db.store.begin().await.unwrap();
    db.store.receive(&mut tx, std::slice::from_ref(&message)).await.unwrap();
    // what a full disk does
    tx.execute("rollback").await.unwrap();
    let settlement = InboxSettlement { completed: vec![message.id()], failures: vec![] };
    let quarantined = QuarantinedMessage {
        consumer_group: ConsumerGroup::new("g").unwrap(),
        message: InboundMessage {
            topic: "orders".into(),
            partition: 0,
            offset: 7,
            key: None,
            value: None,
            headers: vec![],
            timestamp: None,
        },
        error: "undecodable".into(),
    };
    for error in [
        db.store.settle(&mut tx, &settlement).await.unwrap_err(),
        db.store.create(&mut tx, &event("a")).await.unwrap_err(),
        db.store.receive(&mut tx, &[]).await.unwrap_err(),
        db.store.quarantine(&mut tx, &[quarantined]).await.unwrap_err(),
        db.store.commit(tx).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Contention, "{error:?}");
    }
    assert_eq!(db.count("inbox_events where status = 'pending'").await, 1);
    assert_eq!(db.count("outbox_events").await, 0);
    // the connection of that transaction is not used again
    db.enqueue(&[event("b")]).await;
    assert_eq!(db.count("outbox_events").await, 1);
}

#[tokio::test]
async fn a_constraint_of_the_application_is_a_conflict_and_quotes_no_value() {
    let db = Database::create().await;
    db.execute(
        "create table owners (name text primary key check (name <> 'secret-7')) strict;
         create trigger refuse before insert on owners when new.name = 'secret-8'
         begin select raise(abort, 'refused secret-8'); end",
    )
    .await;
    for name in ["secret-7", "secret-8"] {
        let error = sqlx::query("insert into owners values (?1)")
            .bind(name)
            .execute(db.store.pool())
            .await
            .unwrap_err();
        assert_eq!(db.store.classify(&error), Some(ErrorKind::Conflict), "{name}");
    }
    let error = sqlx::query("select * from nowhere").execute(db.store.pool()).await.unwrap_err();
    assert_eq!(db.store.classify(&error), Some(ErrorKind::Misconfigured));
    // through a store's own statement
    db.execute(
        "create trigger refuse_events before insert on outbox_events
         begin select raise(abort, 'refused ' || new.payload); end",
    )
    .await;
    let error = enqueue(&db.store, &event("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(!format!("{error:?}").contains("order"), "{error:?}");
}
