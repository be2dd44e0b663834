//! Looks at a store's tables now and then.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::store::Sampling;
use omni_box_core::{Result, Store};
use tokio_util::sync::CancellationToken;

use crate::PrometheusMetrics;
use crate::sampled::Sampled;

/// A task that samples a store for the gauges of the database; made by [`PrometheusMetrics::sampler`].
#[must_use = "run it"]
pub struct Sampler<S> {
    sampling: Sampling<S, Sampled>,
    is_off: bool,
}

impl PrometheusMetrics {
    /// A task that looks at the tables of `store` each 15 s and shows what it found, until it is stopped. Each process with metrics runs
    /// one. A set of metrics has one store: metrics of another one need a prefix of their own.
    ///
    /// ```
    /// use omni_box_prometheus::PrometheusMetrics;
    /// use omni_box_prometheus::prometheus::Registry;
    /// use omni_box_testkit::MemoryStore;
    /// use tokio_util::sync::CancellationToken;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> omni_box_core::Result<()> {
    /// let metrics = PrometheusMetrics::new(&Registry::new())?;
    /// let sampler = metrics.sampler(MemoryStore::new())?;
    /// // beside relays and inboxes: Workers::new().task("samples", |stop| sampler.run(stop))
    /// let stop = CancellationToken::new();
    /// # stop.cancel();
    /// sampler.run(stop).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Sampling::new`].
    pub fn sampler<S: Store>(&self, store: S) -> Result<Sampler<S>> {
        Ok(Sampler { sampling: Sampling::new(store, Arc::clone(&self.sampled))?, is_off: false })
    }
}

impl<S: Store> Sampler<S> {
    /// The time between two samples, 1 s to 1 h, up to a tenth more or less; 15 s by default. `None` takes no samples: for fleets of hundreds of
    /// processes, of which a few are enough.
    pub fn interval(self, interval: impl Into<Option<Duration>>) -> Self {
        match interval.into() {
            Some(interval) => Self { sampling: self.sampling.interval(interval), is_off: false },
            None => Self { is_off: true, ..self },
        }
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
        if self.is_off {
            shutdown.cancelled().await;
            return Ok(());
        }
        // sampling always is the caller's own task, never the scrape: a scraper that asks too often asks no database
        shutdown.run_until_cancelled(self.sampling.run()?).await;
        Ok(())
    }
}

impl<S> fmt::Debug for Sampler<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler").field("sampling", &self.sampling).field("is_off", &self.is_off).finish()
    }
}
