//! The mode `rows`: claims, marks, and the change of modes.

use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    BatchSize, ClaimToken, DeliveryMode, ErrorKind, Event, EventId, FetchFilters, OrderedLanes, OutboxExt,
    OutboxRepository, OwnerId, WorkerId,
};
use omni_box_postgres::{PgConfig, PgStore};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::database::{Database, event, eventually, request, run};

const TTL: Duration = Duration::from_secs(60);

fn token() -> ClaimToken {
    ClaimToken::new(&WorkerId::new("publisher-1").unwrap(), OwnerId::generate())
}

async fn claim(db: &Database, token: &ClaimToken, ttl: Duration, filters: &FetchFilters) -> Vec<EventId> {
    let locking = db.store.outbox().locking().unwrap();
    let claimed = locking.claim(token, BatchSize::new(100).unwrap(), ttl, filters).await.unwrap();
    claimed.iter().map(Event::id).collect()
}

#[tokio::test]
async fn two_claimers_at_once_share_without_waiting() {
    run(async |db: Arc<Database>| {
        let events: Vec<_> = (0..200).map(|n| event(&n.to_string())).collect();
        db.enqueue(&events).await;
        let mut locked = db.pool.begin().await.unwrap();
        sqlx::query("select from outbox_events where partition_key::int < 50 for update")
            .execute(&mut *locked)
            .await
            .unwrap();
        let claimed =
            tokio::time::timeout(Duration::from_secs(10), claim(&db, &token(), TTL, &FetchFilters::new()))
                .await
                .unwrap();
        assert_eq!(claimed, events[50..150].iter().map(Event::id).collect::<Vec<_>>());
    })
    .await;
}

/// The Python library puts a failed event off by `scheduled_at` alone. Unlike one that was scheduled for later, it holds its key back.
#[tokio::test]
async fn what_python_has_put_off_holds_its_key() {
    run(async |db: Arc<Database>| {
        let (first, second) = (event("a"), event("a"));
        db.enqueue(&[first.clone(), second.clone()]).await;
        let put_off = "update outbox_events set attempts_made = 1, last_error = 'refused', scheduled_at = now() + interval '1 h'
             where id = $1";
        sqlx::query(put_off).bind(first.id().as_uuid()).execute(&db.pool).await.unwrap();
        assert_eq!(claim(&db, &token(), TTL, &FetchFilters::new()).await, []);
        let fetched = db.store.outbox().fetch_pending(BatchSize::new(10).unwrap(), &FetchFilters::new()).await.unwrap();
        assert_eq!(fetched, []);

        let due = "update outbox_events set scheduled_at = now() - interval '1 s' where id = $1";
        sqlx::query(due).bind(first.id().as_uuid()).execute(&db.pool).await.unwrap();
        assert_eq!(claim(&db, &token(), TTL, &FetchFilters::new()).await, [first.id()]);
    })
    .await;
}

/// A take-over and a change of the mode do not pass each other, under whatever isolation the transactions have.
#[tokio::test]
async fn lanes_are_not_taken_while_the_mode_changes() {
    async fn check(isolation: &'static str, expected: ErrorKind) {
        run(async |db: Arc<Database>| {
            let mut change = db.pool.begin().await.unwrap();
            sqlx::query("update omni_box_control set delivery_mode = 'rows'")
                .execute(&mut *change)
                .await
                .unwrap();
            let options = PgConnectOptions::clone(&db.pool.connect_options());
            let isolated = options.options([("default_transaction_isolation", isolation)]);
            let pool = PgPoolOptions::new().connect_with(isolated).await.unwrap();
            let store = PgStore::new(pool, PgConfig::default());
            let owner = OwnerId::generate();
            let leasing = tokio::spawn(async move { store.lease(&request(owner, TTL)).await });
            eventually("the lease waits for the change of the mode", async || {
                let waits = "select exists (select from pg_locks where not granted
                    and locktype in ('tuple', 'transactionid')
                    and pid in (select pid from pg_stat_activity where datname = current_database()))";
                db.scalar::<bool>(waits).await.then_some(())
            })
            .await;
            change.commit().await.unwrap();
            let error = leasing.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), expected, "{error:?}");
            let free = "select count(*) from outbox_lanes where owner is null";
            assert_eq!(db.scalar::<i64>(free).await, 16);
            let error = db.store.lease(&request(owner, TTL)).await.unwrap_err();
            assert!(error.to_string().contains("delivery mode is rows now"), "{error}");
        })
        .await;
    }
    check("read committed", ErrorKind::Misconfigured).await;
    check("repeatable read", ErrorKind::Contention).await;
}

#[tokio::test]
async fn the_mode_changes_only_when_nobody_works() {
    run(async |db: Arc<Database>| {
        let owner = OwnerId::generate();
        db.store.lease(&request(owner, TTL)).await.unwrap();
        let error = db.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("stop all relays"), "{error}");
        db.store.leave(owner).await.unwrap();
        db.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap();
        assert_eq!(db.store.delivery_mode().await.unwrap(), DeliveryMode::Rows);
        db.enqueue(&[event("a")]).await;
        let mine = token();
        let claimed = claim(&db, &mine, TTL, &FetchFilters::new()).await;
        assert!(db.store.set_delivery_mode(DeliveryMode::Lanes).await.is_err());
        db.store.outbox().mark_completed(claimed[0], &mine).await.unwrap();
        db.store.set_delivery_mode(DeliveryMode::Lanes).await.unwrap();
        assert_eq!(db.store.verify().await.unwrap(), []);
        let fenced = db.store.set_delivery_mode(DeliveryMode::Fenced).await.unwrap_err();
        assert_eq!(fenced.kind(), ErrorKind::Unsupported);
    })
    .await;
}
