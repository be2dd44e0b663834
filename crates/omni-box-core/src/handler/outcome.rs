//! What a handler says of a message.

use std::error::Error as StdError;
use std::time::Duration;

use super::HandlerError;
use crate::event::Attempt;

/// What became of a message that was handled.
///
/// ```
/// use omni_box_core::{Attempt, HandlerOutcome};
///
/// fn judge(version: u32, stored: u32, is_stock_counted: bool) -> HandlerOutcome {
///     if is_stock_counted {
///         return HandlerOutcome::retry("stock is being counted", Attempt::Free, None);
///     }
///     if version <= stored { HandlerOutcome::Stale } else { HandlerOutcome::Completed }
/// }
///
/// assert_eq!(judge(3, 4, false), HandlerOutcome::Stale);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerOutcome {
    /// Done; its writes commit.
    Completed,
    /// Nothing to do; the row is completed, its writes commit.
    Skipped,
    /// Overtaken by a newer one; the row is completed, its writes commit.
    Stale,
    /// Not now: its writes are rolled back and it is tried again. Made by [`retry`](Self::retry).
    #[non_exhaustive]
    Retry {
        /// Why; kept as the row's last error.
        reason: String,
        /// Whether it costs an attempt.
        attempt: Attempt,
        /// When; `None` leaves it to the backoff.
        after: Option<Duration>,
    },
}

impl HandlerOutcome {
    /// Not now: says why, whether it costs an attempt, and when it is tried again (`None` leaves it to the backoff).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use omni_box_core::{Attempt, HandlerOutcome};
    ///
    /// let outcome = HandlerOutcome::retry("stock is being counted", Attempt::Free, Duration::from_secs(60));
    /// assert!(matches!(outcome, HandlerOutcome::Retry { attempt: Attempt::Free, after: Some(_), .. }));
    /// ```
    pub fn retry(reason: impl Into<String>, attempt: Attempt, after: impl Into<Option<Duration>>) -> Self {
        Self::Retry { reason: reason.into(), attempt, after: after.into() }
    }
}

/// What a handler function may return: `()`, an outcome, or a result of either.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    note = "return `()`, `HandlerOutcome`, or a `Result` of either with any error type: `anyhow::Error`, `Box<dyn Error + Send + Sync>`, `HandlerError` or an error of your own"
)]
pub trait IntoHandlerResult {
    /// As the engine wants it.
    #[expect(clippy::missing_errors_doc, reason = "hands the handler's own error on")]
    fn into_handler_result(self) -> Result<HandlerOutcome, HandlerError>;
}

impl IntoHandlerResult for () {
    fn into_handler_result(self) -> Result<HandlerOutcome, HandlerError> {
        Ok(HandlerOutcome::Completed)
    }
}

impl IntoHandlerResult for HandlerOutcome {
    fn into_handler_result(self) -> Result<HandlerOutcome, HandlerError> {
        Ok(self)
    }
}

impl<T, E> IntoHandlerResult for Result<T, E>
where
    T: IntoHandlerResult,
    E: Into<Box<dyn StdError + Send + Sync>> + 'static,
{
    fn into_handler_result(self) -> Result<HandlerOutcome, HandlerError> {
        self.map_err(HandlerError::new)?.into_handler_result()
    }
}
