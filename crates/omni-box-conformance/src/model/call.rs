//! Calls of a store: those that are waited for, and those that are cut off.

use std::fmt::{self, Display};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use omni_box_core::{Error, ErrorKind, Result, Store};
use proptest::strategy::{BoxedStrategy, Just, Strategy};
use proptest::test_runner::TestCaseError;
use tokio::time::Instant;

/// What a step of a case finds.
pub(super) type Checked<T = ()> = std::result::Result<T, TestCaseError>;

/// A difference between store and model.
pub(super) fn mismatch<T>(what: impl Display) -> Checked<T> {
    Err(TestCaseError::fail(what.to_string()))
}

/// How long a store may answer [`Contention`](ErrorKind::Contention).
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a call again while the answer is contention. `what` is the verb, as in "cannot {what}".
pub(super) async fn retried<T>(what: &str, mut call: impl AsyncFnMut() -> Result<T>) -> Checked<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Ok(value) => return Ok(value),
            Err(error) if error.kind() == ErrorKind::Contention && Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            Err(error) => return cannot(what, &error),
        }
    }
}

pub(super) fn cannot<T>(what: &str, error: &Error) -> Checked<T> {
    mismatch(format!("the store cannot {what}: {error:?}"))
}

pub(super) async fn begin<S: Store>(store: &S) -> Checked<S::Tx> {
    retried("begin a transaction", async || store.begin().await).await
}

pub(super) async fn commit<S: Store>(store: &S, tx: S::Tx) -> Checked {
    store.commit(tx).await.or_else(|error| cannot("commit a transaction whose statements succeeded", &error))
}

pub(super) async fn rollback<S: Store>(store: &S, tx: S::Tx) -> Checked {
    store.rollback(tx).await.or_else(|error| cannot("roll an open transaction back", &error))
}

/// When a call is cut off: after it was polled so often, or never.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut(Option<u8>);

impl Cut {
    pub(super) const NEVER: Self = Self(None);

    /// Mostly never.
    pub(super) fn rarely() -> BoxedStrategy<Self> {
        let sometimes = proptest::sample::select(vec![0, 1, 2, 3, 5, 8, 20, 60]);
        proptest::prop_oneof![12 => Just(Self(None)), 1 => sometimes.prop_map(|polls| Self(Some(polls)))]
            .boxed()
    }

    /// Always.
    pub(super) fn always() -> BoxedStrategy<Self> {
        proptest::sample::select(vec![0, 1, 2, 3, 5, 8, 20, 60]).prop_map(|polls| Self(Some(polls))).boxed()
    }

    /// What the call answers; `None` if it was dropped before.
    pub(super) async fn off<T>(self, call: impl Future<Output = T>) -> Option<T> {
        let Some(polls) = self.0 else { return Some(call.await) };
        let mut call = pin!(call);
        for _ in 0..polls {
            if let Poll::Ready(answer) = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await {
                return Some(answer);
            }
            tokio::task::yield_now().await;
        }
        None
    }
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(polls) => write!(f, "after {polls} polls"),
            None => f.write_str("never"),
        }
    }
}
