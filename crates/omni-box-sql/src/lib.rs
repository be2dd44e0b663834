//! What stores of omni-box on SQL databases share, whatever the database.
//!
//! `omni-box-postgres` and `omni-box-sqlite` are built on it, and a store on another SQL database may be. It is on sqlx, and on no driver
//! of it. Users of a store do not need it: what they meet of it, the store exports.
//!
//! - [`Table`] and [`TableNames`]: the tables, and what they are called. [`Dialect`] and [`render`]: SQL in templates.
//! - [`queries!`] and [`Query`]: the statements of a store, one in a file each. They are each store's own, and so are the calls that run
//!   them. What parameters look like, and which transaction they need, differs from database to database.
//! - [`StoredEvent`]: events of either kind, read from the [`Columns`] of a row. [`Outcome`], [`micros`], [`fair_share`] and [`stored`]: what
//!   goes the other way.
//! - [`Places`]: where searches by key have come to.
//! - [`quarantine_entry`] and [`quarantined_message`]: messages kept as raw bytes.
//! - [`Migrations`] and their ledger; [`ExpectedTable`] and [`SchemaDifference`]: whether a schema is what a program needs.
//! - [`delivery_mode`], [`by_mode`], [`check_drained`], [`check_lanes`]: the control row.
//! - [`kind`], [`cause`] and [`KeptError`]: native errors, classified, and without what may repeat a payload; [`no_transaction`], [`no_savepoint`], [`no_seal`].
//!
//! A store's settings implement [`Dialect`]: what its SQL looks like.
//!
//! ```
//! use omni_box_sql::{Dialect, Table, TableNames, render};
//!
//! /// Settings of a store on MySQL.
//! #[derive(Default)]
//! struct MySqlConfig {
//!     names: TableNames,
//! }
//!
//! impl Dialect for MySqlConfig {
//!     fn names(&self) -> &TableNames {
//!         &self.names
//!     }
//!
//!     fn quote(&self, name: &str) -> String {
//!         format!("`{}`", name.replace('`', "``"))
//!     }
//!
//!     fn expression(&self, placeholder: &str) -> Option<String> {
//!         (placeholder == "clock").then(|| "utc_timestamp(6)".to_owned())
//!     }
//! }
//!
//! let mut config = MySqlConfig::default();
//! config.names.set(Table::OutboxEvents, "events");
//! let sql = render(&config, "select id from {{outbox_events}} e where e.scheduled_at <= {{clock}}");
//! assert_eq!(sql, "select id from `events` e where e.scheduled_at <= utc_timestamp(6)");
//! ```

mod control;
mod dialect;
mod error;
mod event;
mod extended;
mod inspection;
mod migration;
mod orphans;
mod parameter;
mod places;
mod quarantine;
mod query;
mod row;
mod schema;
mod table;
mod template;

pub use control::{by_mode, check_drained, check_lanes, delivery_mode};
pub use dialect::Dialect;
pub use error::{KeptError, cause, kind, no_savepoint, no_seal, no_transaction};
pub use event::StoredEvent;
pub use extended::{claimed_message, known_message, lane_event};
pub use inspection::{breaker_state, sampled_group, sampled_outbox};
pub use migration::{Applied, Migration, MigrationSql, Migrations};
pub use orphans::{Orphans, RELEASE_SLICE, release_slices};
pub use parameter::{Outcome, fair_share, micros, moment, renewed, stored};
pub use places::Places;
pub use quarantine::{quarantine_entry, quarantined_message};
pub use query::Query;
pub use row::{Columns, lane_id};
pub use schema::{ExpectedTable, SchemaDifference};
pub use table::{Table, TableNames, check_name};
pub use template::{render, render_for};

#[doc(hidden)]
/// What the macros name.
pub mod hidden {
    pub use omni_box_core::{InboxEvent, OutboxEvent};
}
