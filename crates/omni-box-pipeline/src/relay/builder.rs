//! The relay, and how it is described.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    DeliveryMode, EventPublisher, FetchFilters, NoMetrics, OutboxEvent, OutboxMetrics, OutboxRepository,
    Result, RetryPolicy,
};
use tokio_util::sync::CancellationToken;

use super::config::RelayConfig;
use super::lanes::Engine;
use super::mode::{delivery_mode, unavailable};
use super::observer::Observer;
use super::publisher::OutboxPublisher;
use super::rows;
use super::settings::Settings;
use super::shared::Publisher;
use super::status::RelayStatus;
use super::verdict::RejectionPolicy;
use crate::copies::Copies;
use crate::gate::Gate;
use crate::settings::check_lock_wait;
use crate::step::ProcessingStep;

/// Publishes a store's outbox until it is cancelled: owns lanes, wakes up, publishes, marks, waits out outages, drains.
///
/// Run as many as you like, in as many processes; they share the lanes.
///
/// ```no_run
/// use std::time::Duration;
///
/// use omni_box_core::{EventPublisher, OutboxRepository, Result};
/// use omni_box_pipeline::OutboxRelay;
/// use tokio_util::sync::CancellationToken;
///
/// async fn publish(store: impl OutboxRepository, publisher: impl EventPublisher, stop: CancellationToken) -> Result<()> {
///     let relay = OutboxRelay::builder(store, publisher).lease_ttl(Duration::from_secs(30)).build()?;
///     relay.run(stop).await // until `stop` is cancelled, and what is in flight is marked
/// }
/// ```
pub struct OutboxRelay<S> {
    store: S,
    copies: Option<Arc<Copies<S, OutboxEvent>>>,
    publisher: Publisher,
    settings: Settings,
    observer: Observer,
    status: RelayStatus,
}

impl<S> fmt::Debug for OutboxRelay<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxRelay").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Describes an [`OutboxRelay`]: store, publisher, metrics and a [`RelayConfig`].
///
/// Setters take plain values. [`build`](Self::build) reports the first that is out of range or contradicts another one.
///
/// ```
/// use std::time::Duration;
///
/// use omni_box_core::RawEventConverter;
/// use omni_box_pipeline::OutboxRelay;
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// let publisher = || MemoryBroker::new().publisher(RawEventConverter);
/// let builder = OutboxRelay::builder(MemoryStore::new(), publisher());
/// assert!(builder.worker_id("orders-1").batch_size(500).build().is_ok());
///
/// let builder = OutboxRelay::builder(MemoryStore::new(), publisher());
/// let refused = builder.lease_ttl(Duration::from_secs(1)).build().unwrap_err().to_string();
/// assert!(refused.contains("longest_poll 1s") && refused.contains("lease_ttl 1s"), "{refused}");
/// ```
#[must_use = "call build"]
pub struct OutboxRelayBuilder<S> {
    store: S,
    publisher: Publisher,
    metrics: Arc<dyn OutboxMetrics>,
    config: RelayConfig,
    steps: Vec<Arc<dyn ProcessingStep<OutboxEvent>>>,
}

impl<S> fmt::Debug for OutboxRelayBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxRelayBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<S: OutboxRepository> OutboxRelay<S> {
    /// Starts building a relay from a store to a broker.
    pub fn builder(store: S, publisher: impl EventPublisher) -> OutboxRelayBuilder<S> {
        OutboxRelayBuilder {
            store,
            publisher: Publisher(Arc::new(publisher)),
            metrics: Arc::new(NoMetrics),
            config: RelayConfig::default(),
            steps: Vec::new(),
        }
    }

    /// A handle that tells how the relay is while it runs.
    pub fn status(&self) -> RelayStatus {
        self.status.clone()
    }

