//! Connections: what was given up or is of no use any more leaves the pool.

use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    ConsumerGroup, ErrorKind, EventId, EventRepository, InboxRepository, LaneId, LaneRead, NewOutboxEvent,
    OrderedLanes, OutboxExt, OutboxRepository, OwnerId, Store, TopicPartition,
};
use omni_box_postgres::{PgConfig, PgStore};
use omni_box_testkit::TcpProxy;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::database::{Database, build, event, eventually, request, run};

const DEADLINE: Duration = Duration::from_secs(20);

/// A pool of so many connections, whose callers wait no longer than they must.
fn pool(options: PgConnectOptions, size: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(Duration::from_secs(8))
        .connect_lazy_with(options)
}

fn store(options: PgConnectOptions, size: u32) -> PgStore {
    PgStore::new(pool(options, size), PgConfig::default())
}

fn options(db: &Database) -> PgConnectOptions {
    db.pool.connect_options().as_ref().clone()
}

/// How many statements wait for a lock.
async fn waiting(db: &Database) -> i64 {
    db.scalar(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
    )
    .await
}

/// Sends so many calls that wait for a lock, until they do; every second one in a handler's transaction, if so wished.
async fn waiting_calls(db: &Database, store: &PgStore, count: u32, in_handlers: bool) -> JoinSet<()> {
    let mut calls = JoinSet::new();
    for n in 0..count {
        let store = store.clone();
        calls.spawn(async move {
            let lane = LaneRead::all(LaneId::new(0), 1);
            if n % 2 == 0 || !in_handlers {
                let _ = store.fetch(&[lane], &[], &[], 1).await;
            } else {
                let mut tx = store.begin_handling(Duration::from_secs(600)).await.unwrap();
                let _ = store.outbox().get_by_id(&mut tx, EventId::generate()).await;
            }
        });
    }
    eventually("all calls wait for the lock", async || (waiting(db).await >= i64::from(count)).then_some(()))
        .await;
    calls
}

