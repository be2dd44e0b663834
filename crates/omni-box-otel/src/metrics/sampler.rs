//! Looks at a store's tables now and then.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::store::Sample;
use omni_box_core::{Error, ErrorKind, Result, Store};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::OtelMetrics;
use super::sampled::Sampled;

const INTERVAL: Duration = Duration::from_secs(15);
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);
/// How long one sample may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// A task that samples a store for the gauges of the database; made by [`OtelMetrics::sampler`].
#[must_use = "run it"]
pub struct OtelSampler<S> {
    store: S,
    metrics: Arc<Sampled>,
    interval: Duration,
}

impl OtelMetrics {
    /// A task that looks at the tables of `store` each 15 s and shows what it found, until it is stopped. A set of metrics has one store.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) when the store has no [`inspection`](Store::inspection).
    pub fn sampler<S: Store>(&self, store: S) -> Result<OtelSampler<S>> {
        if store.inspection().is_none() {
            let text = "the store offers no inspection, so that nothing of its tables can be sampled";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        Ok(OtelSampler { store, metrics: Arc::clone(&self.sampled), interval: INTERVAL })
    }
}

impl<S: Store> OtelSampler<S> {
    /// The time between two samples, 1 s to 1 h, up to a tenth more or less; 15 s by default.
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Samples until `shutdown` is cancelled. A sample that fails, or takes longer than 10 s, removes what the one before it showed, and is
    /// counted; the task goes on.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) for an interval out of range.
    ///
    /// # Cancel safety
    /// Dropping the future ends it as a shutdown does: nothing sampled is shown any longer.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        if !(SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&self.interval) {
            let text = format!("the interval of samples {:?} must be 1s to 1h", self.interval);
            return Err(Error::new(ErrorKind::Misconfigured, text));
        }
        let _shown = Shown(&self.metrics);
        let sampling = async {
            let mut is_failing = false;
            loop {
                self.look(&mut is_failing).await;
                // processes that were started together do not stay together
                sleep(self.interval.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            never = sampling => never,
        }
    }

    async fn look(&self, is_failing: &mut bool) {
        let begun = Instant::now();
        let looked = timeout(DEADLINE, self.sample()).await;
        match looked.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "no answer in time"))) {
            Ok(sample) => {
                self.metrics.show(sample, begun.elapsed());
                if std::mem::take(is_failing) {
                    tracing::info!("the database is sampled again");
                }
            }
            Err(error) => {
                self.metrics.fail(begun.elapsed());
                if !std::mem::replace(is_failing, true) {
                    tracing::warn!(kind = ?error.kind(), error = error.chain(), "the database cannot be sampled");
                }
            }
        }
    }

    async fn sample(&self) -> Result<Sample> {
        match self.store.inspection() {
            Some(inspection) => inspection.sample().await,
            None => Err(Error::new(ErrorKind::Unsupported, "the store offers no inspection any more")),
        }
    }
}

impl<S> fmt::Debug for OtelSampler<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelSampler").field("interval", &self.interval).finish_non_exhaustive()
    }
}

/// While a sampler runs, what it found is shown.
struct Shown<'a>(&'a Sampled);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.forget();
    }
}
