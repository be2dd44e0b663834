//! Compares a schema with what a program needs.

use std::collections::HashMap;
use std::fmt;

use crate::{Dialect, Table};

/// One way in which a schema is not what this program needs. `Display` says it in words.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaDifference {
    /// The database has another setting: SQLite's `journal_mode`, in which readers and the writer wait for each other unless it is `wal`.
    WrongSetting {
        /// The setting.
        setting: &'static str,
        /// The value it has.
        found: String,
        /// The value it needs.
        expected: &'static str,
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
        /// The type it needs; of several joined by `|`, any.
        expected: String,
    },
    /// An index is not there, or not valid.
    MissingIndex {
        /// The table.
        table: String,
        /// The index.
        index: String,
    },
    /// The sequence that gives events their place is behind an event that waits, as after a restore or a cut-over that left the sequence
    /// out. New events would be sent before those that wait.
    SequenceBehind {
        /// The table, qualified and quoted as it stands in SQL.
        table: String,
        /// The last value that the sequence gave, 0 if none.
        last: i64,
        /// The greatest `seq` of an event that waits.
        pending: i64,
    },
    /// A function is not there.
    MissingFunction(String),
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

impl fmt::Display for SchemaDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongSetting { setting, found, expected } => {
                write!(f, "the setting {setting} is {found}, needs to be {expected}")
            }
            Self::MissingTable(table) => write!(f, "table {table} is missing"),
            Self::MissingColumn { table, column } => write!(f, "column {column} of table {table} is missing"),
            Self::WrongType { table, column, found, expected } => {
                write!(f, "column {column} of table {table} is {found}, needs to be {expected}")
            }
            Self::MissingIndex { table, index } => {
                write!(f, "index {index} of table {table} is missing or not valid")
            }
            Self::SequenceBehind { table, last, pending } => write!(
                f,
                "the sequence of table {table} is at {last}, and an event that waits has {pending}: new events would be sent before \
                 older ones. Set it forward: select setval(pg_get_serial_sequence('{}', 'seq'), {pending})",
                table.replace('\'', "''")
            ),
            Self::MissingFunction(function) => write!(f, "function {function} is missing"),
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

/// A table as the program needs it.
#[derive(Debug)]
pub struct ExpectedTable {
    /// The table.
    pub table: Table,
    /// Its columns as `name type`, joined by commas; of several types joined by `|` any will do. Columns that are not named may be there.
    pub columns: &'static str,
    /// What the names of its indexes have behind that of the table; see [`Dialect::derived`].
    pub indexes: &'static [&'static str],
}

impl ExpectedTable {
    /// Compares it with what the catalogue says: the table's columns with their types, none if it is not there, and its valid indexes.
    pub fn differences(
        &self,
        dialect: &(impl Dialect + ?Sized),
        columns: &HashMap<String, String>,
        indexes: &[String],
    ) -> Vec<SchemaDifference> {
        let table = || dialect.names().get(self.table).to_owned();
        if columns.is_empty() {
            return vec![SchemaDifference::MissingTable(table())];
        }
        let of_columns = self.columns.split(',').filter_map(|column| {
            let (column, expected) = column.trim().split_once(' ').expect("a column is a name and a type");
            match columns.get(column) {
                None => Some(SchemaDifference::MissingColumn { table: table(), column: column.to_owned() }),
                Some(found) if expected.split('|').all(|expected| expected != found) => {
                    Some(SchemaDifference::WrongType {
                        table: table(),
                        column: column.to_owned(),
                        found: found.clone(),
                        expected: expected.to_owned(),
                    })
                }
                Some(_) => None,
            }
        });
        let of_indexes = self.indexes.iter().filter_map(|suffix| {
            let index = dialect.derived(self.table, suffix);
            let is_there = indexes.contains(&index);
            (!is_there).then(|| SchemaDifference::MissingIndex { table: table(), index })
        });
        of_columns.chain(of_indexes).collect()
    }
}
