//! Errors as the server would answer, for tests.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use omni_box_core::Error;
use sqlx::error::{DatabaseError, ErrorKind as NativeKind};

use crate::error::failed;

/// The error that a [`PgStore`](crate::PgStore) makes of an answer with this SQLSTATE: for tests of what a program does when its database
/// answers so. A store of the test kit gives it at any operation.
///
/// ```
/// use omni_box_core::{ErrorKind, Store};
/// use omni_box_postgres::sqlstate_error;
/// use omni_box_testkit::{FaultPlan, Faulty, MemoryStore, Operation};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let plan = FaultPlan::new();
/// let store = Faulty::new(MemoryStore::new(), &plan);
/// plan.on(Operation::Begin).answer_before(|| sqlstate_error("40P01"));
/// let deadlock = store.begin().await.err().expect("as it is planned");
/// assert_eq!(deadlock.kind(), ErrorKind::Contention);
/// # }
/// ```
pub fn sqlstate_error(code: &str) -> Error {
    failed("answer otherwise, as a test wants it")(sqlx::Error::Database(Box::new(Answer(code.to_owned()))))
}

/// An answer of the server.
#[derive(Debug)]
struct Answer(String);

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SQLSTATE {}, as a test wants it", self.0)
    }
}

impl StdError for Answer {}

impl DatabaseError for Answer {
    fn message(&self) -> &str {
        "as a test wants it"
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.0))
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
        NativeKind::Other
    }
}
