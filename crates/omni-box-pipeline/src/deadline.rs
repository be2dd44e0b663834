//! Every call has an end: a peer that dies in silence never answers.

use std::future::Future;
use std::time::Duration;

use omni_box_core::{Error, ErrorKind, Result};
use tokio::time::timeout;

/// How long the last writes of a relay that ends and the hand-over of its leases or claims may take.
pub(crate) const FAREWELL: Duration = Duration::from_secs(5);

/// Waits for an answer until a deadline has passed. A call that is given up may have taken effect, or may do so yet: all that are
/// made here may be repeated, and check the lease or the claim.
pub(crate) async fn within<T>(deadline: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(deadline, call)
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Unavailable, format!("no answer for {deadline:?}"))))
}
