//! The tables of one kind of event, inside a transaction.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use omni_box_core::{
    BatchSize, Created, Error, ErrorKind, EventId, EventStatus, FetchFilters, LifecycleRecord, Result,
};
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use crate::row::{Kind, Row};
use crate::store::failed;

/// Rows by id.
pub(crate) type Rows = TableDefinition<'static, u128, &'static [u8]>;
/// Ids by what is stored once.
pub(crate) type Identities = TableDefinition<'static, &'static str, u128>;
/// Pending rows by their place, each with its id and key.
pub(crate) type Line = TableDefinition<'static, (bool, i64, u64), (u128, &'static str)>;
/// Counts what was stored.
const SEQUENCES: TableDefinition<&str, u64> = TableDefinition::new("sequences");

/// The tables, to be changed.
pub(crate) struct Tables<'tx, E: Kind> {
    tx: &'tx WriteTransaction,
    rows: Table<'tx, u128, &'static [u8]>,
    identities: Table<'tx, &'static str, u128>,
    line: Table<'tx, (bool, i64, u64), (u128, &'static str)>,
    kind: std::marker::PhantomData<E>,
}

impl<'tx, E: Kind> Tables<'tx, E> {
    pub(crate) const ROWS: Rows = TableDefinition::new(E::TABLE[0]);
    const IDENTITIES: Identities = TableDefinition::new(E::TABLE[1]);
    pub(crate) const LINE: Line = TableDefinition::new(E::TABLE[2]);

    pub(crate) fn open(tx: &'tx WriteTransaction) -> Result<Self> {
        Ok(Self {
            tx,
            rows: tx.open_table(Self::ROWS).map_err(failed)?,
            identities: tx.open_table(Self::IDENTITIES).map_err(failed)?,
            line: tx.open_table(Self::LINE).map_err(failed)?,
            kind: std::marker::PhantomData,
        })
    }

    pub(crate) fn get(&self, id: EventId) -> Result<Option<Row<E>>> {
        get(&self.rows, id.as_uuid().as_u128())
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
        let row = Row::new(event, self.next_seq()?, now);
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
        if row.life.status == EventStatus::Pending {
            // without a key, each is one of its own
            let key = event.key().unwrap_or_else(|| event.id().to_string());
            self.line.insert(row.place(), (id, key.as_str())).map_err(failed)?;
        }
        Ok(())
    }

    pub(crate) fn due(&self, asked: &Asked, now: DateTime<Utc>) -> Result<Vec<E>> {
        due(&self.rows, &self.line, asked, now)
    }

    fn next_seq(&self) -> Result<u64> {
        let mut sequences = self.tx.open_table(SEQUENCES).map_err(failed)?;
        let next = sequences.get(E::TABLE[0]).map_err(failed)?.map_or(0, |last| last.value()) + 1;
        sequences.insert(E::TABLE[0], next).map_err(failed)?;
        Ok(next)
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

/// Due events that nobody has claimed, oldest first; of each key its head.
pub(crate) fn due<E: Kind>(
    rows: &impl ReadableTable<u128, &'static [u8]>,
    line: &impl ReadableTable<(bool, i64, u64), (u128, &'static str)>,
    asked: &Asked,
    now: DateTime<Utc>,
) -> Result<Vec<E>> {
    let (mut due, mut seen) = (Vec::new(), HashSet::new());
    for entry in line.iter().map_err(failed)? {
        let (place, entry) = entry.map_err(failed)?;
        let ((is_deferred, at, _), (id, key)) = (place.value(), entry.value());
        if is_deferred && at > now.timestamp_micros() || due.len() == asked.limit.get() as usize {
            break;
        }
        if !seen.insert(key.to_owned()) {
            continue;
        }
        let Some(row) = get::<E>(rows, id)? else { continue };
        let is_fresh = |at| asked.fresh_since.is_none_or(|since| at >= since);
        let is_claimed = row.life.lock.as_ref().is_some_and(|lock| is_fresh(lock.at));
        let is_due = row.life.scheduled_at.is_none_or(|at| at <= now);
        let event = row.event();
        if event.passes(&asked.filters)? && is_due && !is_claimed {
            due.push(event);
        }
    }
    Ok(due)
}
