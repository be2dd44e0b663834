//! What tells an engine that a step, and not the broker, is behind a report.

use std::error::Error as StdError;
use std::fmt;

use omni_box_core::{Error, ErrorKind};

/// The source of an error that a step has caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The event waits; its topic is well.
    PutOff,
    /// The event is done without being sent.
    Completed,
    /// Everything waits; the broker is well, and no event is suspected.
    Stopped,
}

impl Mark {
    /// An error with this mark.
    pub(crate) fn error(self, text: String) -> Error {
        let kind = match self {
            Self::PutOff => ErrorKind::TopicUnavailable,
            Self::Completed | Self::Stopped => ErrorKind::Unavailable,
        };
        Error::new(kind, text).with_source(self)
    }

    /// The error of everything that a step has stopped.
    pub(crate) fn stopped_by(step: &str) -> Error {
        Self::Stopped.error(format!("stopped by step {step}"))
    }

    /// The mark of an error.
    pub(crate) fn of(error: &Error) -> Option<Self> {
        error.source()?.downcast_ref().copied()
    }
}

impl fmt::Display for Mark {
    /// Nothing: the line before says it all.
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl StdError for Mark {}
