//! The store against its contracts, with the default names and with odd ones.

use std::ops::DerefMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use omni_box_conformance::{BareConnections, InboxFixture, StoreFixture};
use omni_box_core::{ConsumerGroup, DeliveryMode, InboundMessage, QuarantinedMessage};
use omni_box_postgres::{PgConfig, PgStore, Table};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

/// A schema of a case's own (a database takes ten times as long), and connections that read a clock that the case moves.
struct Schema {
    pool: PgPool,
    /// What the server knows the pool's connections by.
    application: String,
    config: PgConfig,
    /// Microseconds ahead of the server's clock.
    ahead: Arc<AtomicI64>,
}

impl Schema {
    async fn create(config: PgConfig, cached_statements: usize) -> Option<Self> {
        let server: PgConnectOptions = omni_box_harness::postgres()?.parse().unwrap();
        let application = uuid::Uuid::new_v4().to_string();
        let server = server.application_name(&application);
        let ahead = Arc::<AtomicI64>::default();
        let [on_connect, on_acquire] = [Arc::clone(&ahead), Arc::clone(&ahead)];
        let pool = PgPoolOptions::new()
            .max_connections(10)
            .after_connect(move |conn, _| Box::pin(set_clock(conn, Arc::clone(&on_connect))))
            .before_acquire(move |conn, _| {
                let ahead = Arc::clone(&on_acquire);
                Box::pin(async move { set_clock(conn, ahead).await.map(|()| true) })
            })
            .connect_with(server.statement_cache_capacity(cached_statements))
            .await
            .unwrap();
        PgStore::new(pool.clone(), config.clone()).migrate().await.unwrap();
        Some(Self { pool, application, config, ahead })
    }

    fn store(&self) -> PgStore {
        PgStore::new(self.pool.clone(), self.config.clone())
    }

