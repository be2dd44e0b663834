//! Compares the schema with what this program needs. Reads only.

use std::collections::HashMap;
use std::fmt;

use omni_box_core::Result;
use omni_box_sql::Dialect;
use sqlx::PgConnection;

use super::{MIGRATIONS, SCHEMA_VERSION, applied};
use crate::error::failed;
use crate::{PgConfig, PgStore, PgTx, Table};

/// One way in which a schema is not what this program needs. `Display` says it in words.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaDifference {
    /// A table is not there.
    MissingTable(String),
    /// A column is not there.
    MissingColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A column has another type.
    WrongType {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The type it has.
        found: String,
        /// The type it needs.
        expected: String,
    },
    /// An index is not there, or not valid.
    MissingIndex {
        /// The table.
        table: String,
        /// The index.
        index: String,
    },
    /// A migration was not applied.
    MissingMigration(i32),
    /// The migration that was applied under this number is not the one this program knows.
    UnexpectedChecksum(i32),
    /// The schema was made by a newer program.
    NewerSchema {
        /// The version found.
        found: i32,
        /// The version this program knows.
        known: i32,
    },
}

impl SchemaDifference {
    /// Whether a migration mends it.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::MissingMigration(_))
    }
}

impl fmt::Display for SchemaDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingTable(table) => write!(f, "table {table} is missing"),
            Self::MissingColumn { table, column } => write!(f, "column {column} of table {table} is missing"),
            Self::WrongType { table, column, found, expected } => {
                write!(f, "column {column} of table {table} is {found}, needs to be {expected}")
            }
            Self::MissingIndex { table, index } => {
                write!(f, "index {index} of table {table} is missing or not valid")
            }
            Self::MissingMigration(version) => write!(f, "migration {version} was not applied"),
            Self::UnexpectedChecksum(version) => {
                write!(f, "migration {version} was applied with another text than this program has")
            }
            Self::NewerSchema { found, known } => {
                write!(f, "the schema has version {found}, this program knows versions up to {known}")
            }
        }
    }
}

/// A table's columns as `name type`; of two types joined by `|` either will do (tables that the Python library made have `jsonb`).
struct Expected {
    table: Table,
    columns: &'static str,
    indexes: &'static [&'static str],
}

const EXPECTED: [Expected; 8] = [
    Expected {
        table: Table::OutboxEvents,
        columns: "id uuid, event_type varchar, aggregate_type varchar, aggregate_id uuid, topic varchar, \
                  partition_key varchar, payload json|jsonb, headers jsonb, trace_id varchar, correlation_id varchar, \
                  causation_id varchar, idempotency_key varchar, schema_version varchar, status varchar, attempts_made int4, \
                  max_attempts int4, last_error varchar, scheduled_at timestamptz, completed_at timestamptz, \
                  locked_at timestamptz, locked_by varchar, created_at timestamptz, updated_at timestamptz, seq int8, \
                  lane int2, deferred bool, held bool, head bool, hold_until timestamptz",
        indexes: &["_pkey", "_idempotency", "_hot", "_due", "_retry", "_heads", "_followers"],
    },
    Expected {
        table: Table::InboxEvents,
        columns: "id uuid, message_id varchar, consumer_group varchar, event_type varchar, source varchar, \
                  payload json|jsonb, headers jsonb, trace_id varchar, correlation_id varchar, causation_id varchar, \
                  idempotency_key varchar, schema_version varchar, status varchar, attempts_made int4, max_attempts int4, \
                  last_error varchar, scheduled_at timestamptz, completed_at timestamptz, locked_at timestamptz, \
                  locked_by varchar, created_at timestamptz, updated_at timestamptz, partition_key varchar, \
                  source_topic varchar, source_partition int4, source_offset int8, produced_at timestamptz, digest bytea, \
                  raw_key bytea",
        indexes: &["_pkey", "_message", "_pending"],
    },
    Expected {
        table: Table::OutboxLanes,
        columns: "lane int2, owner uuid, worker text, epoch int8, leased_until timestamptz, idle bool",
        indexes: &["_pkey"],
    },
    Expected {
        table: Table::OutboxRelays,
        columns: "owner uuid, worker text, alive_until timestamptz",
        indexes: &["_pkey"],
    },
    Expected {
        table: Table::InboxPartitions,
        columns: "consumer_group varchar, topic varchar, partition int4, worker text, attached_at timestamptz, clean bool",
        indexes: &["_pkey"],
    },
    Expected {
        table: Table::Quarantine,
        columns: "id uuid, consumer_group varchar, topic varchar, partition int4, offset int8, key bytea, headers jsonb, \
                  value bytea, produced_at timestamptz, error text, created_at timestamptz",
        indexes: &["_pkey", "_position"],
    },
    Expected {
        table: Table::Control,
        columns: "singleton bool, installation uuid, schema_version int4, lanes int2, delivery_mode text",
        indexes: &["_pkey"],
    },
    Expected {
        table: Table::Migrations,
        columns: "version int4, name text, checksum text, applied_at timestamptz",
        indexes: &["_pkey"],
    },
];

