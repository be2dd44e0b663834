//! The clean-up: no more transactions than it needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use omni_box_core::{BatchSize, InboxEvent, OutboxEvent, RetentionPolicies};
use omni_box_sqlite::SqliteStore;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::database::Database;

/// A store, and how often one that had the write lock has committed.
async fn counted(db: &Database) -> (SqliteStore, Arc<AtomicU32>) {
    let commits = Arc::<AtomicU32>::default();
    let count = Arc::clone(&commits);
    let pool = SqlitePoolOptions::new()
        .after_connect(move |conn, _| {
            let count = Arc::clone(&count);
            Box::pin(async move {
                conn.lock_handle().await?.set_commit_hook(move || {
                    count.fetch_add(1, Ordering::SeqCst);
                    true
                });
                Ok(())
            })
        })
        .connect_with(SqliteConnectOptions::new().filename(db.path()))
        .await
        .unwrap();
    (SqliteStore::new(pool, db.config.clone()), commits)
}

#[tokio::test]
async fn a_clean_up_ends_at_a_batch_that_is_not_full() {
    let db = Database::create().await;
    let numbers = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 25)";
    db.execute(&format!(
        "insert into outbox_events (event_type, topic, payload, status, completed_at)
         {numbers} select 't', 'orders', '{{}}', 'completed', i from n;
         insert into inbox_events (message_id, consumer_group, event_type, source, payload, status, completed_at)
         {numbers} select i, 'g', 't', 's', '{{}}', 'completed', i from n"
    ))
    .await;
    let (store, commits) = counted(&db).await;
    let (hour, batch) = (Duration::from_secs(3600), BatchSize::new(10).unwrap());
    let outbox =
        RetentionPolicies::<OutboxEvent>::cleanup_old_events(&store, hour, batch, 100).await.unwrap();
    assert_eq!(
        (outbox, commits.swap(0, Ordering::SeqCst)),
        (25, 3),
        "outbox: deleted, in so many transactions"
    );
    let inbox = RetentionPolicies::<InboxEvent>::cleanup_old_events(&store, hour, batch, 100).await.unwrap();
    assert_eq!(
        (inbox, commits.swap(0, Ordering::SeqCst)),
        (25, 3),
        "inbox: deleted, in so many transactions"
    );
}
