//! Native errors: what they mean, and what of them may be told.

use std::error::Error as StdError;
use std::fmt;

use omni_box_core::{Error, ErrorKind};
use sqlx::error::DatabaseError;

/// What is kept of an error of the database itself. Details and hints may repeat a row, and so may some messages: they are dropped.
#[derive(Debug)]
pub struct KeptError {
    /// Its code, and of what kind that is: `SQLSTATE 40001`.
    pub code: String,
    /// Its message, where it cannot quote a value.
    pub message: Option<String>,
}

impl fmt::Display for KeptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Some(message) => write!(f, "{}: {message}", self.code),
            None => f.write_str(&self.code),
        }
    }
}

impl StdError for KeptError {}

/// What kind of failure a native error is; `of_database` knows the codes of the database.
pub fn kind(error: &sqlx::Error, of_database: impl FnOnce(&dyn DatabaseError) -> ErrorKind) -> ErrorKind {
    match error {
        sqlx::Error::Database(error) => of_database(error.as_ref()),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => ErrorKind::Unavailable,
        sqlx::Error::PoolClosed => ErrorKind::Closed,
        sqlx::Error::Configuration(_) => ErrorKind::Misconfigured,
        sqlx::Error::RowNotFound => ErrorKind::NotFound,
        _ => ErrorKind::Internal,
    }
}

/// A native error as the source of another, without what may repeat a payload; `keep` knows which messages are harmless.
pub fn cause(
    error: sqlx::Error,
    keep: impl FnOnce(&dyn DatabaseError) -> KeptError,
) -> Box<dyn StdError + Send + Sync> {
    match error {
        sqlx::Error::Database(error) => Box::new(keep(error.as_ref())),
        other => Box::new(other),
    }
}

/// What a caller is told whose connection would commit each statement by itself.
pub fn no_transaction() -> Error {
    let message = "the connection has no open transaction: begin one, and pass `&mut *tx`";
    Error::new(ErrorKind::NoTransaction, message)
}

/// What the engine is told when the seal of its transaction is gone.
pub fn no_seal() -> Error {
    let message = "the seal is gone: a statement on this connection has ended the transaction";
    Error::new(ErrorKind::NoTransaction, message)
}

/// What the engine is told when the savepoint that it has set is gone: a statement on the handler's connection has ended the transaction.
pub fn no_savepoint() -> Error {
    let message = "the savepoint is gone: a statement on this connection has ended the transaction, or released the savepoint";
    Error::new(ErrorKind::NoTransaction, message)
}