impl PgStore {
    /// Compares the schema with what this program needs; empty if it is that. Changes nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn verify(&self) -> Result<Vec<SchemaDifference>> {
        let mut tx = PgTx::begin(&self.pool).await?;
        sqlx::query("set transaction read only")
            .execute(&mut *tx)
            .await
            .map_err(failed("verify the schema"))?;
        let mut differences = Vec::new();
        for expected in &EXPECTED {
            compare(&mut tx, &self.config, expected, &mut differences).await?;
        }
        let ledger = self.config.table(Table::Migrations);
        if !differences.contains(&SchemaDifference::MissingTable(ledger.to_owned())) {
            differences.extend(of_ledger(&applied(&mut tx, &self.config).await?));
        }
        tx.rollback().await?;
        Ok(differences)
    }
}

async fn compare(
    conn: &mut PgConnection,
    config: &PgConfig,
    expected: &Expected,
    differences: &mut Vec<SchemaDifference>,
) -> Result<()> {
    let table = config.table(expected.table).to_owned();
    let columns = columns(conn, config.schema(), &table).await?;
    if columns.is_empty() {
        differences.push(SchemaDifference::MissingTable(table));
        return Ok(());
    }
    for column in expected.columns.split(',') {
        let (column, types) = column.trim().split_once(' ').expect("name and type");
        match columns.get(column) {
            None => differences
                .push(SchemaDifference::MissingColumn { table: table.clone(), column: column.to_owned() }),
            Some(found) if types.split('|').all(|wanted| wanted != found) => {
                differences.push(SchemaDifference::WrongType {
                    table: table.clone(),
                    column: column.to_owned(),
                    found: found.clone(),
                    expected: types.to_owned(),
                });
            }
            Some(_) => {}
        }
    }
    let indexes = indexes(conn, config.schema(), &table).await?;
    for suffix in expected.indexes {
        let index = config.derived(expected.table, suffix);
        if !indexes.contains(&index) {
            differences.push(SchemaDifference::MissingIndex { table: table.clone(), index });
        }
    }
    Ok(())
}

async fn columns(conn: &mut PgConnection, schema: &str, table: &str) -> Result<HashMap<String, String>> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select a.attname::text, t.typname::text from pg_attribute a \
         join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace \
         join pg_type t on t.oid = a.atttypid \
         where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped",
    )
    .bind(schema)
    .bind(table)
    .fetch_all(conn)
    .await
    .map_err(failed("read the columns of a table"))?;
    Ok(rows.into_iter().collect())
}

async fn indexes(conn: &mut PgConnection, schema: &str, table: &str) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "select i.relname::text from pg_index x join pg_class i on i.oid = x.indexrelid \
         join pg_class c on c.oid = x.indrelid join pg_namespace n on n.oid = c.relnamespace \
         where n.nspname = $1 and c.relname = $2 and x.indisvalid",
    )
    .bind(schema)
    .bind(table)
    .fetch_all(conn)
    .await
    .map_err(failed("read the indexes of a table"))
}

/// What the ledger says.
pub(super) fn of_ledger(applied: &[(i32, String)]) -> Vec<SchemaDifference> {
    let mut differences = Vec::new();
    for migration in &MIGRATIONS {
        match applied.iter().find(|(version, _)| *version == migration.version) {
            None => differences.push(SchemaDifference::MissingMigration(migration.version)),
            Some((version, checksum)) if *checksum != migration.checksum() => {
                differences.push(SchemaDifference::UnexpectedChecksum(*version));
            }
            Some(_) => {}
        }
    }
    if let Some((found, _)) = applied.iter().rfind(|(version, _)| *version > SCHEMA_VERSION) {
        differences.push(SchemaDifference::NewerSchema { found: *found, known: SCHEMA_VERSION });
    }
    differences
}
