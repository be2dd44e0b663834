//! Kinds, classes, chains, and what `?` makes of foreign errors.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use omni_box_core::{Error, ErrorKind, FailureClass, HandlerError, TransientError};

#[test]
fn each_kind_has_its_class() {
    use ErrorKind::*;
    use FailureClass::{Event, Infrastructure, Permanent};
    for (kinds, class) in [
        (
            &[Unavailable, Unauthorized, TopicUnavailable, Contention, LeaseLost, Fatal, Closed][..],
            Infrastructure,
        ),
        (&[Handler, Timeout, Conflict, NotFound, Internal][..], Event),
        (&[Invalid, NoTransaction, TooLarge, Rejected, Unsupported, Misconfigured, Decode][..], Permanent),
    ] {
        for kind in kinds {
            let error = Error::new(*kind, "text");
            assert_eq!((error.kind(), error.class()), (*kind, class));
            assert_eq!(error.is_retryable(), class != Permanent, "{kind:?}");
        }
    }
}

/// As sqlx does it: prints its cause and also returns it as source.
#[derive(Debug)]
enum DatabaseError {
    Pool,
    Row(Box<DatabaseError>),
    Unique,
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool => f.write_str("pool timed out"),
            Self::Row(cause) => write!(f, "error returned from database: {cause}"),
            Self::Unique => f.write_str("duplicate key"),
        }
    }
}

impl StdError for DatabaseError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Row(cause) => Some(cause),
            _ => None,
        }
    }
}

fn classify(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    Some(match error.downcast_ref::<DatabaseError>()? {
        DatabaseError::Pool => ErrorKind::Unavailable,
        DatabaseError::Row(_) => ErrorKind::Conflict,
        DatabaseError::Unique => return None,
    })
}

/// An application's error around anything.
#[derive(Debug)]
struct AppError(Box<dyn StdError + Send + Sync>);

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("shipment not stored")
    }
}

impl StdError for AppError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.0.as_ref())
    }
}

#[test]
fn display_is_one_line_and_debug_the_chain() {
    let error = Error::new(ErrorKind::Unavailable, "database cannot be reached")
        .with_source(AppError(Box::new(io::Error::other("refused"))));
    assert_eq!(error.to_string(), "database cannot be reached");
    assert_eq!(error.chain(), "database cannot be reached: shipment not stored: refused");
    assert_eq!(format!("{error:?}"), format!("Unavailable: {}", error.chain()));
    assert_eq!(format!("{error:#?}"), format!("{error:?}"));
    assert_eq!(error.source().unwrap().to_string(), "shipment not stored");
    assert!(Error::invalid("a").source().is_none());
}

#[test]
fn a_chain_says_nothing_twice() {
    let database = || DatabaseError::Row(Box::new(DatabaseError::Unique));
    let error = Error::new(ErrorKind::Conflict, "event not stored").with_source(database());
    assert_eq!(error.chain(), "event not stored: error returned from database: duplicate key");
    let nested = Error::new(ErrorKind::Handler, "handler failed").with_source(AppError(Box::new(error)));
    assert_eq!(format!("{nested:?}").matches("duplicate key").count(), 1, "{nested:?}");
    let same = Error::invalid("pool timed out").with_source(DatabaseError::Pool);
    assert_eq!(same.chain(), "pool timed out");
}

#[track_caller]
fn check(result: Result<(), HandlerError>, kind: ErrorKind, chain: &str) {
    let error = result.unwrap_err().into_error(classify);
    assert_eq!((error.kind(), error.chain().as_str()), (kind, chain));
}

#[test]
fn question_mark_in_a_handler() {
    fn fails<E: StdError + Send + Sync + 'static>(error: E) -> Result<(), HandlerError> {
        Err(error)?
    }
    check(fails(io::Error::other("disk")), ErrorKind::Handler, "handler failed: disk");
    check(fails(DatabaseError::Pool), ErrorKind::Unavailable, "handler failed: pool timed out");
    check(
        fails(DatabaseError::Row(Box::new(DatabaseError::Unique))),
        ErrorKind::Conflict,
        "handler failed: error returned from database: duplicate key",
    );
    check(
        fails(TransientError::new("carrier is down")),
        ErrorKind::Unavailable,
        "handler failed: transient failure: carrier is down",
    );
    check(
        fails(Error::new(ErrorKind::Contention, "deadlock")),
        ErrorKind::Contention,
        "handler failed: deadlock",
    );
    check(fails(Error::invalid("no object")), ErrorKind::Invalid, "handler failed: no object");
    check(Err(HandlerError::new("no stock")), ErrorKind::Handler, "handler failed: no stock");
}

#[test]
fn an_application_s_own_error_is_judged_by_its_cause() {
    for (cause, kind) in [
        (Box::new(DatabaseError::Pool) as Box<dyn StdError + Send + Sync>, ErrorKind::Unavailable),
        (Box::new(TransientError::new("x")), ErrorKind::Unavailable),
        (Box::new(Error::new(ErrorKind::Contention, "x")), ErrorKind::Contention),
        (Box::new(io::Error::other("x")), ErrorKind::Handler),
    ] {
        assert_eq!(HandlerError::from(AppError(cause)).into_error(classify).kind(), kind);
    }
}

#[test]
fn a_faulty_deployment_never_fails_a_message_at_once() {
    for kind in [ErrorKind::Misconfigured, ErrorKind::NoTransaction, ErrorKind::Unsupported] {
        let error = HandlerError::from(Error::new(kind, "no such table")).into_error(classify);
        assert_eq!(error.class(), FailureClass::Event);
    }
}

#[test]
fn what_the_handler_says_goes_before_what_the_error_is() {
    check(
        Err(HandlerError::permanent(DatabaseError::Pool)),
        ErrorKind::Rejected,
        "handler failed: permanent failure: pool timed out",
    );
    check(
        Err(HandlerError::transient(Error::invalid("x"))),
        ErrorKind::Unavailable,
        "handler failed: transient failure: x",
    );
    check(
        Err(HandlerError::permanent("never")),
        ErrorKind::Rejected,
        "handler failed: permanent failure: never",
    );
}
