//! A failure, as it is recorded with its event.

use std::time::Duration;

use crate::limits::cut_error;

/// Whether a failure is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It costs one of the attempts.
    Counted,
    /// It costs nothing: the fault lies elsewhere.
    Free,
    /// It gives back the attempt that was counted before the handler started.
    Refunded,
}

impl Attempt {
    /// What it adds to the attempts made: 1, 0 or -1. A store keeps the sum within 0 and the maximum.
    ///
    /// ```
    /// use omni_box_core::Attempt;
    ///
    /// let charges = [Attempt::Counted, Attempt::Free, Attempt::Refunded].map(Attempt::charge);
    /// assert_eq!(charges, [1, 0, -1]);
    /// ```
    pub fn charge(self) -> i32 {
        match self {
            Self::Counted => 1,
            Self::Free => 0,
            Self::Refunded => -1,
        }
    }
}

/// When a failed event is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// After this long, by the database's clock.
    After(Duration),
    /// When an operator says so.
    OnRequest,
    /// Never: its status becomes `failed`.
    Never,
}

/// A failure to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    error: String,
    /// Whether it costs an attempt.
    pub attempt: Attempt,
    /// When it is tried again.
    pub retry: Retry,
}

impl Failure {
    /// A failure with its text, cut to what `last_error` holds.
    pub fn new(error: &str, attempt: Attempt, retry: Retry) -> Self {
        Self { error: cut_error(error), attempt, retry }
    }

    /// The text for `last_error`.
    pub fn error(&self) -> &str {
        &self.error
    }
}
