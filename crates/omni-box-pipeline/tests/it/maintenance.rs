//! Upkeep of the tables.

#![allow(clippy::unwrap_used, reason = "helpers outside of test functions may fail a test too")]

use std::time::Duration;

use futures_util::future::try_join_all;
use omni_box_core::{
    BatchSize, ClaimToken, ErrorKind, Event, EventId, FetchFilters, NewOutboxEvent, OutboxExt, OwnerId,
    RawEventConverter, Store, WorkerId,
};
use omni_box_harness::{TestDatabase, eventually, postgres};
use omni_box_pipeline::{OmniBoxMaintenanceService, OutboxRelay, Workers};
use omni_box_postgres::{PgConfig, PgStore};
use omni_box_testkit::{FaultPlan, Faulty, MemoryBroker, MemoryStore, Operation};
use tokio_util::sync::CancellationToken;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

fn token() -> ClaimToken {
    ClaimToken::new(&WorkerId::new("worker").unwrap(), OwnerId::generate())
}

async fn enqueued(store: &MemoryStore, events: usize) -> Vec<EventId> {
    let mut tx = store.begin().await.unwrap();
    let new = || NewOutboxEvent::new("order.placed", "orders", &serde_json::json!({"order": 1}));
    let created = store.enqueue_many(&mut tx, (0..events).map(|_| new())).await.unwrap();
    store.commit(tx).await.unwrap();
    created.into_iter().map(|created| created.into_event().id()).collect()
}

async fn completed(store: &MemoryStore, ids: &[EventId]) {
    let token = token();
    for id in ids {
        assert!(store.outbox().mark_processing(*id, &token).await.unwrap());
        assert!(store.outbox().mark_completed(*id, &token).await.unwrap());
    }
}

/// 2,500 events completed 15 days ago, one completed yesterday, one pending, one claimed by a worker that is gone.
async fn aged() -> (MemoryStore, EventId) {
    let store = MemoryStore::builder().rows().build();
    let old = enqueued(&store, 2_502).await;
    completed(&store, &old[2..]).await;
    assert!(store.outbox().mark_processing(old[0], &token()).await.unwrap());
    store.clock().advance(14 * DAY);
    completed(&store, &enqueued(&store, 1).await).await;
    store.clock().advance(DAY);
    (store, old[0])
}

