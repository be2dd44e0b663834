//! What a database's SQL looks like.

use crate::{Table, TableNames};

/// What a database's SQL looks like, and what the tables are called in it. The settings of a store implement it.
///
/// - Nothing of it depends on the time: statements are rendered once, and what a migration has made is found again by the same names.
/// - No two tables have one name, and a [`derived`](Self::derived) name is nothing else's: names were [checked](TableNames::check).
pub trait Dialect {
    /// What the tables are called.
    fn names(&self) -> &TableNames;

    /// The SQL in place of a placeholder that names no table, such as `{{clock}}`; `None` if there is no such placeholder.
    fn expression(&self, placeholder: &str) -> Option<String>;

    /// Quotes an identifier, so that every name stands for itself; by double quotes, as the SQL standard has it.
    fn quote(&self, name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    /// A table as it stands in SQL: quoted, and qualified where the database has schemas.
    fn qualified(&self, table: Table) -> String {
        self.quote(self.names().get(table))
    }

    /// A column that holds JSON, as it is selected to be read as text; the column itself, if the database has JSON as text.
    fn json_text(&self, column: &str) -> String {
        column.to_owned()
    }

    /// The name of an index or constraint of a table, not quoted. A database that cuts names must cut them here, and keep them apart.
    fn derived(&self, table: Table, suffix: &str) -> String {
        format!("{}{suffix}", self.names().get(table))
    }
}
