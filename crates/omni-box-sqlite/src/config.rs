//! Settings: what the tables are called, and how long a lock is waited for.

use std::fmt;
use std::time::Duration;

use omni_box_core::{Error, ErrorKind, Result};

use crate::migrate;

/// The machine's clock in microseconds since 1970. `julianday` counts milliseconds, and is the same for one statement.
const MACHINE_CLOCK: &str = "(cast(round((julianday('now') - 2440587.5) * 86400000) as integer) * 1000)";

/// A random UUID, for rows of writers that bring none.
const UUID: &str = "(lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-' \
                    || substr('89ab', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))))";

/// A table of omni-box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Table {
    /// `outbox_events`
    OutboxEvents,
    /// `inbox_events`
    InboxEvents,
    /// `outbox_lanes`: leases of the lanes.
    OutboxLanes,
    /// `outbox_relays`: relays alive.
    OutboxRelays,
    /// `inbox_partitions`: who consumes which partition.
    InboxPartitions,
    /// `inbox_quarantine`: messages kept as raw bytes.
    Quarantine,
    /// `omni_box_control`: one row that describes the installation.
    Control,
    /// `omni_box_migrations`: which migrations were applied.
    Migrations,
}

impl Table {
    pub(crate) const ALL: [Self; 8] = [
        Self::OutboxEvents,
        Self::InboxEvents,
        Self::OutboxLanes,
        Self::OutboxRelays,
        Self::InboxPartitions,
        Self::Quarantine,
        Self::Control,
        Self::Migrations,
    ];

    /// Its name unless another is configured, and its placeholder in the SQL.
    pub fn default_name(self) -> &'static str {
        match self {
            Self::OutboxEvents => "outbox_events",
            Self::InboxEvents => "inbox_events",
            Self::OutboxLanes => "outbox_lanes",
            Self::OutboxRelays => "outbox_relays",
            Self::InboxPartitions => "inbox_partitions",
            Self::Quarantine => "inbox_quarantine",
            Self::Control => "omni_box_control",
            Self::Migrations => "omni_box_migrations",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.default_name())
    }
}

/// Settings of a [`SqliteStore`](crate::SqliteStore). The default is the usual names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteConfig {
    names: [String; Table::ALL.len()],
    pub(crate) busy_timeout: Duration,
    pub(crate) migrate_wait: Duration,
    pub(crate) max_connections: u32,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self {
            names: Table::ALL.map(|table| table.default_name().to_owned()),
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
        &self.names[table as usize]
    }

    /// A table's name, quoted, as it stands in SQL.
    pub fn quoted(&self, table: Table) -> String {
        quote(self.table(table))
    }

    /// How long the write lock is waited for.
    pub fn busy_timeout(&self) -> Duration {
        self.busy_timeout
    }

    /// The SQL that [`SqliteStore::migrate`](crate::SqliteStore::migrate) runs on an empty file, for those who apply it by other means. It
    /// records itself, so that `migrate` finds nothing left to do.
    pub fn migration_sql(&self) -> String {
        migrate::sql(self)
    }

    /// Puts the configured names into SQL with placeholders: `{{outbox_events}}`, `{{outbox_events_hot}}` (an index or constraint, whose
    /// name derives from that of its table), and the expressions of [`Self::resolve`].
    pub(crate) fn render(&self, template: &str) -> String {
        let mut sql = String::with_capacity(template.len() + 256);
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").expect("a placeholder of our own SQL is closed");
            sql.push_str(before);
            sql.push_str(&self.resolve(name));
            rest = after;
        }
        sql.push_str(rest);
        sql
    }

    fn resolve(&self, placeholder: &str) -> String {
        match placeholder {
            "clock" => {
                let control = self.quoted(Table::Control);
                return format!("(select {MACHINE_CLOCK} + c.clock_offset_ms * 1000 from {control} c)");
            }
            "machine_clock" => return MACHINE_CLOCK.to_owned(),
            "uuid" => return UUID.to_owned(),
            "outbox_columns" => return crate::row::OUTBOX_COLUMNS.to_owned(),
            "inbox_columns" => return crate::row::INBOX_COLUMNS.to_owned(),
            _ => {}
        }
        if let Some(column) = placeholder.strip_prefix("is_uuid:") {
            return format!(
                "length({column}) = 36 and {column} glob '????????-????-????-????-????????????' \
                 and replace({column}, '-', '') not glob '*[^0-9a-f]*' and length(replace({column}, '-', '')) = 32"
            );
        }
        let of =
            |table: &Table| placeholder.strip_prefix(table.default_name()).map(|suffix| (*table, suffix));
        match Table::ALL.iter().find_map(of) {
            Some((table, "")) => self.quoted(table),
            Some((table, suffix)) => quote(&self.derived(table, suffix)),
            None => unreachable!("a placeholder of our own SQL names a table: {placeholder}"),
        }
    }

    /// The name of an index or constraint of a table.
    pub(crate) fn derived(&self, table: Table, suffix: &str) -> String {
        format!("{}{suffix}", self.table(table))
    }
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
        self.config.names[table as usize] = name.into();
        self
    }

    /// How long the write lock is waited for; 5 s. The lease TTL of relays on the same file must be longer than this and the handlers'
    /// timeout together.
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
    /// (case does not count); when the busy timeout is under a millisecond or over an hour; when there are no connections.
    pub fn build(self) -> Result<SqliteConfig> {
        let config = self.config;
        for (index, table) in Table::ALL.into_iter().enumerate() {
            check_name(table, config.table(table))?;
            let same = |other: &&Table| config.table(**other).eq_ignore_ascii_case(config.table(table));
            if let Some(other) = Table::ALL[..index].iter().find(same) {
                return Err(misconfigured(format!("tables {other} and {table} have the same name")));
            }
        }
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

fn check_name(table: Table, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(misconfigured(format!("the name of {table} is empty")));
    }
    if name.contains('\0') {
        return Err(misconfigured(format!("the name of {table} contains a NUL character")));
    }
    if name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_")) {
        return Err(misconfigured(format!(
            "the name of {table} begins with sqlite_, which SQLite keeps for itself"
        )));
    }
    Ok(())
}

pub(crate) fn misconfigured(message: String) -> Error {
    Error::new(ErrorKind::Misconfigured, message)
}

/// Quotes an identifier.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
