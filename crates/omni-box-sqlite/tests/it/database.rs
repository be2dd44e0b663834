//! A file for each test.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use omni_box_core::{
    ConsumerGroup, EventContent, InboxEvent, NewInboxEvent, NewOutboxEvent, OmniBoxDomainService,
    OutboxEvent, Payload, Store,
};
use omni_box_sqlite::{SqliteConfig, SqliteStore};
use sqlx::AssertSqlSafe;
use tempfile::TempDir;

/// A directory with a database in it, gone when it is dropped.
pub(crate) struct Database {
    directory: TempDir,
    pub(crate) config: SqliteConfig,
    pub(crate) store: SqliteStore,
}

impl Database {
    pub(crate) async fn create() -> Self {
        Self::with(SqliteConfig::default()).await
    }

    pub(crate) async fn with(config: SqliteConfig) -> Self {
        let directory = directory();
        let store = SqliteStore::open(directory.path().join("omni.db"), config.clone()).await.unwrap();
        store.migrate().await.unwrap();
        Self { directory, config, store }
    }

    /// One with a single connection, so that [its steps](Self::count_steps) are those of the store.
    pub(crate) async fn counted() -> Self {
        Self::with(SqliteConfig::builder().max_connections(1).build().unwrap()).await
    }

    /// Counts the steps of SQLite's machine from now on.
    pub(crate) async fn count_steps(&self) -> Arc<AtomicU64> {
        const GRAIN: u16 = 100;
        let steps = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&steps);
        let mut conn = self.store.pool().acquire().await.unwrap();
        conn.lock_handle().await.unwrap().set_progress_handler(GRAIN.into(), move || {
            counted.fetch_add(GRAIN.into(), Ordering::Relaxed);
            true
        });
        steps
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("omni.db")
    }

    /// A store on the same file, as another process would open it.
    pub(crate) async fn open(&self) -> SqliteStore {
        SqliteStore::open(self.path(), self.config.clone()).await.unwrap()
    }

    pub(crate) async fn execute(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(self.store.pool()).await.unwrap();
    }

    pub(crate) async fn count(&self, from: &str) -> i64 {
        let sql = format!("select count(*) from {from}");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(self.store.pool()).await.unwrap()
    }

    /// Stores events in one transaction.
    pub(crate) async fn enqueue(&self, events: &[OutboxEvent]) {
        use omni_box_core::EventRepository as _;

        let mut tx = self.store.begin().await.unwrap();
        self.store.create_many(&mut tx, events).await.unwrap();
        self.store.commit(tx).await.unwrap();
    }
}

/// In memory where the machine offers that: what is tested here does not depend on the disk, and a disk would take most of the time.
pub(crate) fn directory() -> TempDir {
    TempDir::new_in("/dev/shm").unwrap_or_else(|_| TempDir::new().unwrap())
}

/// A message to receive.
pub(crate) fn message(id: &str) -> InboxEvent {
    let content = EventContent::new("order.placed", Payload::from_text(r#"{"order": 7}"#).unwrap());
    let group = ConsumerGroup::new("shipping").unwrap();
    OmniBoxDomainService::default()
        .create_inbox_event(NewInboxEvent::new(id, group, "orders", content).digest(vec![7; 32]))
        .unwrap()
}

pub(crate) fn event(key: &str) -> OutboxEvent {
    OmniBoxDomainService::default()
        .create_outbox_event(
            NewOutboxEvent::from_json("order.placed", "orders", r#"{"order": 7}"#).partition_key(key),
        )
        .unwrap()
}
