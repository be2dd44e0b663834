//! SQLite store of omni-box, the embedded default: the outbox and inbox tables, lanes and their leases, migrations.
//!
//! [`SqliteStore`] works on a file that it opens, or on a pool of yours. `create` takes your own open transaction, so that an event
//! exists exactly when your business row does:
//!
//! ```no_run
//! use omni_box_core::{NewOutboxEvent, OutboxExt};
//! use omni_box_sqlite::{SqliteConfig, SqliteStore};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let store = SqliteStore::open("shop.db", SqliteConfig::default()).await?;
//! store.migrate().await?;
//!
//! let event = NewOutboxEvent::new("order.placed", "orders", &serde_json::json!({"id": 7})).partition_key("7");
//! let mut tx = store.pool().begin_with("begin immediate").await?;
//! sqlx::query("insert into orders (id) values (7)").execute(&mut *tx).await?;
//! store.enqueue(&mut tx, event).await?;
//! tx.commit().await?;
//! store.wake();
//! # Ok(())
//! # }
//! ```
//!
//! # One writer at a time
//! A SQLite file has one write lock. Every transaction that the store opens takes it at its beginning (`begin immediate`), and waits for it
//! up to [`busy_timeout`](SqliteConfigBuilder::busy_timeout). Then the call fails with
//! [`Contention`](omni_box_core::ErrorKind::Contention), and the whole transaction may be run again. Those of one store and its
//! clones queue in the order in which they came, so that none starves. Three things follow:
//!
//! - Begin your own transactions with `begin immediate` too. One that reads first and writes later fails with `Contention` as
//!   soon as another program has written in between.
//! - A handler holds the lock until its transaction ends. The inbox runner lets handlers share one for a second, and then waits for the
//!   one that runs. A relay renews its leases when it gets the lock, so **lease TTL > handler timeout + 1 s + busy timeout**. Set the
//!   busy timeout to at least the handler timeout plus one second; with a shorter one, calls fail that would have succeeded by waiting.
//!   The store warns where it sees the times and they disagree. A builder refuses a lease TTL that is not longer than the busy timeout.
//! - A process that is stopped (SIGSTOP, a debugger) inside a transaction keeps the lock until it goes on or ends. No server can take
//!   it away.
//!
//! Several processes may work on one file of one machine; a network file system does not do. Relays are woken by
//! commits of their own process at once. For those of others they look at the times and sizes of the file and its log every 50 ms, which takes no
//! statement. An event of another process is seen about 70 ms after its commit at the latest.
//!
//! Time is the machine's clock in milliseconds; a clock that is set forward ends leases early, which costs a change of owner and no order.
//!
//! After `disk full` and errors of input and output SQLite may end a transaction on its own. A statement behind it would then commit by
//! itself. `create`, `receive`, `settle` and `quarantine` look, and refuse; your own statements should stop at the first error.

mod breaker;
mod config;
mod context;
mod dead_letter;
mod error;
mod hook;
mod inbox;
mod inspection;
mod lanes;
mod locking;
mod members;
mod migrate;
mod migrations;
mod outbox;
mod quarantine;
mod query;
mod retention;
mod row;
mod rows;
mod savepoint;
mod seal;
mod sealed;
mod store;
mod transaction;
mod wakeup;

#[doc(no_inline)]
pub use sqlx;

pub use config::{SqliteConfig, SqliteConfigBuilder};
pub use context::InboxContextExt;
pub use hook::{BeginHook, HookError};
pub use omni_box_sql::{MigrationSql, SchemaDifference, Table};
pub use store::SqliteStore;
pub use transaction::SqliteTx;
