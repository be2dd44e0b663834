//! The mode `rows`: claims, marks, and the change of modes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    BatchSize, ClaimToken, DeliveryMode, ErrorKind, Event, EventId, FetchFilters, NewOutboxEvent,
    OrderedLanes, OutboxExt, OutboxRepository, OwnerId, WorkerId,
};
use omni_box_postgres::{PgConfig, PgStore};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::database::{Database, build, event, eventually, request, run};

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

/// The oldest events of all belong to a few keys that wait; what is behind them is found all the same, of each kind.
#[tokio::test]
async fn backlogs_of_keys_that_wait_hide_no_other_key() {
    run(async |db: Arc<Database>| {
        db.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap();
        db.execute(
            "insert into outbox_events (event_type, topic, partition_key, payload)
             select 't', 'orders', 'hot-' || i % 3, '{}' from generate_series(1, 20000) i;
             update outbox_events set held = true, head = true, hold_until = now() + interval '1 h' where seq <= 3;
             insert into outbox_events (event_type, topic, partition_key, payload)
             select 't', 'orders', 'cold-' || i, '{}' from generate_series(1, 3000) i",
        )
        .await;
        let keyed: Vec<_> = (0..50).map(|n| event(&n.to_string())).collect();
        let keyless = build(NewOutboxEvent::new("t", "orders", &serde_json::json!({"a": 1})));
        db.enqueue(&keyed).await;
        db.enqueue(std::slice::from_ref(&keyless)).await;
        let (mine, filters) = (token(), FetchFilters::new());
        let locking = db.store.outbox().locking().unwrap();
        let mut claimed = Vec::new();
        // 3,051 due events, 100 a call
        for _ in 0..40 {
            let some = locking.claim(&mine, BatchSize::new(100).unwrap(), TTL, &filters).await.unwrap();
            claimed.extend(some.iter().map(Event::id));
        }
        let distinct: HashSet<_> = claimed.iter().collect();
        assert_eq!((claimed.len(), distinct.len()), (3_051, 3_051), "each due event is claimed once");
        assert!(keyed.iter().chain([&keyless]).all(|event| distinct.contains(&event.id())));

        let due = "update outbox_events set hold_until = now() - interval '1 s' where head";
        db.execute(due).await;
        assert_eq!(claim(&db, &mine, TTL, &filters).await.len(), 3, "their heads are found when they are due");
    })
    .await;
}

/// So it is with events that were scheduled for later and are due: of a key that waits, or that is at work.
#[tokio::test]
async fn backlogs_of_scheduled_events_hide_no_other_key() {
    for change in [
        "held = true, head = true, hold_until = now() + interval '1 h'",
        "locked_at = now(), locked_by = 'w'",
    ] {
        run(async |db: Arc<Database>| {
            db.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap();
            let scheduled = async |key: &str, topic: &str, count: u32| {
                db.execute(&format!(
                    "insert into outbox_events (event_type, topic, partition_key, payload, created_at, scheduled_at)
                     select 't', '{topic}', {key}, '{{}}', now() - interval '2 h', now() - interval '1 h' + i * interval '1 us'
                     from generate_series(1, {count}) i"
                ))
                .await;
            };
            db.enqueue(&[event("hot-0"), event("hot-1"), event("hot-2")]).await;
            db.execute(&format!("update outbox_events set {change}")).await;
            scheduled("'hot-' || i % 3", "orders", 100_000).await;
            scheduled("'cold-' || i", "orders", 1_200).await;
            // what Python has put off is in line
            scheduled("'python-' || i", "python", 20).await;
            db.execute("update outbox_events set last_error = 'refused' where topic = 'python'").await;
            scheduled("null", "orders", 30).await;
            db.enqueue(&(0..50).map(|n| event(&n.to_string())).collect::<Vec<_>>()).await;
            let (mine, filters) = (token(), FetchFilters::new());
            let locking = db.store.outbox().locking().unwrap();
            let limit = BatchSize::new(100).unwrap();
            let fetched = db.store.outbox().fetch_pending(limit, &filters).await.unwrap();
            let distinct: HashSet<_> = fetched.iter().map(Event::id).collect();
            assert_eq!((fetched.len(), distinct.len()), (100, 100), "what can be claimed is seen, each once");
            let mut claimed = HashSet::new();
            // 1,300 due events, 100 a call
            for _ in 0..30 {
                let some = locking.claim(&mine, limit, TTL, &filters).await.unwrap();
                for event in &some {
                    assert!(claimed.insert(event.id()), "each due event is claimed once");
                }
            }
            assert_eq!(claimed.len(), 1_300, "{change}");
        })
        .await;
    }
}

/// Of what was scheduled for one key the first by its time comes first, however many are due and in whatever order they were stored.
#[tokio::test]
async fn scheduled_events_of_a_key_come_in_the_order_of_their_times() {
    run(async |db: Arc<Database>| {
        db.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap();
        db.execute(
            "insert into outbox_events (event_type, topic, partition_key, payload, created_at, scheduled_at)
             select 't', 'orders', 'k', json_build_object('n', i), now() - interval '2 h', now() - i * interval '1 s'
             from generate_series(1, 1000) i",
        )
        .await;
        db.enqueue(&[event("k")]).await;
        let (mine, filters) = (token(), FetchFilters::new());
        let mut came = Vec::new();
        for _ in 0..5 {
            let locking = db.store.outbox().locking().unwrap();
            let some = locking.claim(&mine, BatchSize::new(10).unwrap(), TTL, &filters).await.unwrap();
            let [event] = &some[..] else { panic!("{} events of one key", some.len()) };
            came.push(event.payload().as_str().to_owned());
            assert!(db.store.outbox().mark_completed(event.id(), &mine).await.unwrap());
        }
        let expected: Vec<_> = (996..=1000).rev().map(|n| format!("{{\"n\" : {n}}}")).collect();
        assert_eq!(came, expected);
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
