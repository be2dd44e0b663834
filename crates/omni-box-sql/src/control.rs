//! The control row: the delivery mode, and the version of the schema.

use omni_box_core::{DeliveryMode, Error, ErrorKind, Result};

use crate::table::misconfigured;
use crate::{Dialect, Migrations, Table};

/// The delivery mode, from the columns `delivery_mode` and `schema_version` of the control row, if there is one. The third value is the oldest
/// version whose programs work with the schema. It is the greatest `oldest` of the ledger, or `version` where a row has none.
///
/// # Errors
/// [`Misconfigured`](ErrorKind::Misconfigured) when there is no row, or its version is older than the one that the program needs. So it is when
/// the version is newer and not for the program. [`Invalid`](ErrorKind::Invalid) when the mode is not known.
pub fn delivery_mode(
    dialect: &(impl Dialect + ?Sized),
    migrations: &Migrations,
    row: Option<(String, impl Into<i64>, impl Into<Option<i64>>)>,
) -> Result<DeliveryMode> {
    let (table, needed) = (dialect.qualified(Table::Control), migrations.version());
    match row.map(|(mode, version, oldest)| (mode, version.into(), oldest.into())) {
        None => Err(misconfigured(format!("table {table} is empty, run the store's `migrate`"))),
        Some((_, version, oldest))
            if version < needed || version > needed && oldest.is_none_or(|oldest| oldest > needed) =>
        {
            Err(misconfigured(format!(
                "table {table} says schema version {version}, this program needs {needed}"
            )))
        }
        Some((mode, ..)) => mode.parse(),
    }
}

/// Picks what belongs to a delivery mode that a table can be changed to.
///
/// # Errors
/// [`Unsupported`](ErrorKind::Unsupported) for any other.
pub fn by_mode<T>(mode: DeliveryMode, lanes: T, rows: T) -> Result<T> {
    match mode {
        DeliveryMode::Lanes => Ok(lanes),
        DeliveryMode::Rows => Ok(rows),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            format!("delivery mode {mode} is not available, use lanes or rows"),
        )),
    }
}

/// Lets lanes be taken only in the mode `lanes`. A relay reads the mode once, at its start: one that has no lanes does not notice that it changes.
///
/// # Errors
/// [`Misconfigured`](ErrorKind::Misconfigured) in any other mode.
pub fn check_lanes(mode: Option<&str>) -> Result<()> {
    match mode {
        Some(mode) if mode == DeliveryMode::Lanes.as_str() => Ok(()),
        Some(mode) => Err(misconfigured(format!(
            "lanes cannot be taken, the table's delivery mode is {mode} now: start this relay again"
        ))),
        None => Err(misconfigured(
            "lanes cannot be taken, the table has no delivery mode: run the store's `migrate`".into(),
        )),
    }
}

/// Lets the delivery mode be changed only while no relay works: no lane is leased, no pending event claimed.
///
/// # Errors
/// [`Misconfigured`](ErrorKind::Misconfigured) when one is.
pub fn check_drained(leased: i64, claimed: i64) -> Result<()> {
    if leased + claimed > 0 {
        return Err(misconfigured(format!(
            "{leased} lanes are leased and {claimed} pending events are claimed: stop all relays, wait until they have \
             drained, then change the mode"
        )));
    }
    Ok(())
}
