//! What failures of redb mean.

use omni_box_core::{Error, ErrorKind};

/// A failure of redb, in terms of what can be done about it.
pub(crate) fn failed(error: impl Into<redb::Error>) -> Error {
    let error = error.into();
    let kind = match &error {
        redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => ErrorKind::Misconfigured,
        redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseAlreadyOpen => {
            ErrorKind::Unavailable
        }
        redb::Error::Corrupted(_) | redb::Error::TableTypeMismatch { .. } => ErrorKind::Misconfigured,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, "redb failed").with_source(error)
}
