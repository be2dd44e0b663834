//! PostgreSQL store of omni-box: the outbox and inbox tables, lanes and their leases, migrations, wake-up.
//!
//! [`PgStore`] works on a pool of yours. `create` takes your own open transaction, so that an event exists exactly when your
//! business row does:
//!
//! ```no_run
//! use omni_box_core::{NewOutboxEvent, OutboxExt};
//! use omni_box_postgres::{PgConfig, PgStore};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = sqlx::PgPool::connect("postgres://localhost/shop").await?;
//! let store = PgStore::new(pool.clone(), PgConfig::default());
//! store.migrate().await?;
//!
//! let event = NewOutboxEvent::new("order.placed", "orders", &serde_json::json!({"id": 7})).partition_key("7");
//! let mut tx = pool.begin().await?;
//! sqlx::query("insert into orders (id) values (7)").execute(&mut *tx).await?;
//! store.enqueue(&mut tx, event).await?;
//! tx.commit().await?;
//! store.wake();
//! # Ok(())
//! # }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod breaker;
mod config;
mod connection;
mod context;
mod dead_letter;
mod error;
mod hook;
mod horizon;
mod inbox;
mod inspection;
mod lanes;
mod locking;
mod members;
mod migrate;
mod migrations;
mod moving;
mod notify;
mod outbox;
mod plans;
mod progress;
mod quarantine;
mod query;
mod reading;
mod retention;
mod row;
mod rows;
mod savepoint;
mod sealed;
mod sequence;
mod sizes;
mod sqlstate;
mod store;
mod transaction;
mod wakeup;

#[doc(no_inline)]
pub use sqlx;

pub use config::{Listen, PgConfig, PgConfigBuilder};
pub use context::InboxContextExt;
pub use hook::{BeginHook, HookError};
pub use omni_box_sql::{MigrationSql, SchemaDifference, Table};
pub use sqlstate::sqlstate_error;
pub use store::PgStore;
pub use transaction::PgTx;
