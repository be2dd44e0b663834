//! Plans that were made while a table was small, when it has grown.

use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    BatchSize, BulkOperations, ClaimToken, DeliveryMode, DistributedLocking, Event, EventId, FetchFilters,
    InboxEvent, InboxRepository, InboxSettlement, LaneRead, LaneSettlement, OrderedLanes, OutboxEvent,
    OwnerId, Store, WorkerId,
};
use omni_box_postgres::{PgConfig, PgStore};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::database::{Database, event, request, run};

const TTL: Duration = Duration::from_secs(60);
/// Rows that a table has grown to.
const GROWN: i64 = 60_000;
/// The most rows that may be read one after the other: a few looks at a table that is small.
const FEW: i64 = 6_000;

/// A store that has one connection, and so keeps one plan of each statement.
async fn of_one_connection(db: &Database) -> PgStore {
    let options = PgConnectOptions::clone(&db.pool.connect_options());
    let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    PgStore::new(pool, PgConfig::default())
}

/// How many rows of a table were read one after the other so far.
async fn scanned(db: &Database, store: &PgStore, table: &str) -> i64 {
    sqlx::query("select pg_stat_force_next_flush()").execute(store.pool()).await.unwrap();
    // what a session has counted is told when it does nothing any more
    sqlx::query("select 1").execute(store.pool()).await.unwrap();
    db.scalar(&format!("select coalesce(seq_tup_read, 0) from pg_stat_user_tables where relname = '{table}'"))
        .await
}

fn token() -> ClaimToken {
    ClaimToken::new(&WorkerId::new("worker-1").unwrap(), OwnerId::generate())
}

async fn grow_outbox(db: &Database) {
    db.execute(&format!(
        "insert into outbox_events (event_type, topic, partition_key, payload)
         select 't', 'orders', 'k' || i, '{{}}' from generate_series(1, {GROWN}) i"
    ))
    .await;
}

#[tokio::test]
async fn a_completion_of_lanes_goes_by_index_when_the_outbox_has_grown() {
    run(async |db: Arc<Database>| {
        let (store, owner) = (of_one_connection(&db).await, OwnerId::generate());
        let leases = store.lease(&request(owner, TTL)).await.unwrap().leases;
        let due = async |limit: u32| -> Vec<EventId> {
            let reads: Vec<LaneRead> = leases.iter().map(|lease| LaneRead::all(lease.lane, limit)).collect();
            let fetched = store.fetch(&reads, &[], &[], 64 << 20).await.unwrap().events;
            fetched.iter().map(|lane| lane.event.id()).collect()
        };
        let settle = async |completed: Vec<EventId>, followers: Vec<EventId>| {
            let settlement = LaneSettlement { completed, followers, ..LaneSettlement::default() };
            OrderedLanes::settle(&store, owner, &leases, &settlement).await.unwrap();
        };
        db.enqueue(&(0..40).map(|n| event(&n.to_string())).collect::<Vec<_>>()).await;
        db.execute("analyze outbox_events").await;
        // as often as it takes until a connection keeps a plan
        for id in due(100).await.into_iter().take(16).collect::<Vec<_>>().chunks(2) {
            settle(vec![id[0]], Vec::new()).await;
            settle(vec![id[1]], vec![id[1]]).await;
        }
        grow_outbox(&db).await;
        let ids = due(300).await;
        assert!(ids.len() > 4_000, "{} events are due", ids.len());
        let before = scanned(&db, &store, "outbox_events").await;
        for (number, some) in [(1, 0), (100, 0), (2_000, 0), (1, 1), (100, 100)] {
            let at = (number * 2 + some) % 2_000;
            let completed = ids[at..at + number].to_vec();
            settle(completed.clone(), completed[..some].to_vec()).await;
            let rows = scanned(&db, &store, "outbox_events").await - before;
            assert!(
                rows < FEW,
                "{number} events, {some} followers: {rows} rows were read one after the other"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn claims_of_rows_go_by_index_when_the_outbox_has_grown() {
    run(async |db: Arc<Database>| {
        db.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap();
        let (store, mine, filters) = (of_one_connection(&db).await, token(), FetchFilters::new());
        let locking: &dyn DistributedLocking<OutboxEvent> = &store;
        let pass = async |limit: u32| {
            let claimed = locking.claim(&mine, BatchSize::new(limit).unwrap(), TTL, &filters).await.unwrap();
            let ids: Vec<EventId> = claimed.iter().map(Event::id).collect();
            assert_eq!(locking.refresh(&mine, &ids).await.unwrap().len(), ids.len());
            locking.release(&mine, &ids[..ids.len() / 2]).await.unwrap();
            BulkOperations::<OutboxEvent>::complete_many(&store, &ids, &mine).await.unwrap();
        };
        db.enqueue(&(0..40).map(|n| event(&n.to_string())).collect::<Vec<_>>()).await;
        db.execute("analyze outbox_events").await;
        for _ in 0..8 {
            pass(2).await;
        }
        grow_outbox(&db).await;
        let before = scanned(&db, &store, "outbox_events").await;
        for limit in [1, 100, 1_000] {
            pass(limit).await;
            let rows = scanned(&db, &store, "outbox_events").await - before;
            assert!(rows < FEW, "{limit} events: {rows} rows were read one after the other");
        }
    })
    .await;
}

#[tokio::test]
async fn claims_and_settlements_of_messages_go_by_index_when_the_inbox_has_grown() {
    run(async |db: Arc<Database>| {
        let (store, mine, filters) = (of_one_connection(&db).await, token(), FetchFilters::new());
        let locking: &dyn DistributedLocking<InboxEvent> = &store;
        let pass = async |limit: u32| {
            let claimed = locking.claim(&mine, BatchSize::new(limit).unwrap(), TTL, &filters).await.unwrap();
            let completed: Vec<EventId> = claimed.iter().map(Event::id).collect();
            assert_eq!(completed.len(), limit as usize);
            let mut tx = store.begin().await.unwrap();
            store.receive(&mut tx, &claimed).await.unwrap();
            let settlement = InboxSettlement { completed, failures: Vec::new() };
            InboxRepository::settle(&store, &mut tx, &settlement).await.unwrap();
            store.commit(tx).await.unwrap();
        };
        let insert =
            "insert into inbox_events (message_id, consumer_group, event_type, source, payload, source_topic,
                source_partition, source_offset, partition_key)
             select i::text, 'g', 't', 's', '{}', 'orders', i % 4, i, 'k' || i";
        db.execute(&format!("{insert} from generate_series(1, 40) i; analyze inbox_events")).await;
        for _ in 0..8 {
            pass(2).await;
        }
        db.execute(&format!("{insert} from generate_series(41, {GROWN}) i")).await;
        let before = scanned(&db, &store, "inbox_events").await;
        for limit in [1, 60, 1_000] {
            pass(limit).await;
            let rows = scanned(&db, &store, "inbox_events").await - before;
            assert!(rows < FEW, "{limit} messages: {rows} rows were read one after the other");
        }
    })
    .await;
}
