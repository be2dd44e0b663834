//! Native errors, classified where they are seen.

use omni_box_core::{Error, ErrorKind};
use omni_box_sql::{KeptError, cause};
use sqlx::error::DatabaseError;

/// Turns a native error into ours; `doing` is the verb, as in "cannot {doing}".
pub(crate) fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
    move |error| {
        let kind = kind(&error);
        let hint = if kind == ErrorKind::Misconfigured { " (run PgStore::migrate first?)" } else { "" };
        Error::new(kind, format!("cannot {doing}{hint}")).with_source(cause(error, keep))
    }
}

/// What kind of failure a native error is.
pub(crate) fn kind(error: &sqlx::Error) -> ErrorKind {
    omni_box_sql::kind(error, |error| error.code().map_or(ErrorKind::Internal, |code| kind_of_state(&code)))
}

fn kind_of_state(code: &str) -> ErrorKind {
    match code {
        // serialization failure, deadlock, lock timeout
        "40001" | "40P01" | "55P03" => ErrorKind::Contention,
        "57014" => ErrorKind::Timeout,
        "42501" => ErrorKind::Unauthorized,
        // no such table, no such column, no such schema
        "42P01" | "42703" | "3F000" => ErrorKind::Misconfigured,
        // the server became a standby; commit whose outcome is unknown; the transaction sat idle for too long
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
    let is_quiet =
        matches!(code.get(..2), Some("08" | "23" | "25" | "28" | "3F" | "40" | "53" | "55" | "57" | "58"))
            || matches!(&*code, "42501" | "42P01" | "42703");
    let message = is_quiet.then(|| error.message().to_owned());
    KeptError { code: format!("SQLSTATE {code}"), message }
}
