//! Rows of SQLite, column by column.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use omni_box_sql::{Columns, moment};
use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteRow, SqliteTypeInfo, SqliteValueRef};
use sqlx::{Decode, Row, Sqlite, Type};
use uuid::Uuid;

/// Text. SQLite does not look whether it is any: `cast(x'ff' as text)` goes into a strict table.
struct Text<'r>(Cow<'r, str>);

impl Type<Sqlite> for Text<'_> {
    fn type_info() -> SqliteTypeInfo {
        <str as Type<Sqlite>>::type_info()
    }
}

impl<'r> Decode<'r, Sqlite> for Text<'r> {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        <&[u8] as Decode<'r, Sqlite>>::decode(value).map(|bytes| Self(String::from_utf8_lossy(bytes)))
    }
}

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
    fn text(&mut self) -> sqlx::Result<Cow<'r, str>> {
        Ok(self.next::<Text<'r>>()?.0)
    }

    fn optional_text(&mut self) -> sqlx::Result<Option<Cow<'r, str>>> {
        Ok(self.next::<Option<Text<'r>>>()?.map(|text| text.0))
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
