//! Rows of SQLite, column by column.

use chrono::{DateTime, Utc};
use omni_box_sql::{Columns, moment};
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type};
use uuid::Uuid;

/// Reads the columns of a row one after the other.
pub(crate) struct Reader<'r> {
    row: &'r SqliteRow,
    at: usize,
}

impl<'r> Reader<'r> {
    pub(crate) fn new(row: &'r SqliteRow) -> Self {
        Self { row, at: 0 }
    }

    fn next<T: Decode<'r, Sqlite> + Type<Sqlite>>(&mut self) -> sqlx::Result<T> {
        self.at += 1;
        self.row.try_get(self.at - 1)
    }
}

impl<'r> Columns<'r> for Reader<'r> {
    fn text(&mut self) -> sqlx::Result<&'r str> {
        self.next()
    }

    fn optional_text(&mut self) -> sqlx::Result<Option<&'r str>> {
        self.next()
    }

    fn integer(&mut self) -> sqlx::Result<i64> {
        self.next()
    }

    fn optional_integer(&mut self) -> sqlx::Result<Option<i64>> {
        self.next()
    }

    fn boolean(&mut self) -> sqlx::Result<bool> {
        self.next()
    }

    fn uuid(&mut self) -> sqlx::Result<Uuid> {
        // the table's constraint lets nothing else in
        self.text()?.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
    }

    fn optional_uuid(&mut self) -> sqlx::Result<Option<Uuid>> {
        Ok(self.optional_text()?.and_then(|id| id.parse().ok()))
    }

    fn time(&mut self) -> sqlx::Result<DateTime<Utc>> {
        Ok(moment(self.next()?))
    }

    fn optional_time(&mut self) -> sqlx::Result<Option<DateTime<Utc>>> {
        Ok(self.next::<Option<i64>>()?.map(moment))
    }

    fn optional_bytes(&mut self) -> sqlx::Result<Option<Vec<u8>>> {
        self.next()
    }
}
