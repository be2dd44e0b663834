//! Compares the schema with what this program needs. Reads only.

use std::collections::HashMap;
use std::fmt;

use omni_box_core::Result;
use omni_box_sql::Dialect;
use sqlx::SqliteConnection;

use super::{MIGRATIONS, SCHEMA_VERSION, applied};
use crate::error::failed;
use crate::{SqliteConfig, SqliteStore, SqliteTx, Table};

/// One way in which a file is not what this program needs. `Display` says it in words.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaDifference {
    /// The file is in another journal mode than WAL: readers and the writer wait for each other.
    NotWal {
        /// The mode it is in.
        found: String,
    },
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
    /// An index is not there.
    MissingIndex {
        /// The table.
        table: String,
        /// The index.
        index: String,
    },
    /// A migration was not applied.
    MissingMigration(i64),
    /// The migration that was applied under this number is not the one this program knows.
    UnexpectedChecksum(i64),
    /// The schema was made by a newer program.
    NewerSchema {
        /// The version found.
        found: i64,
        /// The version this program knows.
        known: i64,
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
            Self::NotWal { found } => write!(f, "the journal mode is {found}, needs to be wal"),
            Self::MissingTable(table) => write!(f, "table {table} is missing"),
            Self::MissingColumn { table, column } => write!(f, "column {column} of table {table} is missing"),
            Self::WrongType { table, column, found, expected } => {
                write!(f, "column {column} of table {table} is {found}, needs to be {expected}")
            }
            Self::MissingIndex { table, index } => write!(f, "index {index} of table {table} is missing"),
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

/// A table's columns by type, and its indexes.
struct Expected {
    table: Table,
    columns: &'static [(&'static str, &'static str)],
    indexes: &'static [&'static str],
}

const EXPECTED: [Expected; 8] = [
    Expected {
        table: Table::OutboxEvents,
        columns: &[
            (
                "text",
                "id event_type aggregate_type aggregate_id topic partition_key payload headers trace_id correlation_id \
                 causation_id idempotency_key schema_version status last_error locked_by",
            ),
            (
                "integer",
                "seq attempts_made max_attempts scheduled_at completed_at locked_at created_at updated_at lane deferred held head \
                 hold_until",
            ),
        ],
        indexes: &["_id", "_idempotency", "_hot", "_due", "_retry", "_heads", "_followers", "_completed"],
    },
    Expected {
        table: Table::InboxEvents,
        columns: &[
            (
                "text",
                "id message_id consumer_group event_type source payload headers trace_id correlation_id causation_id \
                 idempotency_key schema_version status last_error locked_by partition_key source_topic",
            ),
            (
                "integer",
                "attempts_made max_attempts scheduled_at completed_at locked_at created_at updated_at source_partition \
                 source_offset produced_at",
            ),
            ("blob", "digest raw_key"),
        ],
        indexes: &["_id", "_message", "_pending", "_completed"],
    },
    Expected {
        table: Table::OutboxLanes,
        columns: &[("text", "owner worker"), ("integer", "lane epoch leased_until idle")],
        indexes: &[],
    },
    Expected {
        table: Table::OutboxRelays,
        columns: &[("text", "owner worker"), ("integer", "alive_until")],
        indexes: &[],
    },
    Expected {
        table: Table::InboxPartitions,
        columns: &[("text", "consumer_group topic worker"), ("integer", "partition attached_at clean")],
        indexes: &[],
    },
    Expected {
        table: Table::Quarantine,
        columns: &[
            ("text", "id consumer_group topic headers error"),
            ("integer", "partition offset produced_at created_at"),
            ("blob", "key value"),
        ],
        indexes: &["_id", "_position"],
    },
    Expected {
        table: Table::Control,
        columns: &[
            ("text", "installation delivery_mode"),
            ("integer", "singleton schema_version lanes clock_offset_ms"),
        ],
        indexes: &[],
    },
    Expected {
        table: Table::Migrations,
        columns: &[("text", "name checksum"), ("integer", "version applied_at")],
        indexes: &[],
    },
];

impl SqliteStore {
    /// Compares the file with what this program needs; empty if it is that. Changes nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn verify(&self) -> Result<Vec<SchemaDifference>> {
        let mut tx = SqliteTx::begin_read(&self.pool).await?;
        let mut differences = Vec::new();
        let found: String = sqlx::query_scalar("pragma journal_mode")
            .fetch_one(&mut *tx)
            .await
            .map_err(failed("read the journal mode"))?;
        if found != "wal" {
            differences.push(SchemaDifference::NotWal { found });
        }
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
    conn: &mut SqliteConnection,
    config: &SqliteConfig,
    expected: &Expected,
    differences: &mut Vec<SchemaDifference>,
) -> Result<()> {
    let table = config.table(expected.table).to_owned();
    let columns = columns(conn, &table).await?;
    if columns.is_empty() {
        differences.push(SchemaDifference::MissingTable(table));
        return Ok(());
    }
    for (wanted, names) in expected.columns {
        for column in names.split(' ') {
            match columns.get(column) {
                None => differences.push(SchemaDifference::MissingColumn {
                    table: table.clone(),
                    column: column.to_owned(),
                }),
                Some(found) if !found.eq_ignore_ascii_case(wanted) => {
                    differences.push(SchemaDifference::WrongType {
                        table: table.clone(),
                        column: column.to_owned(),
                        found: found.to_ascii_lowercase(),
                        expected: (*wanted).to_owned(),
                    });
                }
                Some(_) => {}
            }
        }
    }
    let indexes = indexes(conn, &table).await?;
    for suffix in expected.indexes {
        let index = config.derived(expected.table, suffix);
        if !indexes.contains(&index) {
            differences.push(SchemaDifference::MissingIndex { table: table.clone(), index });
        }
    }
    Ok(())
}

/// Type by name, generated columns too.
async fn columns(conn: &mut SqliteConnection, table: &str) -> Result<HashMap<String, String>> {
    let rows: Vec<(String, String)> = sqlx::query_as("select name, type from pragma_table_xinfo(?1)")
        .bind(table)
        .fetch_all(conn)
        .await
        .map_err(failed("read the columns of a table"))?;
    Ok(rows.into_iter().collect())
}

async fn indexes(conn: &mut SqliteConnection, table: &str) -> Result<Vec<String>> {
    sqlx::query_scalar("select name from pragma_index_list(?1)")
        .bind(table)
        .fetch_all(conn)
        .await
        .map_err(failed("read the indexes of a table"))
}

/// What the ledger says.
pub(super) fn of_ledger(applied: &[(i64, String)]) -> Vec<SchemaDifference> {
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
