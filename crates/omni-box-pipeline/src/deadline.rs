//! Every call has an end: a peer that dies in silence never answers.

use std::future::Future;
use std::time::Duration;

use omni_box_core::{Error, ErrorKind, Result};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long the last writes of a worker that ends may take: the hand-over of leases or claims, the end of abandoned transactions.
pub(crate) const FAREWELL: Duration = Duration::from_secs(5);

/// Waits for an answer until a deadline has passed. A call that is given up may have taken effect, or may do so yet. All that are
/// made here may be repeated, and check the lease or the claim.
pub(crate) async fn within<T>(deadline: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(deadline, call)
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Unavailable, format!("no answer for {deadline:?}"))))
}

/// Ends tasks whose time to drain is over: they abandon their transactions at `abort`, and are dropped if that takes too long. One that
/// blocks its thread cannot be dropped, and is left behind.
pub(crate) async fn abandon<T: 'static>(tasks: &mut JoinSet<T>, abort: &CancellationToken) {
    abort.cancel();
    if timeout(FAREWELL, ended(tasks)).await.is_ok() {
        return;
    }
    tasks.abort_all();
    if timeout(FAREWELL, ended(tasks)).await.is_err() {
        tracing::error!(
            tasks = tasks.len(),
            "tasks that block their threads are left behind; they go when the process ends"
        );
        tasks.detach_all();
    }
}

async fn ended<T: 'static>(tasks: &mut JoinSet<T>) {
    while tasks.join_next().await.is_some() {}
}
