//! Settings: where the tables are, and what they are called.

use std::time::Duration;

use omni_box_core::{Error, ErrorKind, Result};
use omni_box_sql::{Dialect, MigrationSql, Table, TableNames, check_name};

use crate::migrations::MIGRATIONS;

/// Longest name PostgreSQL keeps, in bytes.
const NAME_BYTES: usize = 63;

/// How far a session's clock is ahead of the server's: nothing, unless a test moves it.
const CLOCK_OFFSET: &str =
    "coalesce(nullif(current_setting('omni_box.clock_offset', true), ''), '0')::interval";

/// Whether relays are woken by the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listen {
    /// One connection of its own LISTENs.
    Dedicated,
    /// None does. Relays poll, and are woken in process; those of other processes find what this one enqueues by their polls. No
    /// transaction notifies, so that none waits for another to commit, and `PREPARE TRANSACTION` can be used.
    ///
    /// Behind PgBouncer in transaction mode it must be this. A LISTEN would stay on a connection that others use next, and the
    /// notifications would break their statements. sqlx prepares statements by name, so PgBouncer must be 1.21 or later with
    /// `max_prepared_statements` above 0. Nor are transactions of handlers sealed then: a handler that ends one would leave a setting of
    /// its session to others. Each message of a group has a savepoint instead.
    Off,
}

/// Settings of a [`PgStore`](crate::PgStore). The default is the schema `public` with the usual names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgConfig {
    schema: String,
    names: TableNames,
    pub(crate) listen: Listen,
    pub(crate) migrate_wait: Duration,
}

impl Default for PgConfig {
    fn default() -> Self {
        Self {
            schema: "public".to_owned(),
            names: TableNames::default(),
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
        self.names.get(table)
    }

    /// A table's name, qualified by the schema and quoted, as it stands in SQL.
    pub fn qualified(&self, table: Table) -> String {
        format!("{}.{}", self.quote(&self.schema), self.quote(self.table(table)))
    }

    /// The SQL that [`PgStore::migrate`](crate::PgStore::migrate) runs on an empty schema, as one transaction; see
    /// [`migrations`](Self::migrations) for its parts.
    pub fn migration_sql(&self) -> String {
        let all: String = self.migrations().into_iter().map(|migration| migration.sql).collect();
        format!("begin;\n{all}commit;\n")
    }

    /// Each migration as SQL without transaction control, for those who apply them by other means: sqlx's migrator, Flyway, an
    /// administrator. Each records itself, so that [`PgStore::migrate`](crate::PgStore::migrate) finds nothing left to do.
    ///
    /// ```
    /// for migration in omni_box_postgres::PgConfig::default().migrations() {
    ///     println!("-- V{}__omni_box_{}.sql\n{}", migration.version, migration.name, migration.sql);
    /// }
    /// ```
    pub fn migrations(&self) -> Vec<MigrationSql> {
        MIGRATIONS.each(self, &format!("create schema if not exists {};\n", self.quote(self.schema())))
    }

    /// Whether writers wake relays by NOTIFY.
    pub(crate) fn wakes(&self) -> bool {
        self.listen == Listen::Dedicated
    }

    /// Whether transactions of handlers are sealed, which sets the session to read only meanwhile.
    pub(crate) fn seals(&self) -> bool {
        self.listen == Listen::Dedicated
    }

    /// The name of the function by which others enqueue: of two installations in one schema, each has its own.
    pub(crate) fn enqueue(&self) -> String {
        let table = Table::OutboxEvents;
        if self.table(table) == table.default_name() {
            return "enqueue".to_owned();
        }
        self.derived(table, "_enqueue")
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

impl Dialect for PgConfig {
    fn names(&self) -> &TableNames {
        &self.names
    }

    fn expression(&self, placeholder: &str) -> Option<String> {
        Some(match placeholder {
            "schema" => self.quote(&self.schema),
            "enqueue" => format!("{}.{}", self.quote(&self.schema), self.quote(&self.enqueue())),
            "channel" => self.channel(),
            "clock" => format!("(select clock_timestamp() + {CLOCK_OFFSET})"),
            "statement_clock" => format!("(statement_timestamp() + {CLOCK_OFFSET})"),
            "server" => {
                let table = self.qualified(Table::OutboxEvents).replace('\'', "''");
                format!(
                    "(extract(epoch from pg_postmaster_start_time()) || ':' || to_regclass('{table}')::oid::text)"
                )
            }
            "outbox_is_large" => is_large(&self.qualified(Table::OutboxEvents)),
            "inbox_is_large" => is_large(&self.qualified(Table::InboxEvents)),
            "line" => line(""),
            _ => line(&format!("{}.", placeholder.strip_prefix("line:")?)),
        })
    }

    fn qualified(&self, table: Table) -> String {
        self.qualified(table)
    }

    /// `json` and `jsonb` alike.
    fn json_text(&self, column: &str) -> String {
        format!("{column}::text")
    }

    /// Cut to fit, and then told apart by a hash of the whole.
    fn derived(&self, table: Table, suffix: &str) -> String {
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
        self.config.names.set(table, name);
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
        check_length("schema", &config.schema)?;
        config.names.check(check_length, |one, other| one == other)?;
        Ok(config)
    }
}

/// Whether a table is so large that a plan by index is better than to read all of it.
fn is_large(qualified: &str) -> String {
    format!("coalesce(pg_relation_size(to_regclass('{}')) >= 1048576, false)", qualified.replace('\'', "''"))
}

/// The line that a message with a place in a partition waits in, within its group; the index is on the same expression.
fn line(of: &str) -> String {
    format!(
        "(hashtextextended(coalesce({of}source_topic, '') || chr(31) || coalesce({of}source_partition, 0)::text || chr(31) \
         || coalesce('k' || {of}partition_key, 'r' || md5({of}raw_key), ''), 0) & 9223372036854775807)"
    )
}

fn check_length(what: &str, name: &str) -> Result<()> {
    let length = name.len();
    if length > NAME_BYTES {
        let message = format!("the name of {what} has {length} bytes, needs 1 to {NAME_BYTES}");
        return Err(Error::new(ErrorKind::Misconfigured, message));
    }
    Ok(())
}

/// FNV-1a, 64 bits: names on the server derive from it, so it must never change.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
