//! Transactions end with the task that holds them: dropped, cancelled in the middle of a statement, or abandoned.

use std::time::Duration;

use omni_box_core::{ErrorKind, EventRepository, Savepoints, Store};
use omni_box_sqlite::{SqliteConfig, SqliteStore};
use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection};
use tokio::time::timeout;

use crate::database::{Database, event};

/// Long for a database: counts to a number that takes a while.
const SLOW: &str = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 300000)
     insert into slow select max(i) from n";

async fn with_table() -> Database {
    let db = Database::create().await;
    db.execute("create table slow (i integer)").await;
    db
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_cancelled_leaves_nothing() {
    let db = with_table().await;
    for is_abandoned in [false, true] {
        let mut tx = db.store.begin().await.unwrap();
        db.store.create(&mut tx, &event("a")).await.unwrap();
        timeout(Duration::from_millis(5), tx.execute(SLOW)).await.expect_err("it is slow");
        if is_abandoned {
            db.store.abandon(tx).await;
        } else {
            drop(tx);
        }
        // the next writer gets the lock when the statement has ended
        db.enqueue(&[event("b")]).await;
        assert_eq!(db.count("slow").await, 0);
        assert_eq!(db.count("outbox_events where partition_key = 'a'").await, 0);
    }
    assert_eq!(db.count("outbox_events").await, 2);
}

/// A handler's statement that never ends must not keep the lock without end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handlers_statement_is_interrupted() {
    let db = with_table().await;
    let endless = SLOW.replace("300000", "300000000000");
    for is_abandoned in [false, true] {
        let mut tx = db.store.begin_handling(Duration::from_secs(1)).await.unwrap();
        db.store.create(&mut tx, &event("a")).await.unwrap();
        timeout(Duration::from_millis(50), tx.execute(AssertSqlSafe(endless.clone())))
            .await
            .expect_err("it never ends");
        if is_abandoned {
            db.store.abandon(tx).await;
        } else {
            drop(tx);
        }
        db.enqueue(&[event("b")]).await;
    }
    assert_eq!(db.count("outbox_events where partition_key = 'a'").await, 0);
    // one that ends in good order leaves a connection that works, whichever of the pool it is
    for commits in [true, false] {
        let mut tx = db.store.begin_handling(Duration::from_secs(1)).await.unwrap();
        tx.execute(SLOW).await.unwrap();
        if commits {
            db.store.commit(tx).await.unwrap();
        } else {
            Store::rollback(&db.store, tx).await.unwrap();
        }
        let mut pooled = Vec::new();
        for _ in 0..8 {
            let mut conn = db.store.pool().acquire().await.unwrap();
            conn.execute(SLOW).await.unwrap();
            pooled.push(conn);
        }
    }
    assert_eq!(db.count("slow").await, 17);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_or_commit_that_is_cancelled_holds_no_lock() {
    let db = with_table().await;
    let other = db.open().await;
    let mut committed = 0;
    for micros in 0..150 {
        let store = if micros % 2 == 0 { &db.store } else { &other };
        // cancelled at whatever point it has come to
        let transaction = async {
            let mut tx = store.begin().await.unwrap();
            store.create(&mut tx, &event("a")).await.unwrap();
            store.commit(tx).await.unwrap();
        };
        committed += i64::from(timeout(Duration::from_micros(micros * 20), transaction).await.is_ok());
        let mut tx = store.begin().await.expect("the lock is free");
        tx.execute("insert into slow values (1)").await.unwrap();
        Store::rollback(store, tx).await.unwrap();
        let stored = db.count("outbox_events").await;
        assert!(stored >= committed, "a commit that was answered is there");
        committed = stored;
        assert_eq!(db.count("slow").await, 0, "a rollback is never passed over");
    }
}

#[tokio::test]
async fn a_dropped_transaction_after_a_cancelled_one_is_rolled_back() {
    let db = Database::with(SqliteConfig::builder().max_connections(1).build().unwrap()).await;
    for micros in 0..150 {
        let transaction = async {
            let mut tx = db.store.begin().await.unwrap();
            tx.execute("update outbox_lanes set worker = 'x'").await.unwrap();
            db.store.commit(tx).await.unwrap();
        };
        let _ = timeout(Duration::from_micros(micros * 20), transaction).await;
        let mut tx = db.store.begin().await.unwrap();
        db.store.create(&mut tx, &event("a")).await.unwrap();
        drop(tx);
        assert_eq!(db.count("outbox_events").await, 0);
    }
}

#[tokio::test]
#[expect(clippy::mem_forget, reason = "a handler may do it")]
async fn what_a_handler_leaves_open_ends_with_its_transaction() {
    let db = Database::create().await;
    for commits in [false, true] {
        let mut tx = db.store.begin().await.unwrap();
        let mut nested = tx.begin().await.unwrap();
        db.store.create(&mut nested, &event("a")).await.unwrap();
        std::mem::forget(nested);
        if commits {
            db.store.commit(tx).await.unwrap();
        } else {
            Store::rollback(&db.store, tx).await.unwrap();
        }
        assert_eq!(db.count("outbox_events").await, i64::from(commits));
    }
    let mut tx = db.store.begin().await.unwrap();
    std::mem::forget(tx.begin().await.unwrap());
    db.store.create(&mut tx, &event("b")).await.unwrap();
    drop(tx);
    db.enqueue(&[event("c")]).await;
    assert_eq!(db.count("outbox_events").await, 2);
}

#[tokio::test]
async fn a_transaction_begun_by_hand_is_one() {
    let db = Database::create().await;
    let mut conn = db.store.pool().acquire().await.unwrap();
    conn.execute("begin immediate").await.unwrap();
    db.store.create(&mut conn, &event("a")).await.unwrap();
    conn.execute("commit").await.unwrap();
    let error = db.store.create(&mut conn, &event("b")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoTransaction);
    conn.execute("savepoint mine").await.unwrap();
    db.store.create(&mut conn, &event("c")).await.unwrap();
    conn.execute("rollback to mine; release mine").await.unwrap();
    assert_eq!(db.count("outbox_events").await, 1);
}

#[tokio::test]
async fn what_a_callers_pool_left_out_is_set() {
    let db = Database::create().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(db.path())
        .synchronous(sqlx::sqlite::SqliteSynchronous::Off)
        .foreign_keys(false);
    let store =
        SqliteStore::new(sqlx::SqlitePool::connect_with(options).await.unwrap(), SqliteConfig::default());
    let mut tx = store.begin().await.unwrap();
    for (pragma, expected) in [("synchronous", 3), ("foreign_keys", 1), ("busy_timeout", 5000)] {
        let value: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("pragma {pragma}")))
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        assert_eq!(value, expected, "{pragma}");
    }
}

#[tokio::test]
async fn the_hook_runs_in_every_transaction() {
    let db = Database::create().await;
    db.execute("create table begun (i integer primary key)").await;
    async fn note(conn: &mut SqliteConnection) -> sqlx::Result<()> {
        conn.execute("insert into begun default values").await?;
        Ok(())
    }
    let store = db.store.clone().on_begin(note);
    let mut tx = store.begin_handling(Duration::from_secs(1)).await.unwrap();
    let savepoints: &dyn Savepoints<_> = &store;
    savepoints.start(&mut tx).await.unwrap();
    store.create(&mut tx, &event("a")).await.unwrap();
    savepoints.rollback(&mut tx).await.unwrap();
    store.commit(tx).await.unwrap();
    assert_eq!(db.count("begun").await, 1);
    assert_eq!(db.count("outbox_events").await, 0);
}
