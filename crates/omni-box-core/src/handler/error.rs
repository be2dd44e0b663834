//! Why a handler failed, and what the failure costs.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;

use crate::error::{Error, ErrorKind};

type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a handler failed: any error, which costs an attempt unless it says otherwise.
///
/// `?` makes one of every error type, and a handler may return errors of any type (`anyhow::Error`, a boxed error, its own). What
/// the failure costs is found in the error and its causes, however they are wrapped. A [`PermanentError`] fails the message at once, a
/// [`TransientError`] costs no attempt.
///
/// `eyre::Report` hides the type of its outermost error. A database's error that it got by `?` alone counts as the message's; with
/// `wrap_err` it is found. Both wrappers above are found in either case.
///
/// ```
/// use omni_box_core::HandlerError;
///
/// fn parse(amount: &str) -> Result<u32, HandlerError> {
///     match amount.parse::<u32>()? {
///         0 => Err(HandlerError::permanent("an order of nothing")),
///         amount => Ok(amount),
///     }
/// }
///
/// assert!(parse("seven").is_err(), "costs an attempt");
/// assert_eq!(parse("7").unwrap(), 7);
/// ```
pub struct HandlerError(BoxError);

impl HandlerError {
    /// A failure for any reason.
    pub fn new(source: impl Into<BoxError> + 'static) -> Self {
        Self(boxed(source))
    }

    /// A failure that will never go away: the message is failed at once.
    pub fn permanent(source: impl Into<BoxError>) -> Self {
        Self(Box::new(PermanentError::new(source)))
    }

    /// A failure whose fault lies elsewhere (a service that is down): the message is tried again, and no attempt is counted.
    pub fn transient(source: impl Into<BoxError>) -> Self {
        Self(Box::new(TransientError::new(source)))
    }

    /// The failure as an omni-box error. The first of the error and its causes that is known decides its kind:
    ///
    /// - [`Rejected`](ErrorKind::Rejected) for a [`PermanentError`], [`Unavailable`](ErrorKind::Unavailable) for a [`TransientError`];
    /// - the kind of an [`Error`], or what `classify` says of a native error (see [`Store::classify`](crate::Store::classify)). An
    ///   application's own error around a database's is judged as the database's;
    /// - else [`Handler`](ErrorKind::Handler), and also where that one speaks of the deployment and not of the message (a missing table, a
    ///   transaction that is not open). Such a failure is counted, but never fails the message at once.
    ///
    /// ```
    /// use omni_box_core::{ErrorKind, HandlerError, TransientError};
    ///
    /// let error: Box<dyn std::error::Error + Send + Sync> = TransientError::new("the carrier is down").into();
    /// assert_eq!(HandlerError::new(error).into_error(|_| None).kind(), ErrorKind::Unavailable);
    /// ```
    pub fn into_error(self, classify: impl Fn(&(dyn StdError + 'static)) -> Option<ErrorKind>) -> Error {
        Error::new(judge(self.0.as_ref(), classify), "handler failed").with_source(self.0)
    }
}

/// The error in its box. In the box that `anyhow::Error` makes by itself, its outermost error is of a private type, and could not be found.
fn boxed<E: Into<BoxError> + 'static>(error: E) -> BoxError {
    let mut error = Some(error);
    let any: &mut dyn Any = &mut error;
    match any.downcast_mut::<Option<anyhow::Error>>().and_then(Option::take) {
        Some(error) => error.reallocate_into_boxed_dyn_error_without_backtrace(),
        None => error.map_or_else(|| "no error".into(), Into::into),
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

/// What it was made of; a permanent or transient failure is still found in it.
impl From<HandlerError> for BoxError {
    fn from(error: HandlerError) -> Self {
        error.0
    }
}

fn judge(
    error: &(dyn StdError + 'static),
    classify: impl Fn(&(dyn StdError + 'static)) -> Option<ErrorKind>,
) -> ErrorKind {
    let kind = std::iter::successors(Some(error), |&error| error.source()).find_map(|error| {
        if error.is::<PermanentError>() || error.is::<Marked<PermanentError>>() {
            return Some(ErrorKind::Rejected);
        }
        if error.is::<TransientError>() || error.is::<Marked<TransientError>>() {
            return Some(ErrorKind::Unavailable);
        }
        error.downcast_ref::<Error>().map(Error::kind).or_else(|| classify(error))
    });
    match kind {
        None | Some(ErrorKind::Misconfigured | ErrorKind::NoTransaction | ErrorKind::Unsupported) => {
            ErrorKind::Handler
        }
        Some(kind) => kind,
    }
}

/// The cause of a wrapper `W`: it is found where a type such as `eyre::Report` hides the wrapper itself.
struct Marked<W> {
    cause: BoxError,
    wrapper: PhantomData<fn() -> W>,
}

impl<W> fmt::Debug for Marked<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.cause, f)
    }
}

impl<W> fmt::Display for Marked<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.cause, f)
    }
}

impl<W> StdError for Marked<W> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.source()
    }
}

macro_rules! wrapper {
    ($(#[$doc:meta])* $name:ident, $text:literal) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(Marked<Self>);

        impl $name {
            /// Wraps the cause.
            pub fn new(source: impl Into<BoxError>) -> Self {
                Self(Marked { cause: source.into(), wrapper: PhantomData })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($text)
            }
        }

        impl StdError for $name {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(&self.0)
            }
        }
    };
}

wrapper! {
    /// An error whose fault lies elsewhere: a handler that returns it, or wraps it, costs its message no attempt.
    TransientError, "transient failure"
}

wrapper! {
    /// An error that will never go away: a handler that returns it, or wraps it, fails its message at once.
    PermanentError, "permanent failure"
}
