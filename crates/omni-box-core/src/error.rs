//! The one error type: what went wrong, in terms of what a caller can do about it.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// Result of everything fallible in omni-box.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an [`Error`].
///
/// ```
/// use omni_box_core::{ErrorKind, FailureClass};
///
/// assert_eq!(ErrorKind::Unavailable.class(), FailureClass::Infrastructure, "waited out, at no cost");
/// assert_eq!(ErrorKind::Rejected.class(), FailureClass::Permanent, "given up at once");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value breaks a limit or a rule; correct it.
    Invalid,
    /// A connection without an open transaction was handed in; open one first.
    NoTransaction,
    /// The row does not exist.
    NotFound,
    /// A constraint of the database refused the write.
    Conflict,
    /// Deadlock, serialization failure or lock timeout; run the whole transaction again.
    Contention,
    /// The server cannot be reached or shuts down; wait and try again.
    Unavailable,
    /// The server refused the credentials or the permission; an operator must act.
    Unauthorized,
    /// One topic is missing, under-replicated or not accessible; others may work.
    TopicUnavailable,
    /// The message exceeds what the broker takes.
    TooLarge,
    /// The broker refused this message for good.
    Rejected,
    /// Another owner has the lease now; stop and start afresh.
    LeaseLost,
    /// It took longer than its deadline.
    Timeout,
    /// The store, mode or build does not offer this.
    Unsupported,
    /// Settings or schema are not what is needed.
    Misconfigured,
    /// The bytes could not be understood.
    Decode,
    /// The handler reported a failure.
    Handler,
    /// The producer or consumer ended for good and cannot be replaced from here.
    Fatal,
    /// It was closed or cancelled.
    Closed,
    /// A rule of omni-box itself was broken, or an error of no known class.
    Internal,
}

/// How a failure is treated by everything that retries.
///
/// ```
/// use omni_box_core::{Error, ErrorKind, FailureClass};
///
/// let error = Error::new(ErrorKind::Handler, "no stock");
/// assert_eq!(error.class(), FailureClass::Event);
/// assert!(error.is_retryable());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// Wait with backoff; no attempt is spent.
    Infrastructure,
    /// The event's own failure: counted, retried with backoff, then failed.
    Event,
    /// Failed at once.
    Permanent,
}

/// An error of omni-box.
///
/// `Display` is one line: what was wrong and what would be right. The cause, if any, is in [`StdError::source`] and is not
/// repeated in the line. `Debug` prints the chain of lines and never a payload.
///
/// ```
/// use omni_box_core::{Error, ErrorKind};
///
/// let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
/// let error = Error::new(ErrorKind::Unavailable, "the price service does not answer").with_source(refused);
/// assert!(error.is_retryable());
/// assert_eq!(error.to_string(), "the price service does not answer");
/// assert_eq!(error.chain(), "the price service does not answer: connection refused");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error of a kind with its line.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), source: None }))
    }

    /// Makes an [`ErrorKind::Invalid`] error.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What can be done about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// How it is treated by everything that retries.
    pub fn class(&self) -> FailureClass {
        self.kind().class()
    }

    /// Whether the same call may succeed later without anything being corrected.
    pub fn is_retryable(&self) -> bool {
        self.class() != FailureClass::Permanent
    }

    /// The line and those of its causes, joined by `: `. A cause that the text before it ends with is not repeated. Many errors (sqlx's
    /// among them) both print their cause and return it as source.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let line = error.to_string();
            if !text.ends_with(&line) {
                text.push_str(": ");
                text.push_str(&line);
            }
            cause = error.source();
        }
        text
    }
}

impl ErrorKind {
    /// How a failure of this kind is treated by everything that retries.
    ///
    /// | class | kinds |
    /// |---|---|
    /// | infrastructure | `Unavailable` `Unauthorized` `TopicUnavailable` `Contention` `LeaseLost` `Fatal` `Closed` |
    /// | the event's own | `Handler` `Timeout` `Conflict` `NotFound` `Internal`: another attempt may do better |
    /// | permanent | `Invalid` `NoTransaction` `TooLarge` `Rejected` `Unsupported` `Misconfigured` `Decode` |
    ///
    /// A missing table or setting (`Misconfigured`, `Unsupported`) is permanent for the call that meets it, so that a worker
    /// ends at its start. Inside a handler it is counted instead, see [`HandlerError::into_error`](crate::HandlerError::into_error).
    pub fn class(self) -> FailureClass {
        match self {
            Self::Unavailable
            | Self::Unauthorized
            | Self::TopicUnavailable
            | Self::Contention
            | Self::LeaseLost
            | Self::Fatal
            | Self::Closed => FailureClass::Infrastructure,
            Self::Handler | Self::Timeout | Self::Conflict | Self::NotFound | Self::Internal => {
                FailureClass::Event
            }
            Self::Invalid
            | Self::NoTransaction
            | Self::TooLarge
            | Self::Rejected
            | Self::Unsupported
            | Self::Misconfigured
            | Self::Decode => FailureClass::Permanent,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
