//! Looks at a store's tables now and then.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::store::Sampling;
use omni_box_core::{Result, Store};
use tokio_util::sync::CancellationToken;

use super::OtelMetrics;
use super::sampled::Sampled;

/// A task that samples a store for the gauges of the database; made by [`OtelMetrics::sampler`].
#[must_use = "run it"]
pub struct OtelSampler<S>(Sampling<S, Sampled>);

impl OtelMetrics {
    /// A task that looks at the tables of `store` each 15 s and shows what it found, until it is stopped. A set of metrics has one store.
    ///
    /// # Errors
    /// As [`Sampling::new`].
    pub fn sampler<S: Store>(&self, store: S) -> Result<OtelSampler<S>> {
        Ok(OtelSampler(Sampling::new(store, Arc::clone(&self.sampled))?))
    }
}

impl<S: Store> OtelSampler<S> {
    /// The time between two samples, 1 s to 1 h, up to a tenth more or less; 15 s by default.
    pub fn interval(self, interval: Duration) -> Self {
        Self(self.0.interval(interval))
    }

    /// Samples until `shutdown` is cancelled. A sample that fails, or takes longer than 10 s, removes what the one before it showed, and is
    /// counted; the task goes on.
    ///
    /// # Errors
    /// [`Misconfigured`](omni_box_core::ErrorKind::Misconfigured) for an interval out of range.
    ///
    /// # Cancel safety
    /// Dropping the future ends it as a shutdown does: nothing sampled is shown any longer.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        shutdown.run_until_cancelled(self.0.run()?).await;
        Ok(())
    }
}

impl<S> fmt::Debug for OtelSampler<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OtelSampler").field(&self.0).finish()
    }
}
