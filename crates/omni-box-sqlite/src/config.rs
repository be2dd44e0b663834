//! Settings: what the tables are called, and how long a lock is waited for.

use std::time::Duration;

use omni_box_core::{Error, ErrorKind, Result};
use omni_box_sql::{Dialect, MigrationSql, Table, TableNames};

use crate::migrations::MIGRATIONS;

/// The machine's clock in microseconds since 1970. `julianday` counts milliseconds, and is the same for one statement.
const MACHINE_CLOCK: &str = "(cast(round((julianday('now') - 2440587.5) * 86400000) as integer) * 1000)";

/// A random UUID, for rows of writers that bring none.
const UUID: &str = "(lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-' \
                    || substr('89ab', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))))";

/// Settings of a [`SqliteStore`](crate::SqliteStore). The default is the usual names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteConfig {
    names: TableNames,
    pub(crate) busy_timeout: Duration,
    pub(crate) migrate_wait: Duration,
    pub(crate) max_connections: u32,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self {
            names: TableNames::default(),
            busy_timeout: Duration::from_secs(5),
            migrate_wait: Duration::from_secs(60),
            max_connections: 8,
        }
    }
}

impl SqliteConfig {
    /// Starts from the defaults.
    pub fn builder() -> SqliteConfigBuilder {
        SqliteConfigBuilder { config: Self::default() }
    }

    /// A table's name, not quoted.
    pub fn table(&self, table: Table) -> &str {
        self.names.get(table)
    }

    /// A table's name, quoted, as it stands in SQL.
    pub fn qualified(&self, table: Table) -> String {
        Dialect::qualified(self, table)
    }

    /// How long the write lock is waited for.
    pub fn busy_timeout(&self) -> Duration {
        self.busy_timeout
    }

    /// The SQL that [`SqliteStore::migrate`](crate::SqliteStore::migrate) runs on an empty file, as one transaction; see
    /// [`migrations`](Self::migrations) for its parts.
    pub fn migration_sql(&self) -> String {
        let all: String = self.migrations().into_iter().map(|migration| migration.sql).collect();
        format!("begin immediate;\n{all}commit;\n")
    }

    /// Each migration as SQL without transaction control, for those who apply them by other means: sqlx's migrator, say. Each records
    /// itself, so that [`SqliteStore::migrate`](crate::SqliteStore::migrate) finds nothing left to do.
    pub fn migrations(&self) -> Vec<MigrationSql> {
        MIGRATIONS.each(self, "")
    }
}

impl Dialect for SqliteConfig {
    fn names(&self) -> &TableNames {
        &self.names
    }

    fn expression(&self, placeholder: &str) -> Option<String> {
        if let Some(column) = placeholder.strip_prefix("is_uuid:") {
            return Some(format!(
                "length({column}) = 36 and {column} glob '????????-????-????-????-????????????' \
                 and replace({column}, '-', '') not glob '*[^0-9a-f]*' and length(replace({column}, '-', '')) = 32"
            ));
        }
        Some(match placeholder {
            "clock" => {
                let control = self.qualified(Table::Control);
                format!("(select {MACHINE_CLOCK} + c.clock_offset_ms * 1000 from {control} c)")
            }
            "machine_clock" => MACHINE_CLOCK.to_owned(),
            "uuid" => UUID.to_owned(),
            "line" => line(""),
            _ => line(&format!("{}.", placeholder.strip_prefix("line:")?)),
        })
    }
}

/// The line that a message with a place in a partition waits in, within its group; the index is on the same expression.
fn line(of: &str) -> String {
    format!(
        "(coalesce({of}source_topic, '') || char(31) || coalesce({of}source_partition, 0) || char(31) \
         || coalesce('k' || {of}partition_key, 'r' || hex({of}raw_key), ''))"
    )
}

/// Builds a [`SqliteConfig`].
#[derive(Debug)]
#[must_use = "call build"]
pub struct SqliteConfigBuilder {
    config: SqliteConfig,
}

impl SqliteConfigBuilder {
    /// Another name for a table.
    pub fn table(mut self, table: Table, name: impl Into<String>) -> Self {
        self.config.names.set(table, name);
        self
    }

    /// How long the write lock is waited for; 5 s. The lease TTL of relays on the same file must be longer than this, the handlers' timeout
    /// and a second together. The crate's page says why.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.config.busy_timeout = timeout;
        self
    }

    /// How long a migration waits for another one that is running; 60 s.
    pub fn migrate_wait(mut self, wait: Duration) -> Self {
        self.config.migrate_wait = wait;
        self
    }

    /// Connections of [`SqliteStore::open`](crate::SqliteStore::open), each with a thread of its own; 8.
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.config.max_connections = connections;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) when a name is empty, holds a NUL character, begins with `sqlite_`, or is given twice
    /// (case does not count). When the busy timeout is under a millisecond or over an hour. When there are no connections.
    pub fn build(self) -> Result<SqliteConfig> {
        let config = self.config;
        config.names.check(check_prefix, str::eq_ignore_ascii_case)?;
        let timeout = config.busy_timeout;
        if timeout < Duration::from_millis(1) || timeout > Duration::from_secs(3600) {
            return Err(misconfigured(format!("busy_timeout {timeout:?} is outside 1 ms to 1 h")));
        }
        if config.max_connections == 0 {
            return Err(misconfigured("max_connections is 0, needs at least 1".to_owned()));
        }
        Ok(config)
    }
}

fn check_prefix(what: &str, name: &str) -> Result<()> {
    if name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_")) {
        return Err(misconfigured(format!(
            "the name of {what} begins with sqlite_, which SQLite keeps for itself"
        )));
    }
    Ok(())
}

pub(crate) fn misconfigured(message: String) -> Error {
    Error::new(ErrorKind::Misconfigured, message)
}