    /// A connection is idle again when the server has answered what was cut off on it, or the pool has closed it: then the server may
    /// still be at it, until its process is gone.
    async fn quiet(&self, open_transactions: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            assert!(Instant::now() < deadline, "what was cut off has not ended within 20 s");
            let is_idle = self.pool.num_idle() + open_transactions >= self.pool.size() as usize;
            if is_idle && self.processes().await <= self.pool.size() as usize {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// How many of the server's processes serve this pool.
    async fn processes(&self) -> usize {
        let count = "select count(*) from pg_stat_activity where application_name = $1";
        let count = sqlx::query_scalar::<_, i64>(count).bind(&self.application).fetch_one(&self.pool).await;
        usize::try_from(count.unwrap()).unwrap()
    }

    async fn quarantined(&self) -> Vec<QuarantinedMessage> {
        type Row = (
            String,
            String,
            i32,
            i64,
            Option<Vec<u8>>,
            sqlx::types::Json<Vec<(String, Option<String>)>>,
            Option<Vec<u8>>,
            Option<DateTime<Utc>>,
            String,
        );
        let sql = format!(
            r#"select consumer_group, topic, partition, "offset", key, headers, value, produced_at, error from {}"#,
            self.config.qualified(Table::Quarantine)
        );
        let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&self.pool).await.unwrap();
        rows.into_iter()
            .map(|(group, topic, partition, offset, key, headers, value, timestamp, error)| {
                let headers = headers.0.into_iter();
                QuarantinedMessage {
                    consumer_group: ConsumerGroup::new(group).unwrap(),
                    message: InboundMessage {
                        topic,
                        partition,
                        offset,
                        key: key.map(Bytes::from),
                        value: value.map(Bytes::from),
                        headers: headers
                            .map(|(name, value)| {
                                (name, value.map(|text| BASE64.decode(text).unwrap().into()))
                            })
                            .collect(),
                        timestamp,
                    },
                    error,
                }
            })
            .collect()
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let name = format!("\"{}\"", self.config.schema().replace('"', "\"\""));
        let sql = AssertSqlSafe(format!("drop schema {name} cascade"));
        // a case runs on several threads, and this one may block
        tokio::task::block_in_place(|| {
            Handle::current().block_on(async {
                if let Err(error) = sqlx::raw_sql(sql).execute(&self.pool).await {
                    println!("schema {name} stays: {error}");
                }
                self.pool.close().await;
            });
        });
    }
}

fn unique(schema: &str) -> String {
    format!("{schema} {}", uuid::Uuid::new_v4().simple())
}

async fn set_clock(conn: &mut PgConnection, ahead: Arc<AtomicI64>) -> sqlx::Result<()> {
    sqlx::query("select set_config('omni_box.clock_offset', $1, false)")
        .bind(format!("{} microseconds", ahead.load(Ordering::SeqCst)))
        .execute(conn)
        .await?;
    Ok(())
}

macro_rules! fixture {
    ($(#[$doc:meta])* $name:ident, $config:expr, cached statements: $cached:expr) => {
        $(#[$doc])*
        struct $name(Schema);

        impl StoreFixture for $name {
            type Store = PgStore;

            async fn create() -> Option<Self> {
                Schema::create($config, $cached).await.map(Self)
            }

            async fn open(&self) -> PgStore {
                self.0.store()
            }

            async fn set_mode(&self, mode: DeliveryMode) {
                self.0.store().set_delivery_mode(mode).await.unwrap();
            }

            async fn advance(&self, by: Duration) {
                self.0.ahead.fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::SeqCst);
            }

            async fn quiet(&self, open_transactions: usize) {
                self.0.quiet(open_transactions).await;
            }
        }

        impl InboxFixture for $name {
            async fn quarantined(&self) -> Vec<QuarantinedMessage> {
                self.0.quarantined().await
            }
        }

        impl BareConnections for $name {
            async fn bare(&self) -> Box<dyn DerefMut<Target = PgConnection> + Send> {
                Box::new(self.0.pool.acquire().await.unwrap())
            }
        }
    };
}

fixture!(
    /// Tables as they are called by default.
    DefaultNames,
    PgConfig::builder().schema(unique("default_names")).build().unwrap(),
    cached statements: 100
);

fixture!(
    /// Names that must be quoted, and are cut where others derive from them; no named statements, as a pooler of transactions wants it.
    OddNames,
    PgConfig::builder()
        .schema(unique("Omni \"Box\""))
        .table(Table::OutboxEvents, "x".repeat(63))
        .table(Table::InboxEvents, "select")
        .table(Table::OutboxLanes, "c o l.u;m n")
        .build()
        .unwrap(),
    cached statements: 0
);

mod default_names {
    use super::DefaultNames;

    omni_box_conformance::outbox_conformance!(
        DefaultNames,
        capabilities: [breakers, bulk, dead_letters, inspection, lanes, locking, retention, several_lanes, wakeup]
    );
    omni_box_conformance::inbox_conformance!(
        DefaultNames,
        capabilities: [breakers, bulk, dead_letters, inspection, locking, members, partitions, quarantine, retention, savepoints, sealed]
    );
    omni_box_conformance::model_conformance!(DefaultNames);

    mod bare_outbox {
        use super::DefaultNames;

        omni_box_conformance::bare_connection_conformance!(DefaultNames, OutboxEvent);
    }

    mod bare_inbox {
        use super::DefaultNames;

        omni_box_conformance::bare_connection_conformance!(DefaultNames, InboxEvent);
    }
}

mod odd_names {
    use super::OddNames;

    omni_box_conformance::outbox_conformance!(
        OddNames,
        capabilities: [breakers, bulk, dead_letters, inspection, lanes, locking, retention, several_lanes, wakeup]
    );
    omni_box_conformance::inbox_conformance!(
        OddNames,
        capabilities: [breakers, bulk, dead_letters, inspection, locking, members, partitions, quarantine, retention, savepoints, sealed]
    );
}
