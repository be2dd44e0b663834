//! Settings: where the tables are, and what they are called.

use std::fmt;
use std::time::Duration;

use omni_box_core::{Error, ErrorKind, Result};

use crate::migrate;

/// Longest name PostgreSQL keeps, in bytes.
const NAME_BYTES: usize = 63;

/// How far a session's clock is ahead of the server's: nothing, unless a test moves it.
const CLOCK_OFFSET: &str =
    "coalesce(nullif(current_setting('omni_box.clock_offset', true), ''), '0')::interval";

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

/// Whether relays are woken by the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listen {
    /// One connection of its own LISTENs.
    Dedicated,
    /// None does: behind PgBouncer in transaction mode LISTEN does not work. Relays poll, and are woken in process.
    Off,
}

/// Settings of a [`PgStore`](crate::PgStore). The default is the schema `public` with the usual names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgConfig {
    schema: String,
    names: [String; Table::ALL.len()],
    pub(crate) listen: Listen,
    pub(crate) migrate_wait: Duration,
}

impl Default for PgConfig {
    fn default() -> Self {
        Self {
            schema: "public".to_owned(),
            names: Table::ALL.map(|table| table.default_name().to_owned()),
            listen: Listen::Dedicated,
            migrate_wait: Duration::from_secs(60),
        }
    }
}

impl PgConfig {
    /// Starts from the defaults.
    pub fn builder() -> PgConfigBuilder {
        PgConfigBuilder { config: Self::default() }
    }

    /// The schema's name, not quoted.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// A table's name, neither quoted nor qualified.
    pub fn table(&self, table: Table) -> &str {
        &self.names[table as usize]
    }

    /// A table's name, qualified by the schema and quoted, as it stands in SQL.
    pub fn qualified(&self, table: Table) -> String {
        format!("{}.{}", quote(&self.schema), quote(self.table(table)))
    }

    /// The SQL that [`PgStore::migrate`](crate::PgStore::migrate) runs on an empty schema, for those who apply it by other means. It records
    /// itself, so that `migrate` finds nothing left to do.
    pub fn migration_sql(&self) -> String {
        migrate::sql(self)
    }

    /// Puts the configured names into SQL with placeholders: `{{schema}}`, `{{outbox_events}}` (qualified), and
    /// `{{outbox_events_hot}}` (an index or constraint, whose name derives from that of its table).
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
            "schema" => return quote(&self.schema),
            "clock" => return format!("(select clock_timestamp() + {CLOCK_OFFSET})"),
            "statement_clock" => return format!("(statement_timestamp() + {CLOCK_OFFSET})"),
            "outbox_columns" => return crate::row::OUTBOX_COLUMNS.to_owned(),
            "inbox_columns" => return crate::row::INBOX_COLUMNS.to_owned(),
            _ => {}
        }
        let of =
            |table: &Table| placeholder.strip_prefix(table.default_name()).map(|suffix| (*table, suffix));
        match Table::ALL.iter().find_map(of) {
            Some((table, "")) => self.qualified(table),
            Some((table, suffix)) => quote(&self.derived(table, suffix)),
            None => unreachable!("a placeholder of our own SQL names a table: {placeholder}"),
        }
    }

    /// The name of an index or constraint of a table: cut to fit, and then told apart by a hash of the whole.
    pub(crate) fn derived(&self, table: Table, suffix: &str) -> String {
        let name = self.table(table);
        if name.len() + suffix.len() <= NAME_BYTES {
            return format!("{name}{suffix}");
        }
        let mark = format!("_{:08x}", fnv1a(name.as_bytes()) as u32);
        let mut end = NAME_BYTES - suffix.len() - mark.len();
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}{mark}{suffix}", &name[..end])
    }

    /// The channel of NOTIFY: of two installations in one database, neither wakes the other.
    pub(crate) fn channel(&self) -> String {
        format!("omni_box_{:016x}", fnv1a(self.qualified(Table::OutboxEvents).as_bytes()))
    }

    /// The key of the advisory lock under which migrations run.
    pub(crate) fn migration_lock(&self) -> i64 {
        fnv1a(format!("omni-box migrations {}", self.qualified(Table::Migrations)).as_bytes()).cast_signed()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.default_name())
    }
}

/// Builds a [`PgConfig`].
#[derive(Debug)]
#[must_use = "call build"]
pub struct PgConfigBuilder {
    config: PgConfig,
}

impl PgConfigBuilder {
    /// The schema of all tables; made by the migration if it is not there.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.config.schema = name.into();
        self
    }

    /// Another name for a table.
    pub fn table(mut self, table: Table, name: impl Into<String>) -> Self {
        self.config.names[table as usize] = name.into();
        self
    }

    /// Whether relays are woken by the database (they are, unless this says otherwise).
    pub fn listen(mut self, listen: Listen) -> Self {
        self.config.listen = listen;
        self
    }

    /// How long a migration waits for another one that is running; 60 s.
    pub fn migrate_wait(mut self, wait: Duration) -> Self {
        self.config.migrate_wait = wait;
        self
    }

    /// Checks the names.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) when a name is empty, over 63 bytes, holds a NUL character, or is given twice.
    pub fn build(self) -> Result<PgConfig> {
        let config = self.config;
        check_name("schema", &config.schema)?;
        for (index, table) in Table::ALL.into_iter().enumerate() {
            check_name(table.default_name(), config.table(table))?;
            if let Some(other) = Table::ALL[..index].iter().find(|t| config.table(**t) == config.table(table))
            {
                return Err(misconfigured(format!("tables {other} and {table} have the same name")));
            }
        }
        Ok(config)
    }
}

fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > NAME_BYTES {
        let length = name.len();
        return Err(misconfigured(format!("the name of {what} has {length} bytes, needs 1 to {NAME_BYTES}")));
    }
    if name.contains('\0') {
        return Err(misconfigured(format!("the name of {what} contains a NUL character")));
    }
    Ok(())
}

fn misconfigured(message: String) -> Error {
    Error::new(ErrorKind::Misconfigured, message)
}

/// Quotes an identifier.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// FNV-1a, 64 bits: names on the server derive from it, so it must never change.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
