//! What stores of omni-box on SQL databases share, whatever the database: the names of the tables, and SQL in templates that are
//! rendered with them.
//!
//! `omni-box-postgres` and `omni-box-sqlite` are built on it, and a store on another SQL database may be. It depends on no driver. Users
//! of a store do not need it: what they meet of it, the store exports.
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
mod migration;
mod query;
mod row;
mod schema;
mod table;

pub use control::{by_mode, check_drained, delivery_mode};
pub use dialect::{Dialect, render};
pub use migration::{Migration, Migrations};
pub use query::Query;
pub use row::{
    Columns, inbox_columns, inbox_event, known_message, lane_event, lane_id, moment, outbox_columns,
    outbox_event,
};
pub use schema::{ExpectedTable, SchemaDifference};
pub use table::{Table, TableNames, check_name};
