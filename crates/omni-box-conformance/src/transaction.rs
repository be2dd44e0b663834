//! Whole transactions, run again where the store says so, and calls that wait for one another.

use std::pin::Pin;
use std::time::Duration;

use omni_box_core::{ErrorKind, Result, Store};
use tokio::time::{Instant, timeout};

/// How long a call that nothing stands in the way of may take before it counts as waiting.
const PROMPT: Duration = Duration::from_millis(300);

/// How long a store may answer [`Contention`](ErrorKind::Contention).
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a call again while the answer is contention. `what` is the verb, as in "cannot {what}".
pub(super) async fn retried<T>(what: &str, mut call: impl AsyncFnMut() -> Result<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Ok(value) => return value,
            Err(error) if error.kind() == ErrorKind::Contention && Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("the store cannot {what}: {error:?}"),
        }
    }
}

/// Runs a whole transaction and commits it.
pub(super) async fn committed<S: Store, T>(
    store: &S,
    what: &str,
    mut work: impl AsyncFnMut(&mut S::Conn) -> Result<T>,
) -> T {
    retried(what, async || {
        let mut tx = store.begin().await?;
        match work(&mut tx).await {
            Ok(value) => store.commit(tx).await.map(|()| value),
            Err(error) => {
                // what the work said counts
                let _ = store.rollback(tx).await;
                Err(error)
            }
        }
    })
    .await
}

pub(super) async fn begin<S: Store>(store: &S) -> S::Tx {
    retried("begin a transaction", async || store.begin().await).await
}

pub(super) async fn commit<S: Store>(store: &S, tx: S::Tx) {
    store.commit(tx).await.expect("the store cannot commit a transaction whose statements succeeded");
}

/// What a call answers at once; `None` if it waits for something. It is not cancelled.
pub(super) async fn at_once<T>(call: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    timeout(PROMPT, call).await.ok()
}

pub(super) async fn rollback<S: Store>(store: &S, tx: S::Tx) {
    store.rollback(tx).await.expect("the store cannot roll an open transaction back");
}
