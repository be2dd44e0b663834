//! The tables of one kind of event, inside a transaction.

use std::collections::HashSet;
use std::marker::PhantomData;

use chrono::{DateTime, Utc};
use omni_box_core::{
    BatchSize, Created, Error, ErrorKind, Event, EventId, EventStatus, FetchFilters, InboxEvent,
    LifecycleRecord, OutboxEvent, Result,
};
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use crate::failure::failed;
use crate::row::{Kind, Row};

/// Where a row stands.
type Place = (bool, i64, u64);
/// Counts what was stored.
const SEQUENCES: TableDefinition<&str, u64> = TableDefinition::new("sequences");

/// Group, topic, partition, offset and fingerprint.
type QuarantinePlace = (&'static str, &'static str, i32, i64, [u8; 32]);
/// The rest as JSON.
pub(crate) const QUARANTINE: TableDefinition<QuarantinePlace, &[u8]> =
    TableDefinition::new("inbox_quarantine");
/// Owners of partitions that have not detached, by group, topic and number.
pub(crate) const PARTITIONS: TableDefinition<(&str, &str, i32), &str> =
    TableDefinition::new("inbox_partitions");

/// Makes all tables that are not there.
pub(crate) fn create_tables(tx: &WriteTransaction) -> Result<()> {
    Tables::<OutboxEvent>::open(tx)?;
    Tables::<InboxEvent>::open(tx)?;
    tx.open_table(QUARANTINE).map_err(failed)?;
    tx.open_table(PARTITIONS).map_err(failed)?;
    Ok(())
}

/// The tables, to be changed.
pub(crate) struct Tables<'tx, E: Kind> {
    rows: Table<'tx, u128, &'static [u8]>,
    identities: Table<'tx, &'static str, u128>,
    line: Table<'tx, Place, (u128, &'static str)>,
    claims: Table<'tx, u128, &'static str>,
    sequences: Table<'tx, &'static str, u64>,
    kind: PhantomData<E>,
}