    /// Publishes until `shutdown` is cancelled, then sends no more, waits for what is in flight within the drain deadline, and
    /// hands its leases back. An outage of the database or the broker is waited out.
    ///
    /// # Errors
    /// When going on cannot help: a missing or foreign schema, a store without what the delivery mode needs, a producer that
    /// ended for good. Leases are handed back then too.
    ///
    /// # Cancel safety
    /// When the future is dropped, leases expire by themselves and what was in flight may be published twice; cancel
    /// `shutdown` instead.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let Self { store, copies, publisher, settings, observer, status } = self;
        let _copying = Copies::spawn(copies.as_ref(), &shutdown);
        let _running = status.running(&observer);
        let mut database = Gate::new("database", settings.outage_retry);
        match delivery_mode(&store, &settings, &mut database, &status, &shutdown).await? {
            None => Ok(()),
            Some(DeliveryMode::Lanes) => {
                Engine::new(store, publisher.0, settings, observer, database, status.clone())?
                    .run(shutdown)
                    .await
            }
            Some(DeliveryMode::Rows) => {
                let outbox = OutboxPublisher::new(store, publisher, settings, observer, status.clone());
                rows::run(outbox, database, shutdown).await
            }
            Some(mode) => Err(unavailable(mode)),
        }
    }
}

impl<S: OutboxRepository> OutboxRelayBuilder<S> {
    /// Takes all settings at once, in place of those that were set before.
    pub fn config(mut self, config: RelayConfig) -> Self {
        self.config = config;
        self
    }

    /// Counts and measures; nothing by default. Takes an `Arc` too, to be read elsewhere.
    pub fn metrics(mut self, metrics: impl OutboxMetrics) -> Self {
        self.metrics = Arc::new(metrics);
        self
    }

    /// Adds a step, behind those that were added before. With steps, at most one event of a key is in flight.
    pub fn step(mut self, step: impl ProcessingStep<OutboxEvent>) -> Self {
        self.steps.push(Arc::new(step));
        self
    }

    /// Sets [`RelayConfig::worker_id`].
    pub fn worker_id(mut self, worker: impl fmt::Display) -> Self {
        self.config.worker_id = worker.to_string();
        self
    }

    /// Sets [`RelayConfig::batch_size`].
    pub fn batch_size(mut self, events: u32) -> Self {
        self.config.batch_size = events;
        self
    }

    /// Sets [`RelayConfig::max_batch_bytes`].
    pub fn max_batch_bytes(mut self, bytes: u64) -> Self {
        self.config.max_batch_bytes = bytes;
        self
    }

    /// Sets [`RelayConfig::lease_ttl`].
    pub fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.config.lease_ttl = ttl;
        self
    }

    /// Sets [`RelayConfig::shortest_poll`] and [`RelayConfig::longest_poll`].
    pub fn poll_interval(mut self, shortest: Duration, longest: Duration) -> Self {
        (self.config.shortest_poll, self.config.longest_poll) = (shortest, longest);
        self
    }

    /// Sets [`RelayConfig::drain_deadline`].
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.config.drain_deadline = deadline;
        self
    }

    /// Sets [`RelayConfig::retry`].
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.config.retry = policy;
        self
    }

    /// Sets [`RelayConfig::outage_retry`].
    pub fn outage_retry(mut self, policy: RetryPolicy) -> Self {
        self.config.outage_retry = policy;
        self
    }

    /// Sets [`RelayConfig::rejection_policy`].
    pub fn rejection_policy(mut self, policy: RejectionPolicy) -> Self {
        self.config.rejection_policy = policy;
        self
    }

    /// Builds the relay.
    ///
    /// # Errors
    /// [`Misconfigured`](omni_box_core::ErrorKind::Misconfigured), naming the two settings that disagree, or the one that is out of range (no
    /// duration may be longer than a year). On SQLite the lease must be longer than the busy timeout. [`Unsupported`](omni_box_core::ErrorKind::Unsupported) for a [`DlqStep`](crate::DlqStep) where the store
    /// lists no failed events.
    pub fn build(self) -> Result<OutboxRelay<S>> {
        let settings = self.config.check()?;
        check_lock_wait(settings.lease_ttl, Duration::ZERO, self.store.lock_wait())?;
        let copies = Copies::new(&self.steps, &self.store, FetchFilters::new(), &settings.worker_id)?;
        Ok(OutboxRelay {
            copies: copies.map(Arc::new),
            store: self.store,
            publisher: self.publisher.stepped(self.steps, &settings),
            settings,
            observer: Observer::new(self.metrics),
            status: RelayStatus::default(),
        })
    }
}