async fn claimable(store: &MemoryStore) -> Vec<EventId> {
    let due = store.outbox().fetch_pending(BatchSize::new(10).unwrap(), &FetchFilters::new()).await.unwrap();
    due.iter().map(Event::id).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_old_is_deleted_in_batches_and_what_is_pending_stays() {
    let (store, claimed) = aged().await;
    let plan = FaultPlan::new();
    let maintenance = OmniBoxMaintenanceService::new().outbox(Faulty::new(store.clone(), &plan));
    assert_eq!(maintenance.cleanup_old_events(14 * DAY).await.unwrap(), 2_500);
    assert_eq!(store.outbox_events().len(), 3);
    assert_eq!(plan.calls(Operation::CleanUp), 1, "in one call, a thousand a statement");
    assert!(!claimable(&store).await.contains(&claimed));
    assert_eq!(maintenance.release_stale_locks(16 * DAY).await.unwrap(), 0);
    assert_eq!(maintenance.release_stale_locks(MINUTE).await.unwrap(), 1);
    assert!(claimable(&store).await.contains(&claimed));
}

#[tokio::test(start_paused = true)]
async fn upkeep_goes_on_after_a_failure_and_ends_with_the_others() {
    let (store, claimed) = aged().await;
    let plan = FaultPlan::new();
    plan.on(Operation::CleanUp).times(3).fail_before(ErrorKind::Unavailable);
    plan.on(Operation::ReleaseStaleLocks).nth(5).freeze_before();
    let faulty = Faulty::new(store.clone(), &plan);
    let maintenance = OmniBoxMaintenanceService::new().outbox(faulty.clone()).inbox(faulty).interval(MINUTE);
    let seen = {
        let (store, plan) = (store.clone(), plan.clone());
        async move {
            // five passes without an end would take five minutes, the frozen call one more
            for _ in 0..60 * 60 {
                if store.outbox_events().len() == 3 && plan.calls(Operation::ReleaseStaleLocks) > 12 {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            panic!("{} events, {plan:?}", store.outbox_events().len());
        }
    };
    Workers::new().maintenance(maintenance).run_until(seen).await.unwrap();
    assert!(claimable(&store).await.contains(&claimed));
}

#[tokio::test(start_paused = true)]
async fn upkeep_of_nothing_or_without_a_rest_is_refused() {
    let refused = async |maintenance: OmniBoxMaintenanceService| {
        let error = maintenance.run(CancellationToken::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        error.to_string()
    };
    let service = || OmniBoxMaintenanceService::new().inbox(MemoryStore::new());
    let none = refused(OmniBoxMaintenanceService::new()).await;
    assert_eq!(none, "upkeep has no table: call `outbox` or `inbox`");
    let restless = refused(service().interval(Duration::ZERO)).await;
    assert_eq!(restless, "interval is zero: it is how long upkeep rests");
    let long = refused(service().retention(400 * DAY)).await;
    assert!(long.starts_with("retention 34560000s is longer than a year"), "{long}");
}

/// Half a million old rows of each table.
const OLD: [&str; 2] = [
    "insert into outbox_events (event_type, topic, partition_key, payload, status, completed_at, created_at)
     select 't', 'orders', 'k' || i % 100, '{}', 'completed', now() - interval '30 d' + i * interval '1 ms', now() - interval '31 d'
     from generate_series(1, 500000) i",
    "insert into inbox_events (message_id, consumer_group, event_type, source, payload, status, completed_at)
     select i::text, 'g', 't', 's', '{}', 'completed', now() - interval '30 d' + i * interval '1 ms'
     from generate_series(1, 500000) i",
];

/// Notes how many rows each statement deletes.
const NOTED: &str = "
create table deletions (rows bigint not null);
create function note() returns trigger language plpgsql as $$
begin
    insert into deletions select count(*) from gone having count(*) > 0;
    return null;
end $$;
create trigger noted after delete on outbox_events referencing old table as gone for each statement execute function note();
create trigger noted after delete on inbox_events referencing old table as gone for each statement execute function note()";

/// A million old rows go, by two services at once, while a relay publishes what writers enqueue: in bounded statements, without a deadlock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_old_rows_go_while_a_relay_works() {
    if postgres().is_none() {
        return;
    }
    let database = TestDatabase::create().await.unwrap();
    let pool = database.pool();
    let store = PgStore::new(pool.clone(), PgConfig::default());
    store.migrate().await.unwrap();
    try_join_all(OLD.map(|sql| sqlx::query(sql).execute(pool))).await.unwrap();
    sqlx::raw_sql(NOTED).execute(pool).await.unwrap();
    let broker = MemoryBroker::new();
    broker.create_topic("orders", 4);
    let relay = OutboxRelay::builder(store.clone(), broker.publisher(RawEventConverter)).build().unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    let upkeep = || {
        let maintenance = OmniBoxMaintenanceService::new().outbox(store.clone()).inbox(store.clone());
        tokio::spawn(async move { maintenance.cleanup_old_events(14 * DAY).await })
    };
    let upkeeps = [upkeep(), upkeep()];
    let mut written = 0;
    while written < 2_000 || (written < 20_000 && upkeeps.iter().any(|upkeep| !upkeep.is_finished())) {
        let mut tx = store.begin().await.unwrap();
        for _ in 0..100 {
            let event = NewOutboxEvent::new("order.placed", "orders", &serde_json::json!({"n": written}));
            store.enqueue(&mut tx, event.partition_key(format!("k{}", written % 10))).await.unwrap();
            written += 1;
        }
        store.commit(tx).await.unwrap();
    }
    let mut deleted = 0;
    for upkeep in upkeeps {
        deleted += upkeep.await.unwrap().unwrap();
    }
    assert_eq!(deleted, 1_000_000, "each old row is deleted once");
    eventually(Duration::from_secs(60), async || broker.records("orders").len() == written).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    let (statements, largest, rows): (i64, i64, i64) =
        sqlx::query_as("select count(*), max(rows), sum(rows)::bigint from deletions")
            .fetch_one(pool)
            .await
            .unwrap();
    assert_eq!(rows, 1_000_000);
    assert!(largest <= 1_000, "a statement has deleted {largest} rows");
    assert!(statements < 4_000, "{statements} statements");
    let sql = "select deadlocks from pg_stat_database where datname = current_database()";
    let deadlocks: i64 = sqlx::query_scalar(sql).fetch_one(pool).await.unwrap();
    assert_eq!(deadlocks, 0);
}