impl<'tx, E: Kind> Tables<'tx, E> {
    /// Rows by their ids.
    pub(crate) const ROWS: TableDefinition<'static, u128, &'static [u8]> = TableDefinition::new(E::TABLES[0]);
    /// Ids by what is stored once.
    const IDENTITIES: TableDefinition<'static, &'static str, u128> = TableDefinition::new(E::TABLES[1]);
    /// Pending rows in the order of their places: id and key of each.
    pub(crate) const LINE: TableDefinition<'static, Place, (u128, &'static str)> =
        TableDefinition::new(E::TABLES[2]);
    /// Keys of pending rows that a worker has claimed, by their ids.
    pub(crate) const CLAIMS: TableDefinition<'static, u128, &'static str> =
        TableDefinition::new(E::TABLES[3]);

    pub(crate) fn open(tx: &'tx WriteTransaction) -> Result<Self> {
        let rows = tx.open_table(Self::ROWS).map_err(failed)?;
        let identities = tx.open_table(Self::IDENTITIES).map_err(failed)?;
        let line = tx.open_table(Self::LINE).map_err(failed)?;
        let claims = tx.open_table(Self::CLAIMS).map_err(failed)?;
        let sequences = tx.open_table(SEQUENCES).map_err(failed)?;
        Ok(Self { rows, identities, line, claims, sequences, kind: PhantomData })
    }

    pub(crate) fn get(&self, id: EventId) -> Result<Option<Row<E>>> {
        get(&self.rows, id.as_uuid().as_u128())
    }

    pub(crate) fn by_identity(&self, identity: &str) -> Result<Option<E>> {
        let known = self.identities.get(identity).map_err(failed)?.map(|id| id.value());
        let row = known.map(|id| get::<E>(&self.rows, id)).transpose()?.flatten();
        Ok(row.map(|row| row.event()))
    }

    /// Stores an event, unless its identity is there.
    pub(crate) fn create(&mut self, event: &E, now: DateTime<Utc>) -> Result<Created<E>> {
        let (id, identity) = (event.id().as_uuid().as_u128(), event.identity());
        if let Some(identity) = &identity {
            let known = self.identities.get(identity.as_str()).map_err(failed)?.map(|id| id.value());
            if let Some(row) = known.map(|id| get::<E>(&self.rows, id)).transpose()?.flatten() {
                return Ok(Created::Existing(row.event()));
            }
        }
        if self.get(event.id())?.is_some() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("id {} is that of another event", event.id()),
            ));
        }
        if let Some(identity) = &identity {
            self.identities.insert(identity.as_str(), id).map_err(failed)?;
        }
        let last = self.sequences.get(E::TABLES[0]).map_err(failed)?.map_or(0, |last| last.value());
        self.sequences.insert(E::TABLES[0], last + 1).map_err(failed)?;
        let row = Row::new(event, last + 1, now);
        self.put(&row)?;
        Ok(Created::New(row.event()))
    }

    /// Changes a row, if it is pending and `applies` says so; whether it was changed.
    pub(crate) fn change(
        &mut self,
        id: EventId,
        applies: impl FnOnce(&LifecycleRecord) -> bool,
        change: impl FnOnce(&mut LifecycleRecord),
    ) -> Result<bool> {
        let Some(mut row) = self.get(id)? else { return Ok(false) };
        if row.life.status != EventStatus::Pending || !applies(&row.life) {
            return Ok(false);
        }
        self.line.remove(row.place()).map_err(failed)?;
        row.change(change);
        self.put(&row)?;
        Ok(true)
    }

    fn put(&mut self, row: &Row<E>) -> Result<()> {
        let (event, json) = (row.event(), row.to_json()?);
        let id = event.id().as_uuid().as_u128();
        self.rows.insert(id, json.as_slice()).map_err(failed)?;
        self.claims.remove(id).map_err(failed)?;
        if row.life.status == EventStatus::Pending {
            let key = event.key().unwrap_or_else(|| event.id().to_string());
            self.line.insert(row.place(), (id, key.as_str())).map_err(failed)?;
            if row.life.lock.is_some() {
                self.claims.insert(id, key.as_str()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Claims what is due.
    pub(crate) fn claim(
        &mut self,
        asked: &Asked,
        claim: impl Fn(&mut LifecycleRecord),
        now: DateTime<Utc>,
    ) -> Result<Vec<E>> {
        let mut claimed = due::<E>(&self.rows, &self.line, &self.claims, asked, now)?;
        for event in &mut claimed {
            self.change(event.id(), |_| true, &claim)?;
            *event = self.get(event.id())?.map_or_else(|| event.clone(), |row| row.event());
        }
        Ok(claimed)
    }
}

impl Tables<'_, InboxEvent> {
    /// Puts a message that was given up in line again, where it was sent again.
    pub(crate) fn reopen(
        &mut self,
        given_up: &InboxEvent,
        again: &InboxEvent,
        now: DateTime<Utc>,
    ) -> Result<InboxEvent> {
        let Some(mut row) = self.get(given_up.id())? else { return Ok(given_up.clone()) };
        row.reopen(again, now);
        self.put(&row)?;
        Ok(row.event())
    }
}

pub(crate) fn get<E: Kind>(
    rows: &impl ReadableTable<u128, &'static [u8]>,
    id: u128,
) -> Result<Option<Row<E>>> {
    rows.get(id).map_err(failed)?.map(|json| Row::from_json(json.value())).transpose()
}

/// What is fetched.
pub(crate) struct Asked {
    pub(crate) limit: BatchSize,
    pub(crate) filters: FetchFilters,
    /// Claims from before it do not count.
    pub(crate) fresh_since: Option<DateTime<Utc>>,
}

/// Due events, oldest first: of each key its head, and none of a key that a worker has claimed.
pub(crate) fn due<E: Kind>(
    rows: &impl ReadableTable<u128, &'static [u8]>,
    line: &impl ReadableTable<Place, (u128, &'static str)>,
    claims: &impl ReadableTable<u128, &'static str>,
    asked: &Asked,
    now: DateTime<Utc>,
) -> Result<Vec<E>> {
    E::check_filters(&asked.filters)?;
    let (mut due, mut seen) = (Vec::new(), HashSet::new());
    for claim in claims.iter().map_err(failed)? {
        let (id, key) = claim.map_err(failed)?;
        let claimed_at = get::<E>(rows, id.value())?.and_then(|row| row.life.lock).map(|lock| lock.at);
        if claimed_at.is_some_and(|at| asked.fresh_since.is_none_or(|since| at >= since)) {
            seen.insert(key.value().to_owned());
        }
    }
    for entry in line.iter().map_err(failed)? {
        let (place, entry) = entry.map_err(failed)?;
        let ((is_deferred, at, _), (id, key)) = (place.value(), entry.value());
        if is_deferred && at > now.timestamp_micros() || due.len() == asked.limit.get() as usize {
            break;
        }
        // a key that was seen has its head before this one, or is at work
        if !seen.insert(key.to_owned()) {
            continue;
        }
        let Some(row) = get::<E>(rows, id)? else { continue };
        let (event, is_due) = (row.event(), row.life.scheduled_at.is_none_or(|at| at <= now));
        if is_due && event.passes(&asked.filters) {
            due.push(event);
        }
    }
    Ok(due)
}
