//! The store against its contracts, with the default names and with odd ones.

use std::ops::DerefMut;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::DateTime;
use omni_box_conformance::{BareConnections, InboxFixture, StoreFixture};
use omni_box_core::{ConsumerGroup, DeliveryMode, InboundMessage, QuarantinedMessage};
use omni_box_sqlite::{SqliteConfig, SqliteStore, Table};
use sqlx::{AssertSqlSafe, SqliteConnection};
use tokio::time::{Instant, sleep};

use crate::database::Database;

async fn quarantined(db: &Database) -> Vec<QuarantinedMessage> {
    type Row = (
        String,
        String,
        i32,
        i64,
        Option<Vec<u8>>,
        sqlx::types::Json<Vec<(String, Option<String>)>>,
        Option<Vec<u8>>,
        Option<i64>,
        String,
    );
    let sql = format!(
        r#"select consumer_group, topic, "partition", "offset", "key", headers, value, produced_at, error from {}"#,
        db.config.qualified(Table::Quarantine)
    );
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(db.store.pool()).await.unwrap();
    rows.into_iter()
        .map(|(group, topic, partition, offset, key, headers, value, timestamp, error)| QuarantinedMessage {
            consumer_group: ConsumerGroup::new(group).unwrap(),
            message: InboundMessage {
                topic,
                partition,
                offset,
                key: key.map(Bytes::from),
                value: value.map(Bytes::from),
                headers: headers
                    .0
                    .into_iter()
                    .map(|(name, value)| (name, value.map(|text| BASE64.decode(text).unwrap().into())))
                    .collect(),
                timestamp: timestamp.map(|micros| DateTime::from_timestamp_micros(micros).unwrap()),
            },
            error,
        })
        .collect()
}

/// The stores of a case, each with a pool of its own.
struct Opened(Mutex<Vec<SqliteStore>>);

impl Opened {
    /// A connection is idle again when its thread has ended what was cut off on it.
    async fn quiet(&self, open_transactions: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let busy = || -> usize {
            let stores = self.0.lock().unwrap();
            stores
                .iter()
                .map(|store| (store.pool().size() as usize).saturating_sub(store.pool().num_idle()))
                .sum()
        };
        while busy() > open_transactions {
            assert!(Instant::now() < deadline, "what was cut off has not ended within 20 s");
            sleep(Duration::from_millis(1)).await;
        }
    }
}

macro_rules! fixture {
    ($(#[$doc:meta])* $name:ident, $config:expr) => {
        $(#[$doc])*
        struct $name(Database, Opened);

        impl StoreFixture for $name {
            type Store = SqliteStore;

            const SINGLE_WRITER: bool = true;

            async fn create() -> Option<Self> {
                let db = Database::with($config).await;
                let opened = Opened(Mutex::new(vec![db.store.clone()]));
                Some(Self(db, opened))
            }

            async fn open(&self) -> SqliteStore {
                let store = self.0.open().await;
                self.1.0.lock().unwrap().push(store.clone());
                store
            }

            async fn set_mode(&self, mode: DeliveryMode) {
                self.0.store.set_delivery_mode(mode).await.unwrap();
            }

            async fn advance(&self, by: Duration) {
                let control = self.0.config.qualified(Table::Control);
                let sql = format!("update {control} set clock_offset_ms = clock_offset_ms + {}", by.as_millis());
                self.0.execute(&sql).await;
            }

            async fn quiet(&self, open_transactions: usize) {
                self.1.quiet(open_transactions).await;
            }
        }

        impl InboxFixture for $name {
            async fn quarantined(&self) -> Vec<QuarantinedMessage> {
                quarantined(&self.0).await
            }
        }

        impl BareConnections for $name {
            async fn bare(&self) -> Box<dyn DerefMut<Target = SqliteConnection> + Send> {
                Box::new(self.0.store.pool().acquire().await.unwrap())
            }
        }
    };
}

fixture!(
    /// Everything as it is unless the test says otherwise.
    DefaultNames,
    SqliteConfig::default()
);

fixture!(
    /// Names that must be quoted.
    OddNames,
    SqliteConfig::builder()
        .table(Table::OutboxEvents, "x".repeat(80))
        .table(Table::InboxEvents, "select")
        .table(Table::OutboxLanes, "c o l.u;m n")
        .table(Table::Control, "Omni \"Box\" größe")
        .build()
        .unwrap()
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
