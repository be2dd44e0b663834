//! Rows of the application: what its handlers do, for tests to look at.

use std::sync::Arc;

use omni_box_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::MemoryConn;
use super::key::LockKey;
use super::state::State;
use super::tables::{Record, Tables};

impl MemoryConn {
    /// Inserts a row. Tables need not be made.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when the table has the key already. [`Contention`](ErrorKind::Contention) when another
    /// transaction has changed the row since this one began: run the whole transaction again. [`Invalid`](ErrorKind::Invalid) when
    /// `row` cannot be serialized.
    pub async fn insert<T: Serialize + ?Sized>(&mut self, table: &str, key: &str, row: &T) -> Result<()> {
        let json = self.lock_record(table, key, Some(row)).await?;
        let place = (table.to_owned(), key.to_owned());
        if self.view.records.contains_key(&place) {
            let error = format!("table {table} has a row of the key {key:?} already");
            return self.finish(Err(Error::new(ErrorKind::Conflict, error)));
        }
        self.write_record(place, json);
        Ok(())
    }

    /// Inserts a row, or replaces the one with its key.
    ///
    /// # Errors
    /// [`Contention`](ErrorKind::Contention) and [`Invalid`](ErrorKind::Invalid) as for [`insert`](Self::insert).
    pub async fn put<T: Serialize + ?Sized>(&mut self, table: &str, key: &str, row: &T) -> Result<()> {
        let json = self.lock_record(table, key, Some(row)).await?;
        self.write_record((table.to_owned(), key.to_owned()), json);
        Ok(())
    }

    /// Deletes a row; whether there was one.
    ///
    /// # Errors
    /// [`Contention`](ErrorKind::Contention) as for [`insert`](Self::insert).
    pub async fn delete(&mut self, table: &str, key: &str) -> Result<bool> {
        let json = self.lock_record(table, key, None::<&()>).await?;
        let place = (table.to_owned(), key.to_owned());
        let was_there = self.view.records.contains_key(&place);
        self.write_record(place, json);
        Ok(was_there)
    }

    /// The row of a key.
    ///
    /// # Errors
    /// [`Decode`](ErrorKind::Decode) when it is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, table: &str, key: &str) -> Result<Option<T>> {
        self.check()?;
        let record = self.view.records.get(&(table.to_owned(), key.to_owned()));
        record.map(|record| decode(table, key, record)).transpose()
    }

    /// All rows of a table with their keys, in the order of the keys.
    ///
    /// # Errors
    /// [`Decode`](ErrorKind::Decode) when one is not a `T`.
    pub fn scan<T: DeserializeOwned>(&self, table: &str) -> Result<Vec<(String, T)>> {
        self.check()?;
        self.view.scan(table)
    }

    /// Locks a row to write it; the row as JSON.
    async fn lock_record<T: Serialize + ?Sized>(
        &mut self,
        table: &str,
        key: &str,
        row: Option<&T>,
    ) -> Result<Option<Arc<str>>> {
        self.check()?;
        let json = row.map(serde_json::to_string).transpose();
        let json =
            json.map_err(|error| Error::invalid("row cannot be serialized as JSON").with_source(error))?;
        let locked = self.lock_unchanged(&(table.to_owned(), key.to_owned())).await;
        self.finish(locked)?;
        Ok(json.map(Into::into))
    }

    /// Locks a row, unless another transaction has changed it since this one began.
    async fn lock_unchanged(&mut self, place: &(String, String)) -> Result<()> {
        let lock = LockKey::Record(place.0.clone(), place.1.clone());
        if self.locks.contains(&lock) {
            return Ok(());
        }
        let (tx, snapshot) = (self.tx, &self.snapshot);
        let version = |tables: &Tables| tables.records.get(place).map(|record| record.version);
        let attempt = |state: &mut State| {
            if version(&state.tables) != version(snapshot) {
                return Some(false);
            }
            state.try_lock(&lock, tx)
        };
        if !self.shared.wait_for(self.longest_wait, attempt).await? {
            let (table, key) = place;
            let error = format!(
                "another transaction has changed the row {key:?} of table {table}, run this one again"
            );
            return Err(Error::new(ErrorKind::Contention, error));
        }
        self.locks.push(lock);
        Ok(())
    }

    fn write_record(&mut self, place: (String, String), json: Option<Arc<str>>) {
        match json {
            Some(json) => self.view.records.insert_mut(place.clone(), Record { json, version: 0 }),
            None => {
                self.view.records.remove_mut(&place);
            }
        }
        self.writes.records.insert(place);
    }
}

impl Tables {
    /// All rows of a table of the application.
    pub(super) fn scan<T: DeserializeOwned>(&self, table: &str) -> Result<Vec<(String, T)>> {
        let rows = self.records.range((table.to_owned(), String::new())..);
        rows.take_while(|((of, _), _)| of == table)
            .map(|((_, key), record)| Ok((key.clone(), decode(table, key, record)?)))
            .collect()
    }
}

/// The error repeats nothing of the row.
fn decode<T: DeserializeOwned>(table: &str, key: &str, record: &Record) -> Result<T> {
    serde_json::from_str(&record.json).map_err(|error| {
        let (what, line, column) = (std::any::type_name::<T>(), error.line(), error.column());
        let message =
            format!("row {key:?} of table {table} does not fit {what} (line {line} column {column})");
        Error::new(ErrorKind::Decode, message)
    })
}
