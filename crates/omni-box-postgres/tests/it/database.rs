//! A database of its own for each test.

use std::time::Duration;

use omni_box_core::{
    EventRepository, LeaseRequest, NewOutboxEvent, OmniBoxDomainService, OutboxEvent, OwnerId, WorkerId,
};
use omni_box_postgres::{PgConfig, PgStore};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use uuid::Uuid;

/// A database that ends with the test.
pub(crate) struct Database {
    pub(crate) pool: PgPool,
    pub(crate) store: PgStore,
}

impl Database {
    pub(crate) async fn execute(&self, sql: &str) {
        self.pool.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
    }

    pub(crate) async fn scalar<T>(&self, sql: &str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await.unwrap()
    }

    /// Stores events in one committed transaction.
    pub(crate) async fn enqueue(&self, events: &[OutboxEvent]) {
        let mut tx = self.pool.begin().await.unwrap();
        self.store.create_many(&mut tx, events).await.unwrap();
        tx.commit().await.unwrap();
    }
}

/// Runs a test on a database of its own, migrated with the default names.
pub(crate) async fn run<F: Future<Output = ()>>(test: impl FnOnce(std::sync::Arc<Database>) -> F) {
    run_with(PgConfig::default(), async |db| {
        db.store.migrate().await.unwrap();
        test(db).await;
    })
    .await;
}

/// The same, empty.
pub(crate) async fn run_with(config: PgConfig, test: impl AsyncFnOnce(std::sync::Arc<Database>)) {
    let Some(url) = omni_box_harness::postgres() else { return };
    let options: PgConnectOptions = url.parse().unwrap();
    let name = format!("omni_box_{}", Uuid::new_v4().simple());
    let mut admin = PgConnection::connect_with(&options).await.unwrap();
    admin.execute(AssertSqlSafe(format!("create database {name}"))).await.unwrap();
    let pool = PgPoolOptions::new()
        .max_connections(24)
        .acquire_timeout(Duration::from_secs(30))
        .connect_with(options.database(&name))
        .await
        .unwrap();
    let store = PgStore::new(pool.clone(), config);
    test(std::sync::Arc::new(Database { pool: pool.clone(), store })).await;
    pool.close().await;
    admin.execute(AssertSqlSafe(format!("drop database {name} with (force)"))).await.unwrap();
}

/// An event of a key.
pub(crate) fn event(key: &str) -> OutboxEvent {
    build(NewOutboxEvent::new("order.placed", "orders", &serde_json::json!({"key": key})).partition_key(key))
}

pub(crate) fn build(event: NewOutboxEvent) -> OutboxEvent {
    OmniBoxDomainService::default().create_outbox_event(event).unwrap()
}

pub(crate) fn request(owner: OwnerId, ttl: Duration) -> LeaseRequest {
    LeaseRequest { owner, worker: WorkerId::new("relay").unwrap(), ttl }
}

/// Awaits a condition.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
