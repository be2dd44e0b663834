//! What a native error means, and what of it may be told.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use omni_box_core::ErrorKind;
use omni_box_sql::{KeptError, cause, kind};
use sqlx::error::{DatabaseError, ErrorKind as NativeKind};

/// An error of MySQL that quotes a row.
#[derive(Debug)]
struct Native;

impl fmt::Display for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("1062: a secret is there already")
    }
}

impl StdError for Native {}

impl DatabaseError for Native {
    fn message(&self) -> &str {
        "a secret is there already"
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some("1062".into())
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> NativeKind {
        NativeKind::UniqueViolation
    }
}

fn keep_code(error: &dyn DatabaseError) -> KeptError {
    KeptError { code: format!("MySQL error {}", error.code().unwrap_or_default()), message: None }
}

#[test]
fn of_an_error_of_the_database_stays_what_the_store_keeps() {
    let told = |keep: fn(&dyn DatabaseError) -> KeptError| {
        let source = cause(sqlx::Error::Database(Box::new(Native)), keep);
        assert!(source.source().is_none());
        format!("{source}, {source:?}")
    };
    let code = told(keep_code);
    assert!(code.starts_with("MySQL error 1062, ") && !code.contains("secret"), "{code}");
    let all = told(|error| KeptError { message: Some(error.message().to_owned()), ..keep_code(error) });
    assert!(all.starts_with("MySQL error 1062: a secret is there already, "), "{all}");
    assert_eq!(
        cause(sqlx::Error::PoolTimedOut, keep_code).to_string(),
        sqlx::Error::PoolTimedOut.to_string()
    );
}

#[test]
fn codes_are_the_stores_and_the_rest_is_the_drivers() {
    let of = |error: sqlx::Error| {
        kind(&error, |error| match error.code().as_deref() {
            Some("1062") => ErrorKind::Conflict,
            _ => ErrorKind::Internal,
        })
    };
    assert_eq!(of(sqlx::Error::Database(Box::new(Native))), ErrorKind::Conflict);
    assert_eq!(of(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())), ErrorKind::Unavailable);
    assert_eq!(of(sqlx::Error::PoolTimedOut), ErrorKind::Unavailable);
    assert_eq!(of(sqlx::Error::PoolClosed), ErrorKind::Closed);
    assert_eq!(of(sqlx::Error::RowNotFound), ErrorKind::NotFound);
    assert_eq!(of(sqlx::Error::Configuration("no host".into())), ErrorKind::Misconfigured);
    assert_eq!(of(sqlx::Error::ColumnNotFound("seq".into())), ErrorKind::Internal);
}
