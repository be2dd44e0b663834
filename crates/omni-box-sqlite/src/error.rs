//! Native errors, classified where they are seen.

use omni_box_core::{Error, ErrorKind};
use omni_box_sql::{KeptError, cause};
use sqlx::error::DatabaseError;

/// Result codes, the low byte of extended ones. <https://www.sqlite.org/rescode.html>
mod code {
    pub(super) const ERROR: i32 = 1;
    pub(super) const PERM: i32 = 3;
    pub(super) const ABORT: i32 = 4;
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const NOMEM: i32 = 7;
    pub(super) const READONLY: i32 = 8;
    pub(super) const INTERRUPT: i32 = 9;
    pub(super) const IOERR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const PROTOCOL: i32 = 15;
    pub(super) const SCHEMA: i32 = 17;
    pub(super) const TOOBIG: i32 = 18;
    pub(super) const CONSTRAINT: i32 = 19;
    pub(super) const MISMATCH: i32 = 20;
    pub(super) const AUTH: i32 = 23;
    pub(super) const NOTADB: i32 = 26;
    /// Extended: raised by a trigger of the application.
    pub(super) const CONSTRAINT_TRIGGER: i32 = 1811;
}

/// Turns a native error into ours; `doing` is the verb, as in "cannot {doing}".
pub(crate) fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
    move |error| {
        Error::new(kind(&error), format!("cannot {doing}{}", hint(&error))).with_source(cause(error, keep))
    }
}

/// What kind of failure a native error is.
pub(crate) fn kind(error: &sqlx::Error) -> ErrorKind {
    omni_box_sql::kind(error, |error| kind_of_code(code_of(error), error.message()))
}

fn kind_of_code(extended: i32, message: &str) -> ErrorKind {
    match extended & 0xff {
        code::BUSY | code::LOCKED | code::ABORT | code::PROTOCOL | code::SCHEMA => ErrorKind::Contention,
        code::INTERRUPT => ErrorKind::Timeout,
        code::PERM | code::READONLY | code::AUTH => ErrorKind::Unauthorized,
        // the file comes back, or an operator brings it back; until then nothing is spent
        code::NOMEM | code::IOERR | code::CORRUPT | code::FULL | code::CANTOPEN => ErrorKind::Unavailable,
        code::NOTADB => ErrorKind::Misconfigured,
        code::TOOBIG | code::MISMATCH => ErrorKind::Invalid,
        code::CONSTRAINT => ErrorKind::Conflict,
        code::ERROR if is_missing(message) => ErrorKind::Misconfigured,
        code::ERROR if is_rolled_back(message) => ErrorKind::Contention,
        _ => ErrorKind::Internal,
    }
}

/// SQLite has one code for everything that is wrong with a statement.
fn is_missing(message: &str) -> bool {
    message.starts_with("no such table")
        || message.starts_with("no such column")
        || message.contains("has no column named")
}

/// SQLite ended the transaction on its own after an earlier failure (full disk, input and output).
fn is_rolled_back(message: &str) -> bool {
    message.starts_with("no such savepoint") || message.contains("no transaction is active")
}

/// What an operator can do.
fn hint(error: &sqlx::Error) -> &'static str {
    let sqlx::Error::Database(error) = error else { return "" };
    let extended = code_of(error.as_ref());
    match extended & 0xff {
        code::BUSY | code::LOCKED => " (another transaction holds the lock; run the whole transaction again)",
        code::READONLY => " (the file, its directory or the connection is read-only)",
        code::CORRUPT => " (the file is damaged: restore it from a backup)",
        code::FULL => " (the disk or the database is full: make room, and run the whole transaction again)",
        code::CANTOPEN => " (are the path, its directory and their permissions right?)",
        code::NOTADB => " (the file is not a SQLite database, or it is encrypted)",
        code::ERROR if is_missing(error.message()) => " (run SqliteStore::migrate first?)",
        code::ERROR if is_rolled_back(error.message()) => {
            " (SQLite has rolled the transaction back after an earlier failure; run it again)"
        }
        _ => "",
    }
}

/// The text that an application's trigger raises may be anything.
fn keep(error: &dyn DatabaseError) -> KeptError {
    let code = code_of(error);
    let is_quiet = code != code::CONSTRAINT_TRIGGER;
    let message = is_quiet.then(|| error.message().to_owned());
    KeptError { code: format!("SQLite error {code}"), message }
}

/// The extended result code.
pub(crate) fn code_of(error: &dyn DatabaseError) -> i32 {
    error.code().and_then(|code| code.parse().ok()).unwrap_or(code::ERROR)
}

/// Whether BEGIN was refused because a transaction is open.
pub(crate) fn is_nested_begin(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error)
        if code_of(error.as_ref()) == code::ERROR && error.message().contains("within a transaction"))
}

/// Whether a savepoint that was set is there no more.
pub(crate) fn is_no_savepoint(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error)
        if code_of(error.as_ref()) == code::ERROR && error.message().starts_with("no such savepoint"))
}

/// Whether the lock was held by another transaction for too long.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if matches!(code_of(error.as_ref()) & 0xff, code::BUSY | code::LOCKED))
}
