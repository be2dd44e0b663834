//! The relay, and how it is described.

use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    BatchSize, DeliveryMode, EventPublisher, OutboxMetrics, OutboxRepository, Result, RetryPolicy, WorkerId,
};
use tokio_util::sync::CancellationToken;

use super::lanes::Engine;
use super::mode::{delivery_mode, unavailable};
use super::rows;
use super::settings::Settings;
use super::shared::Publisher;
use super::verdict::RejectionPolicy;

/// Publishes a store's outbox until it is cancelled: owns lanes, wakes up, publishes, marks, waits out outages, drains.
///
/// Run as many as you like, in as many processes; they share the lanes.
#[derive(Debug)]
pub struct OutboxRelay<S> {
    store: S,
    publisher: Publisher,
    settings: Settings,
}

/// Builds an [`OutboxRelay`].
#[derive(Debug)]
#[must_use = "call build"]
pub struct OutboxRelayBuilder<S> {
    store: S,
    publisher: Publisher,
    settings: Result<Settings>,
}

impl<S: OutboxRepository> OutboxRelay<S> {
    /// Starts building a relay from a store to a broker.
    pub fn builder(store: S, publisher: impl EventPublisher) -> OutboxRelayBuilder<S> {
        OutboxRelayBuilder { store, publisher: Publisher(Arc::new(publisher)), settings: Settings::new() }
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
        match delivery_mode(&self.store, &self.settings, &shutdown).await? {
            None => Ok(()),
            Some(DeliveryMode::Lanes) => {
                Engine::new(self.store, self.publisher.0, self.settings)?.run(shutdown).await
            }
            Some(DeliveryMode::Rows) => rows::run(self.store, self.publisher, self.settings, shutdown).await,
            Some(mode) => Err(unavailable(mode)),
        }
    }
}

impl<S: OutboxRepository> OutboxRelayBuilder<S> {
    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        if let Ok(settings) = &mut self.settings {
            change(settings);
        }
        self
    }

    /// The label in logs, metrics and the lanes table; `relay` by default. Replicas may share it.
    pub fn worker_id(self, worker_id: WorkerId) -> Self {
        self.set(|settings| settings.worker_id = worker_id)
    }

    /// Events of one fetch; 2,000 by default. Up to three batches are in flight.
    pub fn batch_size(self, size: BatchSize) -> Self {
        self.set(|settings| settings.batch_size = size)
    }

    /// Payload bytes of one fetch in mode `lanes`; 8 MiB by default, 1 TiB at most. In mode `rows` events are claimed by number alone, and a
    /// batch may be as large as [`batch_size`](Self::batch_size) times the largest payload: choose a small one where payloads are large.
    pub fn max_batch_bytes(self, bytes: u64) -> Self {
        self.set(|settings| settings.max_batch_bytes = bytes)
    }

    /// How long a lease lives without a heartbeat, which comes four times as often; 10 s by default. `kill -9` costs at most
    /// this long, and so does a call of the database that is never answered.
    pub fn lease_ttl(self, ttl: Duration) -> Self {
        self.set(|settings| settings.lease_ttl = ttl)
    }

    /// The shortest and the longest interval between fetches that find nothing; 5 ms and 1 s by default.
    pub fn poll_interval(self, shortest: Duration, longest: Duration) -> Self {
        self.set(|settings| (settings.poll_shortest, settings.poll_longest) = (shortest, longest))
    }

    /// How long a shutdown waits for what is in flight; 20 s by default. What the broker has not acknowledged by then is given up, and its
    /// leases or claims are handed back, which may take five seconds more.
    pub fn drain_deadline(self, deadline: Duration) -> Self {
        self.set(|settings| settings.drain_deadline = deadline)
    }

    /// When an event that failed by its own fault is tried again; after 10 s to 1 h by default. An event's six attempts then span 155 to
    /// 310 s, see [`RetryPolicy`]. An event whose topic is unavailable is tried again after at most 30 s, and costs no attempt.
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.set(|settings| settings.judge.retry = policy)
    }

    /// How often a broker or database that is down is tried again; after 100 ms to 30 s by default.
    pub fn outage_retry(self, policy: RetryPolicy) -> Self {
        self.set(|settings| settings.outage_retry = policy)
    }

    /// What a permanent rejection does to its key.
    pub fn rejection_policy(self, policy: RejectionPolicy) -> Self {
        self.set(|settings| settings.judge.rejection = policy)
    }

    /// Where to count.
    pub fn metrics(self, metrics: Arc<dyn OutboxMetrics>) -> Self {
        self.set(|settings| settings.metrics = metrics)
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured), naming the two settings that disagree, or the one that is out of range (no duration may
    /// be longer than a year).
    pub fn build(self) -> Result<OutboxRelay<S>> {
        let settings = self.settings?;
        settings.check()?;
        Ok(OutboxRelay { store: self.store, publisher: self.publisher, settings })
    }
}
