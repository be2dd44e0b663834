//! Wake-ups: one for a transaction, none while the relay is busy, and none lost to a broken connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use omni_box_core::{
    Activity, Event, EventRepository, LaneRead, LaneSettlement, OrderedLanes, OutboxRepository, OwnerId,
    Store,
};
use omni_box_postgres::PgStore;
use sqlx::Executor;
use sqlx::postgres::PgListener;

use crate::database::{Database, event, eventually, request, run};

const SOON: Duration = Duration::from_secs(10);

/// The channel that a store listens on, as the server sees it.
async fn channel(db: &Database) -> String {
    let text =
        "select query from pg_stat_activity where query ilike 'listen %' and datname = current_database()";
    let query = eventually("the store listens", async || {
        sqlx::query_scalar::<_, String>(text).fetch_optional(&db.pool).await.unwrap()
    })
    .await;
    query.split('"').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn an_idle_relay_is_notified_once_for_a_transaction_and_a_busy_one_never() {
    run(async |db: Arc<Database>| {
        let _wakeup = db.store.wakeup().unwrap();
        let mut listener = PgListener::connect_with(&db.pool).await.unwrap();
        listener.listen(&channel(&db).await).await.unwrap();
        let owner = OwnerId::generate();
        let leases = db.store.lease(&request(owner, Duration::from_secs(60))).await.unwrap().leases;
        let enqueue = async || {
            let mut tx = db.pool.begin().await.unwrap();
            for n in 0..5 {
                db.store.create(&mut tx, &event(&n.to_string())).await.unwrap();
            }
            tx.commit().await.unwrap();
        };
        // a mark that follows shows that nothing came before it
        let mark = async |listener: &mut PgListener| {
            let name = channel(&db).await;
            sqlx::query("select pg_notify($1, 'mark')").bind(name).execute(&db.pool).await.unwrap();
            let mut before = 0;
            while listener.recv().await.unwrap().payload() != "mark" {
                before += 1;
            }
            before
        };
        enqueue().await;
        assert_eq!(mark(&mut listener).await, 0);
        db.store.announce(owner, &leases, Activity::Idle).await.unwrap();
        enqueue().await;
        assert_eq!(mark(&mut listener).await, 1);
        db.store.announce(owner, &leases, Activity::Busy).await.unwrap();
        enqueue().await;
        assert_eq!(mark(&mut listener).await, 0);
    })
    .await;
}

/// Commits that notify go one after the other in the whole database.
#[tokio::test]
async fn no_commit_notifies_a_relay_that_is_gone_or_does_not_listen() {
    run(async |db: Arc<Database>| {
        let _wakeup = db.store.wakeup().unwrap();
        let name = channel(&db).await;
        let mut listener = PgListener::connect_with(&db.pool).await.unwrap();
        listener.listen(&name).await.unwrap();
        let mut told = async |what: &str| {
            sqlx::query("select pg_notify($1, $2)").bind(&name).bind(what).execute(&db.pool).await.unwrap();
            let mut before = 0;
            while listener.recv().await.unwrap().payload() != what {
                before += 1;
            }
            before
        };
        let enqueue = async |store: &PgStore, later: &str| {
            let mut tx = db.pool.begin().await.unwrap();
            let clock = format!("set local omni_box.clock_offset = '{later}'");
            tx.execute(sqlx::AssertSqlSafe(clock)).await.unwrap();
            store.create(&mut tx, &event("a")).await.unwrap();
            tx.commit().await.unwrap();
        };
        let config =
            omni_box_postgres::PgConfig::builder().listen(omni_box_postgres::Listen::Off).build().unwrap();
        let silent = PgStore::new(db.pool.clone(), config);
        let owner = OwnerId::generate();
        let leases = db.store.lease(&request(owner, Duration::from_secs(60))).await.unwrap().leases;
        db.store.announce(owner, &leases, Activity::Idle).await.unwrap();
        enqueue(&db.store, "30 s").await;
        assert_eq!(told("an idle relay").await, 1);
        enqueue(&db.store, "61 s").await;
        assert_eq!(told("a relay whose leases ran out").await, 0);
        enqueue(&silent, "30 s").await;
        assert_eq!(told("a writer that may not notify").await, 0);

        db.store.leave(owner).await.unwrap();
        assert_eq!(told("lanes are free").await, 1);
        let leases = silent.lease(&request(owner, Duration::from_secs(60))).await.unwrap().leases;
        silent.announce(owner, &leases, Activity::Idle).await.unwrap();
        enqueue(&db.store, "30 s").await;
        assert_eq!(told("an idle relay that does not listen").await, 0);
        let mut wakeup = silent.wakeup().unwrap();
        silent.leave(owner).await.unwrap();
        assert_eq!(told("lanes of a relay that does not listen").await, 0);
        tokio::time::timeout(SOON, wakeup.wait()).await.expect("in the process it wakes still");
    })
    .await;
}

#[tokio::test]
async fn a_commit_elsewhere_wakes_and_so_does_one_after_the_connection_broke() {
    run(async |db: Arc<Database>| {
        let mut wakeup = db.store.wakeup().unwrap();
        let owner = OwnerId::generate();
        let leases = db.store.lease(&request(owner, Duration::from_secs(60))).await.unwrap().leases;
        db.store.announce(owner, &leases, Activity::Idle).await.unwrap();
        channel(&db).await;
        tokio::time::timeout(SOON, wakeup.wait()).await.unwrap();
        for round in 0..2 {
            db.enqueue(&[event("a")]).await;
            tokio::time::timeout(SOON, wakeup.wait()).await.unwrap();
            if round == 0 {
                db.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity
                     where query ilike 'listen %' and datname = current_database()",
                )
                .await;
                // it listens again, and says so, since it may have missed one
                tokio::time::timeout(SOON, wakeup.wait()).await.unwrap();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_commit_of_the_store_wakes_every_waiter_even_before_it_waits() {
    run(async |db: Arc<Database>| {
        let config =
            omni_box_postgres::PgConfig::builder().listen(omni_box_postgres::Listen::Off).build().unwrap();
        let store = PgStore::new(db.pool.clone(), config);
        let mut waiters = [store.wakeup().unwrap(), store.clone().wakeup().unwrap()];
        let mut tx = store.begin().await.unwrap();
        store.create(&mut tx, &event("a")).await.unwrap();
        store.commit(tx).await.unwrap();
        for waiter in &mut waiters {
            tokio::time::timeout(SOON, waiter.wait()).await.unwrap();
        }
    })
    .await;
}

/// A relay may rest only while each commit wakes it: it is listened, writers were told that it is idle, and each that is at work knows.
#[tokio::test]
async fn quiet_is_promised_only_while_every_commit_wakes() {
    run(async |db: Arc<Database>| {
        let owner = OwnerId::generate();
        let leases = db.store.lease(&request(owner, Duration::from_secs(60))).await.unwrap().leases;
        let reads: Vec<LaneRead> = leases.iter().map(|lease| LaneRead::all(lease.lane, 10)).collect();
        let quiet_for = async || db.store.fetch(&reads, &[], &[], 1 << 20).await.unwrap().quiet_for;
        let never = async |why: &str| {
            // longer than from one look at the writers to the next
            let until = Instant::now() + Duration::from_millis(80);
            while Instant::now() < until {
                assert_eq!(quiet_for().await, None, "{why}");
            }
        };
        db.store.announce(owner, &leases, Activity::Idle).await.unwrap();
        never("nothing is listened to").await;
        let mut wakeup = db.store.wakeup().unwrap();
        eventually("the store promises", &quiet_for).await;

        db.store.announce(owner, &leases, Activity::Busy).await.unwrap();
        never("writers believe that the relay is busy").await;
        let mut open = db.pool.begin().await.unwrap();
        let late = event("a");
        db.store.create(&mut open, &late).await.unwrap();
        db.store.announce(owner, &leases, Activity::Idle).await.unwrap();
        never("a writer does not know that the relay is idle").await;
        open.commit().await.unwrap();
        eventually("the event is found", async || {
            let found = db.store.fetch(&reads, &[], &[], 1 << 20).await.unwrap().events;
            found.first().map(|found| assert_eq!(found.event.id(), late.id()))
        })
        .await;
        let settlement = LaneSettlement { completed: vec![late.id()], ..LaneSettlement::default() };
        OrderedLanes::settle(&db.store, owner, &leases, &settlement).await.unwrap();
        eventually("the store promises again", &quiet_for).await;
        tokio::time::timeout(SOON, wakeup.wait()).await.unwrap();

        db.store.leave(owner).await.unwrap();
        let other = OwnerId::generate();
        let leases = db.store.lease(&request(other, Duration::from_secs(60))).await.unwrap().leases;
        assert_eq!(leases.len(), 16);
        never("lanes were taken, of which writers believe that their relay is busy").await;
    })
    .await;
}
