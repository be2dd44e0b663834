//! Rows of PostgreSQL, column by column.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use omni_box_core::EventId;
use omni_box_sql::{Columns, moment};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgRow, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Postgres, Row, Type};
use uuid::Uuid;

/// A point in time as PostgreSQL has it; those that chrono cannot hold (`infinity`) become the nearest it can.
struct Moment(DateTime<Utc>);

impl Type<Postgres> for Moment {
    fn type_info() -> PgTypeInfo {
        <DateTime<Utc> as Type<Postgres>>::type_info()
    }
}

impl<'r> Decode<'r, Postgres> for Moment {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        /// 2000-01-01, from which PostgreSQL counts microseconds.
        const EPOCH_MICROS: i64 = 946_684_800_000_000;
        let micros = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        Ok(Self(moment(micros.saturating_add(EPOCH_MICROS))))
    }
}

/// An integer of any width.
struct Integer(i64);

impl Type<Postgres> for Integer {
    fn type_info() -> PgTypeInfo {
        <i64 as Type<Postgres>>::type_info()
    }

    fn compatible(of: &PgTypeInfo) -> bool {
        <i64 as Type<Postgres>>::compatible(of)
            || <i32 as Type<Postgres>>::compatible(of)
            || <i16 as Type<Postgres>>::compatible(of)
    }
}

impl<'r> Decode<'r, Postgres> for Integer {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let bytes = value.as_bytes()?;
        Ok(Self(match bytes.len() {
            2 => i16::from_be_bytes(bytes.try_into()?).into(),
            4 => i32::from_be_bytes(bytes.try_into()?).into(),
            _ => i64::from_be_bytes(bytes.try_into()?),
        }))
    }
}

/// Reads the columns of a row one after the other.
pub(crate) struct Reader<'r> {
    row: &'r PgRow,
    at: usize,
}

impl<'r> Reader<'r> {
    pub(crate) fn new(row: &'r PgRow) -> Self {
        Self { row, at: 0 }
    }

    fn next<T: Decode<'r, Postgres> + Type<Postgres>>(&mut self) -> sqlx::Result<T> {
        self.at += 1;
        self.row.try_get(self.at - 1)
    }
}

impl<'r> Columns<'r> for Reader<'r> {
    fn text(&mut self) -> sqlx::Result<Cow<'r, str>> {
        self.next().map(Cow::Borrowed)
    }

    fn optional_text(&mut self) -> sqlx::Result<Option<Cow<'r, str>>> {
        Ok(self.next::<Option<&str>>()?.map(Cow::Borrowed))
    }

    fn integer(&mut self) -> sqlx::Result<i64> {
        Ok(self.next::<Integer>()?.0)
    }

    fn optional_integer(&mut self) -> sqlx::Result<Option<i64>> {
        Ok(self.next::<Option<Integer>>()?.map(|integer| integer.0))
    }

    fn boolean(&mut self) -> sqlx::Result<bool> {
        self.next()
    }

    fn uuid(&mut self) -> sqlx::Result<Uuid> {
        self.next()
    }

    fn optional_uuid(&mut self) -> sqlx::Result<Option<Uuid>> {
        self.next()
    }

    fn time(&mut self) -> sqlx::Result<DateTime<Utc>> {
        Ok(self.next::<Moment>()?.0)
    }

    fn optional_time(&mut self) -> sqlx::Result<Option<DateTime<Utc>>> {
        Ok(self.next::<Option<Moment>>()?.map(|moment| moment.0))
    }

    fn optional_bytes(&mut self) -> sqlx::Result<Option<Vec<u8>>> {
        self.next()
    }
}

/// Ids as an array has them.
pub(crate) fn uuids(ids: &[EventId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.as_uuid()).collect()
}
