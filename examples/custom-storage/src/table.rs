//! The tables of one kind of event, inside a transaction.

use std::marker::PhantomData;

use chrono::{DateTime, Utc};
use omni_box_core::event::Identity;
use omni_box_core::store::{Due, EventRow};
use omni_box_core::{ClaimToken, Created, Error, ErrorKind, Event, EventId, InboxEvent, OutboxEvent, Result};
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use crate::failure::failed;

/// Where a row stands in line.
type Place = (bool, i64, i64);
/// Counts what was stored.
const SEQUENCES: TableDefinition<&str, i64> = TableDefinition::new("sequences");
/// Messages in quarantine, by what each is kept once by.
pub(crate) const QUARANTINE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("inbox_quarantine");
/// Owners of partitions that have not detached, by group, topic and number.
pub(crate) const PARTITIONS: TableDefinition<(&str, &str, i32), &str> =
    TableDefinition::new("inbox_partitions");

/// What the two kinds of event differ in.
pub trait Kind: Event {
    /// The names of its tables.
    const TABLES: [&'static str; 4];
}

impl Kind for OutboxEvent {
    const TABLES: [&'static str; 4] =
        ["outbox_events", "outbox_identities", "outbox_pending", "outbox_claims"];
}

impl Kind for InboxEvent {
    const TABLES: [&'static str; 4] = ["inbox_events", "inbox_identities", "inbox_pending", "inbox_claims"];
}

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
    identities: Table<'tx, &'static [u8], u128>,
    line: Table<'tx, Place, (u128, &'static [u8])>,
    claims: Table<'tx, u128, ()>,
    sequences: Table<'tx, &'static str, i64>,
    kind: PhantomData<E>,
}

impl<'tx, E: Kind> Tables<'tx, E> {
    /// Rows by their ids.
    pub(crate) const ROWS: TableDefinition<'static, u128, &'static [u8]> = TableDefinition::new(E::TABLES[0]);
    /// Ids by what is stored once.
    const IDENTITIES: TableDefinition<'static, &'static [u8], u128> = TableDefinition::new(E::TABLES[1]);
    /// Pending rows in the order of their places: id and order key of each.
    pub(crate) const LINE: TableDefinition<'static, Place, (u128, &'static [u8])> =
        TableDefinition::new(E::TABLES[2]);
    /// Pending rows that a worker has claimed.
    pub(crate) const CLAIMS: TableDefinition<'static, u128, ()> = TableDefinition::new(E::TABLES[3]);

    pub(crate) fn open(tx: &'tx WriteTransaction) -> Result<Self> {
        let rows = tx.open_table(Self::ROWS).map_err(failed)?;
        let identities = tx.open_table(Self::IDENTITIES).map_err(failed)?;
        let line = tx.open_table(Self::LINE).map_err(failed)?;
        let claims = tx.open_table(Self::CLAIMS).map_err(failed)?;
        let sequences = tx.open_table(SEQUENCES).map_err(failed)?;
        Ok(Self { rows, identities, line, claims, sequences, kind: PhantomData })
    }

    pub(crate) fn get(&self, id: EventId) -> Result<Option<EventRow<E>>> {
        get(&self.rows, id.as_uuid().as_u128())
    }

    pub(crate) fn by_identity(&self, identity: &Identity) -> Result<Option<EventRow<E>>> {
        let known = self.identities.get(identity.as_bytes()).map_err(failed)?;
        Ok(known.map(|id| get(&self.rows, id.value())).transpose()?.flatten())
    }

    /// Stores an event, unless its identity is there.
    pub(crate) fn create(&mut self, event: &E, now: DateTime<Utc>) -> Result<Created<E>> {
        let (id, identity) = (event.id(), event.identity());
        let known = identity.as_ref().map(|identity| self.by_identity(identity)).transpose()?.flatten();
        if let Some(row) = known {
            return Ok(Created::Existing(row.event()));
        }
        if self.get(id)?.is_some() {
            return Err(Error::new(ErrorKind::Conflict, format!("id {id} is that of another event")));
        }
        if let Some(identity) = identity {
            self.identities.insert(identity.as_bytes(), id.as_uuid().as_u128()).map_err(failed)?;
        }
        let last = self.sequences.get(E::TABLES[0]).map_err(failed)?.map_or(0, |last| last.value());
        self.sequences.insert(E::TABLES[0], last + 1).map_err(failed)?;
        let row = EventRow::new(event, last + 1, now);
        self.put(&row)?;
        Ok(Created::New(row.event()))
    }

    /// Changes a row, if it is there; returns what `change` returned.
    pub(crate) fn change<T>(
        &mut self,
        id: EventId,
        change: impl FnOnce(&mut EventRow<E>) -> T,
    ) -> Result<Option<T>> {
        let Some(mut row) = self.get(id)? else { return Ok(None) };
        self.line.remove(row.place()).map_err(failed)?;
        let changed = change(&mut row);
        self.put(&row)?;
        Ok(Some(changed))
    }

    fn put(&mut self, row: &EventRow<E>) -> Result<()> {
        let event = row.event();
        let id = event.id().as_uuid().as_u128();
        self.rows.insert(id, row.to_json()?.as_slice()).map_err(failed)?;
        self.claims.remove(id).map_err(failed)?;
        if row.is_pending() {
            self.line.insert(row.place(), (id, event.order_key().as_bytes())).map_err(failed)?;
            if row.life().lock.is_some() {
                self.claims.insert(id, ()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Claims what is due.
    pub(crate) fn claim(
        &mut self,
        due: Due<'_, E>,
        token: &ClaimToken,
        now: DateTime<Utc>,
    ) -> Result<Vec<E>> {
        let mut events = choose(due, &self.rows, &self.line, &self.claims)?;
        for event in &mut events {
            let claimed = self.change(event.id(), |row| {
                row.change(|life| life.claim(token, now));
                row.event()
            })?;
            *event = claimed.unwrap_or_else(|| event.clone());
        }
        Ok(events)
    }
}

pub(crate) fn get<E: Kind>(
    rows: &impl ReadableTable<u128, &'static [u8]>,
    id: u128,
) -> Result<Option<EventRow<E>>> {
    rows.get(id).map_err(failed)?.map(|json| EventRow::from_json(json.value())).transpose()
}

/// Shows the choice what is claimed, and walks along the line until it has enough.
pub(crate) fn choose<E: Kind>(
    mut due: Due<'_, E>,
    rows: &impl ReadableTable<u128, &'static [u8]>,
    line: &impl ReadableTable<Place, (u128, &'static [u8])>,
    claims: &impl ReadableTable<u128, ()>,
) -> Result<Vec<E>> {
    for claim in claims.iter().map_err(failed)? {
        if let Some(row) = get(rows, claim.map_err(failed)?.0.value())? {
            due.claimed(&row);
        }
    }
    for entry in line.iter().map_err(failed)? {
        let (place, entry) = entry.map_err(failed)?;
        let (id, key) = entry.value();
        if !due.offer(place.value(), key, || get(rows, id))? {
            break;
        }
    }
    Ok(due.into_events())
}