#[tokio::test]
async fn calls_that_were_given_up_keep_no_connection() {
    run(async |db: Arc<Database>| {
        for size in 1..=3 {
            let store = store(options(&db), size);
            let mut blocker = db.pool.begin().await.unwrap();
            blocker.execute("lock table outbox_events").await.unwrap();
            waiting_calls(&db, &store, size, true).await.shutdown().await;
            // the lock is still held; this needs a connection, and not the table
            let mut tx = timeout(DEADLINE, store.begin_brief()).await.unwrap().unwrap();
            // what is given up in it does not wait at the server without end
            let limit: String = sqlx::query_scalar("show lock_timeout").fetch_one(&mut *tx).await.unwrap();
            assert_eq!(limit, "10s");
            store.commit(tx).await.unwrap();
            blocker.rollback().await.unwrap();
            eventually("the server has ended what was given up", async || {
                (waiting(&db).await == 0).then_some(())
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_database_that_vanishes_twice_keeps_no_connection() {
    run(async |db: Arc<Database>| {
        let direct = options(&db);
        let proxy = TcpProxy::start(format!("{}:{}", direct.get_host(), direct.get_port())).await.unwrap();
        let through = direct.clone().host("127.0.0.1").port(proxy.address().port());
        for size in 1..=3 {
            let store = store(through.clone(), size);
            for _ in 0..2 {
                let mut blocker = db.pool.begin().await.unwrap();
                blocker.execute("lock table outbox_events").await.unwrap();
                let mut calls = waiting_calls(&db, &store, size, false).await;
                proxy.freeze();
                calls.shutdown().await;
                blocker.rollback().await.unwrap();
                timeout(DEADLINE, store.delivery_mode()).await.unwrap().unwrap();
                let owner = OwnerId::generate();
                timeout(DEADLINE, store.lease(&request(owner, DEADLINE))).await.unwrap().unwrap();
                store.leave(owner).await.unwrap();
            }
        }
    })
    .await;
}

/// A host that vanished sends no word, and what listens sends none either.
#[tokio::test]
async fn a_database_that_vanishes_is_listened_to_again() {
    run(async |db: Arc<Database>| {
        let direct = options(&db);
        let proxy = TcpProxy::start(format!("{}:{}", direct.get_host(), direct.get_port())).await.unwrap();
        let store = store(direct.clone().host("127.0.0.1").port(proxy.address().port()), 2);
        let mut wakeup = store.wakeup().unwrap();
        timeout(DEADLINE, wakeup.wait()).await.expect("it listens");
        proxy.freeze();
        timeout(DEADLINE, wakeup.wait()).await.expect("it listens again, and says so");
    })
    .await;
}

/// Connections that were idle when the database vanished: one call that is given up is enough to be rid of them all.
#[tokio::test]
async fn a_database_that_vanishes_leaves_no_idle_connection_behind() {
    run(async |db: Arc<Database>| {
        let direct = options(&db);
        let proxy = TcpProxy::start(format!("{}:{}", direct.get_host(), direct.get_port())).await.unwrap();
        let through = direct.clone().host("127.0.0.1").port(proxy.address().port());
        let store = store(through, 6);
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(store.pool().acquire().await.unwrap());
        }
        drop(held);
        eventually("all are idle", async || (store.pool().num_idle() == 6).then_some(())).await;
        let tx = store.begin().await.unwrap();
        proxy.freeze();
        store.abandon(tx).await;
        eventually("the dead ones are closed", async || (store.pool().size() == 0).then_some(())).await;
        timeout(DEADLINE, store.delivery_mode()).await.unwrap().unwrap();
    })
    .await;
}

/// A failover that leads connections to a reader: after it, writers and relays go on, over new connections.
#[tokio::test]
async fn connections_that_became_read_only_are_not_used_again() {
    run(async |db: Arc<Database>| {
        let name = db.pool.connect_options().get_database().unwrap().to_owned();
        let mut admin = PgConnection::connect_with(&options(&db).database("postgres")).await.unwrap();
        let set = format!("alter database {name} set default_transaction_read_only = on");
        admin.execute(sqlx::AssertSqlSafe(set)).await.unwrap();
        // the writer's connections, and the relay's
        let (writer, relay, runner) =
            (store(options(&db), 4), store(options(&db), 4), store(options(&db), 4));
        for store in [&writer, &relay, &runner] {
            let mut held = Vec::new();
            for _ in 0..4 {
                held.push(store.pool().acquire().await.unwrap());
            }
        }
        let reset = format!("alter database {name} reset default_transaction_read_only");
        admin.execute(sqlx::AssertSqlSafe(reset)).await.unwrap();
        for store in [&writer, &relay, &runner] {
            eventually("all are idle", async || (store.pool().num_idle() == 4).then_some(())).await;
        }

        let lease = async || relay.lease(&request(OwnerId::generate(), DEADLINE)).await;
        assert_eq!(lease().await.unwrap_err().kind(), ErrorKind::Unavailable);
        lease().await.unwrap();
        // a transaction of the application's own: its connection is closed, each of the four in its turn
        let mut refused = 0;
        while let Err(error) = enqueue(&writer).await {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            refused += 1;
            assert!(refused <= 4, "refused over new connections, too");
        }
        assert!(refused > 0);
        // a group's: it writes nothing where an operator wants no writes
        let sealed = runner.sealed().unwrap();
        let error = sealed.begin_sealed(DEADLINE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let tx = sealed.begin_sealed(DEADLINE).await.unwrap();
        runner.commit(tx).await.unwrap();
        // a handler's own statement
        let mut tx = writer.begin_handling(DEADLINE).await.unwrap();
        tx.execute("set transaction read only").await.unwrap();
        let native = tx.execute("create table t ()").await.unwrap_err();
        assert_eq!(writer.classify(&native), Some(ErrorKind::Unavailable));
        writer.rollback(tx).await.unwrap();
        eventually("it is closed", async || (writer.pool().size() == 0).then_some(())).await;
    })
    .await;
}

async fn enqueue(store: &PgStore) -> omni_box_core::Result<()> {
    let mut tx = store.pool().begin().await.unwrap();
    store.create(&mut tx, &event("a")).await?;
    tx.commit().await.unwrap();
    Ok(())
}

/// DDL on a live table: plans that are older than it fail, on each connection once; then all goes on.
#[tokio::test]
async fn plans_that_are_older_than_the_schema_are_made_again() {
    run(async |db: Arc<Database>| {
        let store = store(options(&db), 1);
        let (group, partition) =
            (ConsumerGroup::new("g").unwrap(), TopicPartition { topic: "orders".into(), partition: 0 });
        let fetch = async || store.pending_of(&group, &partition, None, 1).await;
        fetch().await.unwrap();
        db.execute("alter table inbox_events alter column event_type type varchar(200)").await;
        assert_eq!(fetch().await.unwrap_err().kind(), ErrorKind::Unavailable);
        fetch().await.unwrap();

        // a connection of the application's own, which stays with it
        let mut conn = PgConnection::connect_with(&options(&db)).await.unwrap();
        let repeated = || {
            build(NewOutboxEvent::new("t", "orders", &serde_json::json!({"a": 1})).idempotency_key("once"))
        };
        let mut create = async || {
            let mut tx = conn.begin().await.unwrap();
            let created = store.create(&mut tx, &repeated()).await.map(|created| created.is_new());
            tx.commit().await.unwrap();
            created
        };
        assert!(create().await.unwrap());
        assert!(!create().await.unwrap());
        db.execute("alter table outbox_events alter column event_type type varchar(200)").await;
        assert_eq!(create().await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(!create().await.unwrap());
    })
    .await;
}

/// What the engine begins is bounded at the server, and no less than the server's own limits say.
#[tokio::test]
async fn transactions_of_the_engine_have_limits_of_time() {
    run(async |db: Arc<Database>| {
        let strict = options(&db).options([("statement_timeout", "5s"), ("lock_timeout", "1min")]);
        for (options, expected) in [(options(&db), ["30s", "10s", "5s"]), (strict, ["5s", "10s", "5s"])] {
            let store = store(options, 1);
            let mut tx = store.begin_brief().await.unwrap();
            for (setting, expected) in
                ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
                    .into_iter()
                    .zip(expected)
            {
                let is: String = sqlx::query_scalar("select current_setting($1)")
                    .bind(setting)
                    .fetch_one(&mut *tx)
                    .await
                    .unwrap();
                assert_eq!(is, expected, "{setting}");
            }
            store.commit(tx).await.unwrap();
        }
    })
    .await;
}
