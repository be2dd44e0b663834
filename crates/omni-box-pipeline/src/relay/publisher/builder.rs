//! How a publisher of batches is described.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    EventPublisher, FetchFilters, NoMetrics, OutboxEvent, OutboxMetrics, OutboxRepository, Result,
    RetryPolicy,
};

use super::OutboxPublisher;
use crate::copies::Copies;
use crate::relay::config::RelayConfig;
use crate::relay::observer::Observer;
use crate::relay::shared::Publisher;
use crate::relay::status::RelayStatus;
use crate::relay::verdict::RejectionPolicy;
use crate::settings::{check_lock_wait, check_number, misconfigured};
use crate::step::ProcessingStep;

/// Builds an [`OutboxPublisher`].
///
/// ```
/// use omni_box_core::RawEventConverter;
/// use omni_box_pipeline::OutboxPublisher;
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// let publisher = MemoryBroker::new().publisher(RawEventConverter);
/// let publisher = OutboxPublisher::builder(MemoryStore::builder().rows().build(), publisher).build();
/// assert!(publisher.is_ok());
/// ```
#[must_use = "call build"]
pub struct OutboxPublisherBuilder<S> {
    store: S,
    publisher: Publisher,
    metrics: Arc<dyn OutboxMetrics>,
    config: RelayConfig,
    steps: Vec<Arc<dyn ProcessingStep<OutboxEvent>>>,
    publish_timeout: Option<Duration>,
    concurrency_limit: Option<usize>,
}

impl<S> fmt::Debug for OutboxPublisherBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxPublisherBuilder")
            .field("config", &self.config)
            .field("publish_timeout", &self.publish_timeout)
            .finish_non_exhaustive()
    }
}

impl<S: OutboxRepository> OutboxPublisherBuilder<S> {
    pub(super) fn new(store: S, publisher: Arc<dyn EventPublisher>) -> Self {
        Self {
            store,
            publisher: Publisher(publisher),
            metrics: Arc::new(NoMetrics),
            config: RelayConfig::default(),
            steps: Vec::new(),
            publish_timeout: None,
            concurrency_limit: None,
        }
    }

    /// How long a batch may take to be acknowledged; by default as long as a lease lives, which is also the most. Events that are not
    /// acknowledged by then are released.
    pub fn publish_timeout(mut self, limit: Duration) -> Self {
        self.publish_timeout = Some(limit);
        self
    }

    /// How many events of a batch are in flight with the broker at once, at least 1; all of them by default.
    pub fn concurrency_limit(mut self, events: usize) -> Self {
        self.concurrency_limit = Some(events);
        self
    }

    /// How long a lease or claim lives between calls; 10 s by default.
    pub fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.config.lease_ttl = ttl;
        self
    }

    /// Sets [`RelayConfig::retry`].
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.config.retry = policy;
        self
    }

    /// Sets [`RelayConfig::rejection_policy`].
    pub fn rejection_policy(mut self, policy: RejectionPolicy) -> Self {
        self.config.rejection_policy = policy;
        self
    }

    /// Takes all steps at once.
    pub(crate) fn steps(mut self, steps: Vec<Arc<dyn ProcessingStep<OutboxEvent>>>) -> Self {
        self.steps = steps;
        self
    }

    /// Adds a step, behind those that were added before. With steps, at most one event of a key is in flight.
    pub fn step(mut self, step: impl ProcessingStep<OutboxEvent>) -> Self {
        self.steps.push(Arc::new(step));
        self
    }

    /// Counts and measures; nothing by default. Takes an `Arc` too, to be read elsewhere.
    pub fn metrics(mut self, metrics: impl OutboxMetrics) -> Self {
        self.metrics = Arc::new(metrics);
        self
    }

    /// Builds the publisher.
    ///
    /// # Errors
    /// [`Misconfigured`](omni_box_core::ErrorKind::Misconfigured), naming the two settings that disagree, or the one that is out of range (no
    /// duration may be longer than a year).
    pub fn build(self) -> Result<OutboxPublisher<S>> {
        let settings = self.config.check_shared()?;
        let lease_ttl = settings.lease_ttl;
        check_lock_wait(lease_ttl, Duration::ZERO, self.store.lock_wait())?;
        let publish_timeout = self.publish_timeout.unwrap_or(lease_ttl);
        if publish_timeout.is_zero() || publish_timeout > lease_ttl {
            return Err(misconfigured(format!(
                "publish_timeout {publish_timeout:?} must be above zero and at most lease_ttl {lease_ttl:?}"
            )));
        }
        let concurrency_limit = self.concurrency_limit.unwrap_or(usize::MAX);
        check_number("concurrency_limit", concurrency_limit, 1..=usize::MAX)?;
        let copies = Copies::new(&self.steps, &self.store, FetchFilters::new(), &settings.worker_id)?;
        let publisher = OutboxPublisher::new(
            self.store,
            self.publisher.stepped(self.steps, &settings),
            settings,
            Observer::new(self.metrics),
            RelayStatus::default(),
        );
        Ok(OutboxPublisher { copies, publish_timeout, concurrency_limit, ..publisher })
    }
}
