//! Native errors, classified where they are seen.

use std::error::Error as _;

use omni_box_core::{Error, ErrorKind};
use omni_box_sql::{KeptError, cause};
use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

/// The server, or the session, takes no writes.
const READ_ONLY: &str = "25006";

/// Turns a native error into ours; `doing` is the verb, as in "cannot {doing}".
pub(crate) fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
    move |error| {
        let kind = kind(&error);
        let hint = match kind {
            ErrorKind::Misconfigured => " (run PgStore::migrate first?)",
            _ if is_of_connection(&error) => " (the connection is of no use any more, and is closed)",
            _ => "",
        };
        Error::new(kind, format!("cannot {doing}{hint}")).with_source(cause(error, keep))
    }
}

/// What kind of failure a native error is.
pub(crate) fn kind(error: &sqlx::Error) -> ErrorKind {
    if is_of_connection(error) {
        return ErrorKind::Unavailable;
    }
    omni_box_sql::kind(error, |error| error.code().map_or(ErrorKind::Internal, |code| kind_of_state(&code)))
}

/// Whether an error comes from the connection it came over, so that the same statement may work over a new one. It leads to a reader since
/// a failover, its plans are older than the schema, or a pooler has put another session behind it.
pub(crate) fn is_of_connection(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    match &*error.code().unwrap_or_default() {
        // read-only; a prepared statement is unknown, or known already; protocol violation
        READ_ONLY | "26000" | "42P05" | "08P01" => true,
        // "cached plan must not change result type"; the code is that of all that is not supported
        "0A000" => error
            .try_downcast_ref::<PgDatabaseError>()
            .is_some_and(|error| error.routine() == Some("RevalidateCachedQuery")),
        _ => false,
    }
}

/// The same of an error of ours.
pub(crate) fn is_kept_of_connection(error: &Error) -> bool {
    // what the code alone leaves open, the kind has decided
    error.kind() == ErrorKind::Unavailable
        && kept_state(error)
            .is_some_and(|state| matches!(state, READ_ONLY | "26000" | "42P05" | "08P01" | "0A000"))
}

/// Whether the server, or the session, took no writes.
pub(crate) fn is_read_only(error: &Error) -> bool {
    kept_state(error) == Some(READ_ONLY)
}

/// Whether a statement divided by zero.
pub(crate) fn is_division_by_zero(error: &Error) -> bool {
    kept_state(error) == Some("22012")
}

fn kept_state(error: &Error) -> Option<&str> {
    let kept: &KeptError = error.source()?.downcast_ref()?;
    kept.code.strip_prefix("SQLSTATE ")
}

fn kind_of_state(code: &str) -> ErrorKind {
    match code {
        // serialization failure, deadlock, lock timeout
        "40001" | "40P01" | "55P03" => ErrorKind::Contention,
        "57014" => ErrorKind::Timeout,
        "42501" => ErrorKind::Unauthorized,
        // no such table, no such column, no such schema
        "42P01" | "42703" | "3F000" => ErrorKind::Misconfigured,
        // commit whose outcome is unknown; the transaction sat idle for too long
        "25006" | "40003" | "25P03" => ErrorKind::Unavailable,
        _ => match code.get(..2) {
            // connection; resources (disk full, memory, connections); operator (shutdown, recovery); input and output
            Some("08" | "53" | "57" | "58") => ErrorKind::Unavailable,
            Some("28") => ErrorKind::Unauthorized,
            Some("23") => ErrorKind::Conflict,
            Some("22") => ErrorKind::Invalid,
            _ => ErrorKind::Internal,
        },
    }
}

/// Data errors and errors raised by functions of the application quote values in the primary message.
fn keep(error: &dyn DatabaseError) -> KeptError {
    let code = error.code().unwrap_or_default();
    let is_quiet = matches!(
        code.get(..2),
        Some("08" | "23" | "25" | "26" | "28" | "3F" | "40" | "53" | "55" | "57" | "58")
    ) || matches!(&*code, "42501" | "42P01" | "42703");
    let message = is_quiet.then(|| error.message().to_owned());
    KeptError { code: format!("SQLSTATE {code}"), message }
}
