//! What transactions work on: the two tables of events, the quarantine, and rows of the application.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use omni_box_core::{EventId, QuarantinedMessage};
use uuid::Uuid;

use super::table::{InboxRow, Map, OutboxRow, Row, Table};

/// A message in quarantine: its group, topic, partition, offset and fingerprint.
pub(super) type QuarantineKey = (String, String, i32, i64, [u8; 32]);

/// A message in quarantine, as it is stored.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) id: Uuid,
    /// Its place in the order in which they came.
    pub(super) seq: i64,
    pub(super) at: DateTime<Utc>,
    pub(super) message: QuarantinedMessage,
}

/// What transactions work on. A copy costs nothing and is a snapshot.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables {
    pub(super) outbox: Table<OutboxRow>,
    pub(super) inbox: Table<InboxRow>,
    /// By group, topic, partition, offset and fingerprint.
    pub(super) quarantine: Map<QuarantineKey, Kept>,
    /// Rows of the application, by table and key.
    pub(super) records: Map<(String, String), Record>,
}

/// A row of the application.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) json: Arc<str>,
    /// The commit that wrote it; of an uncommitted one, nothing.
    pub(super) version: u64,
}

impl Record {
    pub(super) fn committed(&self, version: u64) -> Self {
        Self { json: Arc::clone(&self.json), version }
    }
}

/// Which rows a transaction has written.
#[derive(Debug, Clone, Default)]
pub(super) struct Writes {
    pub(super) outbox: BTreeSet<EventId>,
    pub(super) inbox: BTreeSet<EventId>,
    pub(super) quarantine: BTreeSet<QuarantineKey>,
    pub(super) records: BTreeSet<(String, String)>,
}

/// A row, and where its table is.
pub(super) trait Stored: Row {
    fn table(tables: &Tables) -> &Table<Self>;
    fn table_mut(tables: &mut Tables) -> &mut Table<Self>;

    /// Those of its table that a transaction has written.
    fn written(writes: &mut Writes) -> &mut BTreeSet<EventId>;
}

impl Stored for OutboxRow {
    fn table(tables: &Tables) -> &Table<Self> {
        &tables.outbox
    }

    fn table_mut(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.outbox
    }

    fn written(writes: &mut Writes) -> &mut BTreeSet<EventId> {
        &mut writes.outbox
    }
}

impl Stored for InboxRow {
    fn table(tables: &Tables) -> &Table<Self> {
        &tables.inbox
    }

    fn table_mut(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.inbox
    }

    fn written(writes: &mut Writes) -> &mut BTreeSet<EventId> {
        &mut writes.inbox
    }
}
