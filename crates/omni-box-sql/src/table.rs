//! The tables, and what they are called.

use std::fmt;

use omni_box_core::{Error, ErrorKind, Result};

/// A table of omni-box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Table {
    /// `outbox_events`
    OutboxEvents,
    /// `inbox_events`
    InboxEvents,
    /// `outbox_lanes`: leases of the lanes.
    OutboxLanes,
    /// `outbox_relays`: relays alive.
    OutboxRelays,
    /// `inbox_partitions`: who consumes which partition.
    InboxPartitions,
    /// `inbox_members`: who handles the messages of a group.
    InboxMembers,
    /// `inbox_quarantine`: messages kept as raw bytes.
    Quarantine,
    /// `omni_box_control`: one row that describes the installation.
    Control,
    /// `omni_box_breakers`: circuit breakers that processes share.
    Breakers,
    /// `omni_box_migrations`: which migrations were applied.
    Migrations,
}

/// In the order of their declaration: a table's number is its place.
const TABLES: [Table; 10] = [
    Table::OutboxEvents,
    Table::InboxEvents,
    Table::OutboxLanes,
    Table::OutboxRelays,
    Table::InboxPartitions,
    Table::InboxMembers,
    Table::Quarantine,
    Table::Control,
    Table::Breakers,
    Table::Migrations,
];

impl Table {
    /// Every table.
    pub const ALL: &[Self] = &TABLES;

    /// Its name unless another is configured, and its placeholder in the SQL.
    pub fn default_name(self) -> &'static str {
        match self {
            Self::OutboxEvents => "outbox_events",
            Self::InboxEvents => "inbox_events",
            Self::OutboxLanes => "outbox_lanes",
            Self::OutboxRelays => "outbox_relays",
            Self::InboxPartitions => "inbox_partitions",
            Self::InboxMembers => "inbox_members",
            Self::Quarantine => "inbox_quarantine",
            Self::Control => "omni_box_control",
            Self::Breakers => "omni_box_breakers",
            Self::Migrations => "omni_box_migrations",
        }
    }

    /// The table that a placeholder begins with, and the rest of it.
    pub(crate) fn of_placeholder(placeholder: &str) -> Option<(Self, &str)> {
        TABLES.into_iter().find_map(|table| Some((table, placeholder.strip_prefix(table.default_name())?)))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.default_name())
    }
}

/// What each table is called, neither quoted nor qualified; the [default names](Table::default_name), until others are set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableNames([String; TABLES.len()]);

impl Default for TableNames {
    fn default() -> Self {
        Self(TABLES.map(|table| table.default_name().to_owned()))
    }
}

impl TableNames {
    /// A table's name.
    pub fn get(&self, table: Table) -> &str {
        &self.0[table as usize]
    }

    /// Gives a table another name; [`check`](Self::check) looks whether it can be.
    pub fn set(&mut self, table: Table, name: impl Into<String>) {
        self.0[table as usize] = name.into();
    }

    /// Checks every name by [`check_name`], and by `fits`, which is called with the table's default name and its name. It checks whether
    /// another table has the same name, which the database decides by `is_same`.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) when a name is empty, holds a NUL character, or is given twice; what `fits` returns.
    pub fn check(
        &self,
        fits: impl Fn(&str, &str) -> Result<()>,
        is_same: impl Fn(&str, &str) -> bool,
    ) -> Result<()> {
        for (index, table) in TABLES.into_iter().enumerate() {
            let name = self.get(table);
            check_name(table.default_name(), name)?;
            fits(table.default_name(), name)?;
            if let Some(other) = TABLES[..index].iter().find(|other| is_same(self.get(**other), name)) {
                return Err(misconfigured(format!("tables {other} and {table} have the same name")));
            }
        }
        Ok(())
    }
}

/// Checks what no database takes in the name of `what`.
///
/// # Errors
/// [`Misconfigured`](ErrorKind::Misconfigured) when the name is empty, or holds a NUL character.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(misconfigured(format!("the name of {what} is empty")));
    }
    if name.contains('\0') {
        return Err(misconfigured(format!("the name of {what} contains a NUL character")));
    }
    Ok(())
}

pub(crate) fn misconfigured(message: String) -> Error {
    Error::new(ErrorKind::Misconfigured, message)
}
