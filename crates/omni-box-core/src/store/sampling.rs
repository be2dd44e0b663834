//! Looks at a store's tables now and then.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Sample, Store};
use crate::error::{Error, ErrorKind, Result};

/// Where samples are shown: the gauges of a metrics system.
pub trait SampleSink: Send + Sync + 'static {
    /// Shows a sample in the place of the one before.
    fn show(&self, sample: Sample, took: Duration);

    /// Counts a sample that failed, and shows nothing until the next one: what was true before may be true no longer.
    fn fail(&self, took: Duration);

    /// Shows nothing until the next sample.
    fn forget(&self);
}

/// Samples a store for a metrics system; what adapters of such systems have in common.
///
/// - A sample is taken each 15 s, up to a tenth more or less: processes that were started together do not stay together.
/// - A sample that fails, or takes longer than 10 s, is counted and removes what the one before it showed. Failures in a row are one line of
///   level WARN.
#[must_use = "run it"]
pub struct Sampling<S, K> {
    store: S,
    sink: Arc<K>,
    interval: Duration,
}

impl<S: Store, K: SampleSink> Sampling<S, K> {
    const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
    const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);
    /// How long one sample may take.
    const DEADLINE: Duration = Duration::from_secs(10);

    /// Samples of `store`, for `sink`.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) when the store has no [`inspection`](Store::inspection).
    pub fn new(store: S, sink: Arc<K>) -> Result<Self> {
        if store.inspection().is_none() {
            let text = "the store offers no inspection, so that nothing of its tables can be sampled";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        Ok(Self { store, sink, interval: Duration::from_secs(15) })
    }

    /// The time between two samples, 1 s to 1 h.
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// A future that samples until it is dropped; then nothing sampled is shown any longer.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) for an interval out of range.
    pub fn run(self) -> Result<impl Future<Output = ()> + Send> {
        if !(Self::SHORTEST_INTERVAL..=Self::LONGEST_INTERVAL).contains(&self.interval) {
            let text = format!("the interval of samples {:?} must be 1s to 1h", self.interval);
            return Err(Error::new(ErrorKind::Misconfigured, text));
        }
        let Self { store, sink, interval } = self;
        let shown = Shown(sink);
        Ok(async move {
            let mut is_failing = false;
            loop {
                look(&store, &*shown.0, &mut is_failing).await;
                sleep(interval.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
            }
        })
    }
}

async fn look<S: Store, K: SampleSink>(store: &S, sink: &K, is_failing: &mut bool) {
    let begun = Instant::now();
    let looked = timeout(Sampling::<S, K>::DEADLINE, sample(store)).await;
    match looked.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "no answer in time"))) {
        Ok(sample) => {
            sink.show(sample, begun.elapsed());
            if std::mem::take(is_failing) {
                tracing::info!("the database is sampled again");
            }
        }
        Err(error) => {
            sink.fail(begun.elapsed());
            if !std::mem::replace(is_failing, true) {
                tracing::warn!(kind = ?error.kind(), error = error.chain(), "the database cannot be sampled");
            }
        }
    }
}

async fn sample<S: Store>(store: &S) -> Result<Sample> {
    match store.inspection() {
        Some(inspection) => inspection.sample().await,
        None => Err(Error::new(ErrorKind::Unsupported, "the store offers no inspection any more")),
    }
}

impl<S, K> fmt::Debug for Sampling<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampling").field("interval", &self.interval).finish_non_exhaustive()
    }
}

/// While samples are taken, what they found is shown.
struct Shown<K: SampleSink>(Arc<K>);

impl<K: SampleSink> Drop for Shown<K> {
    fn drop(&mut self) {
        self.0.forget();
    }
}
