//! The clean-up: no more statements than it needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use omni_box_core::{BatchSize, InboxEvent, OutboxEvent, RetentionPolicies};
use omni_box_postgres::{BeginHook, HookError, PgConfig, PgStore};
use sqlx::{Executor, PgConnection};

use crate::database::{Database, eventually, run};

struct Counted(Arc<AtomicU32>);

impl BeginHook for Counted {
    async fn begin(&self, _conn: &mut PgConnection) -> Result<(), HookError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// A store, and how many sessions it has begun.
fn counted(db: &Database) -> (PgStore, Arc<AtomicU32>) {
    let begun = Arc::<AtomicU32>::default();
    let count = Arc::clone(&begun);
    let store = PgStore::new(db.pool.clone(), PgConfig::default()).on_begin(Counted(count));
    (store, begun)
}

#[tokio::test]
async fn a_clean_up_ends_at_a_batch_that_is_not_full() {
    run(async |db: Arc<Database>| {
        db.execute(
            "insert into outbox_events (event_type, topic, payload, status, completed_at)
             select 't', 'orders', '{}', 'completed', now() - interval '1 d' from generate_series(1, 25);
             insert into inbox_events (message_id, consumer_group, event_type, source, payload, status, completed_at)
             select i::text, 'g', 't', 's', '{}', 'completed', now() - interval '1 d' from generate_series(1, 25) i",
        )
        .await;
        let (store, begun) = counted(&db);
        let (hour, batch) = (Duration::from_secs(3600), BatchSize::new(10).unwrap());
        let outbox = RetentionPolicies::<OutboxEvent>::cleanup_old_events(&store, hour, batch, 100).await.unwrap();
        assert_eq!((outbox, begun.swap(0, Ordering::SeqCst)), (25, 3), "outbox: deleted, in so many statements");
        let inbox = RetentionPolicies::<InboxEvent>::cleanup_old_events(&store, hour, batch, 100).await.unwrap();
        assert_eq!((inbox, begun.swap(0, Ordering::SeqCst)), (25, 3), "inbox: deleted, in so many statements");
    })
    .await;
}

/// Claims of dead workers are given back in slices, and what is locked holds none of them up.
#[tokio::test]
async fn stale_claims_are_given_back_in_slices() {
    run(async |db: Arc<Database>| {
        db.execute(
            "insert into outbox_events (event_type, topic, payload, locked_at, locked_by)
             select 't', 'orders', '{}', now() - interval '1 d', 'gone' from generate_series(1, 2500);
             insert into inbox_events (message_id, consumer_group, event_type, source, payload, locked_at, locked_by)
             select i::text, 'g', 't', 's', '{}', now() - interval '1 d', 'gone' from generate_series(1, 2500) i",
        )
        .await;
        let mut alive = db.pool.begin().await.unwrap();
        for table in ["outbox_events", "inbox_events"] {
            let lock = format!("select id from {table} limit 1 for update");
            sqlx::query(sqlx::AssertSqlSafe(lock)).execute(&mut *alive).await.unwrap();
        }
        let (store, begun) = counted(&db);
        let hour = Duration::from_secs(3600);
        let outbox = RetentionPolicies::<OutboxEvent>::release_stale_locks(&store, hour).await.unwrap();
        assert_eq!((outbox, begun.swap(0, Ordering::SeqCst)), (2_499, 3), "outbox: given back, in so many statements");
        let inbox = RetentionPolicies::<InboxEvent>::release_stale_locks(&store, hour).await.unwrap();
        assert_eq!((inbox, begun.swap(0, Ordering::SeqCst)), (2_499, 3), "inbox: given back, in so many statements");
    })
    .await;
}

/// What was deleted before costs nothing, also while an old snapshot keeps it in the index.
#[tokio::test]
async fn a_clean_up_beside_an_old_snapshot_meets_each_event_once() {
    const ROWS: u32 = 20_000;
    run(async |db: Arc<Database>| {
        db.execute(
            "insert into outbox_events (event_type, topic, payload, status, completed_at, created_at)
             select 't', 'orders', '{}', 'completed', now() - interval '1 d' + i * interval '1 ms', now() - interval '1 d'
             from generate_series(1, 20000) i;
             insert into inbox_events (message_id, consumer_group, event_type, source, payload, status, completed_at)
             select i::text, 'g', 't', 's', '{}', 'completed', now() - interval '1 d' + i * interval '1 ms'
             from generate_series(1, 20000) i",
        )
        .await;
        db.execute("vacuum analyze outbox_events, inbox_events").await;
        let mut old = db.pool.begin().await.unwrap();
        old.execute("set transaction isolation level repeatable read").await.unwrap();
        old.execute("select from inbox_members").await.unwrap();
        let (hour, batch) = (Duration::from_secs(3600), BatchSize::new(500).unwrap());
        let outbox = RetentionPolicies::<OutboxEvent>::cleanup_old_events(&db.store, hour, batch, 100);
        assert_eq!(outbox.await.unwrap(), u64::from(ROWS));
        let inbox = RetentionPolicies::<InboxEvent>::cleanup_old_events(&db.store, hour, batch, 100);
        assert_eq!(inbox.await.unwrap(), u64::from(ROWS));
        // sessions tell what they have read after a second at the latest, with their next statement
        for index in ["outbox_events_hot", "inbox_events_completed"] {
            let read = format!("select idx_tup_read from pg_stat_user_indexes where indexrelname = '{index}'");
            let read = eventually(index, async || {
                db.execute("select").await;
                let read: i64 = db.scalar(&read).await;
                (read >= i64::from(ROWS)).then_some(read)
            });
            let read = read.await;
            println!("{index}: {read} entries for {ROWS} events");
            assert!(read < 3 * i64::from(ROWS), "{index}: {read} entries for {ROWS} events");
        }
        drop(old);
    })
    .await;
}
