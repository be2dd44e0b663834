//! The relay's settings and their defaults.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    BatchSize, DeliveryMode, Error, ErrorKind, EventPublisher, NoMetrics, OutboxMetrics, OutboxRepository,
    Result, RetryPolicy, WorkerId,
};
use tokio_util::sync::CancellationToken;

use super::engine::Engine;
use super::verdict::{Judge, RejectionPolicy};
use super::{publisher, rows};
use crate::settings::{check_durations, check_number, misconfigured, outage_retry};

/// A lease may be shorter than a statement takes on a busy database, and one that was given up would be made again for ever.
const SHORTEST_BATCH_DEADLINE: Duration = Duration::from_secs(30);
const MOST_BATCH_BYTES: u64 = 1 << 40;
const LONGEST_OUTAGE_RETRY: Duration = Duration::from_secs(30);

/// Settings shared by the relay and the publisher.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) worker_id: WorkerId,
    pub(super) batch_size: BatchSize,
    pub(super) max_batch_bytes: u64,
    pub(super) lease_ttl: Duration,
    pub(super) poll_shortest: Duration,
    pub(super) poll_longest: Duration,
    pub(super) drain_deadline: Duration,
    pub(super) outage_retry: RetryPolicy,
    pub(super) judge: Judge,
    pub(super) metrics: Arc<dyn OutboxMetrics>,
}

impl Settings {
    /// The defaults.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            worker_id: WorkerId::new("relay")?,
            batch_size: BatchSize::new(2_000)?,
            max_batch_bytes: 8 * 1024 * 1024,
            lease_ttl: Duration::from_secs(10),
            poll_shortest: Duration::from_millis(5),
            poll_longest: Duration::from_secs(1),
            drain_deadline: Duration::from_secs(20),
            outage_retry: outage_retry(LONGEST_OUTAGE_RETRY)?,
            judge: Judge { retry: RetryPolicy::default(), rejection: RejectionPolicy::default() },
            metrics: Arc::new(NoMetrics),
        })
    }

    /// How often leases are renewed.
    pub(super) fn heartbeat(&self) -> Duration {
        self.lease_ttl / 4
    }

    /// How long reading or writing a batch may take.
    pub(super) fn batch_deadline(&self) -> Duration {
        self.lease_ttl.max(SHORTEST_BATCH_DEADLINE)
    }

    /// What the relay needs.
    fn check(&self) -> Result<()> {
        let Self { lease_ttl, poll_shortest, poll_longest, .. } = self;
        self.check_shared()?;
        check_durations([
            ("drain_deadline", self.drain_deadline),
            ("outage_retry", self.outage_retry.max()),
        ])?;
        check_number("max_batch_bytes", self.max_batch_bytes, 1..=MOST_BATCH_BYTES)?;
        if poll_shortest.is_zero() || poll_shortest > poll_longest {
            return Err(misconfigured(format!(
                "the shortest poll interval {poll_shortest:?} must be above zero and at most the longest {poll_longest:?}"
            )));
        }
        if poll_longest >= lease_ttl {
            return Err(misconfigured(format!(
                "the longest poll interval {poll_longest:?} must be shorter than lease_ttl {lease_ttl:?}"
            )));
        }
        Ok(())
    }

    /// What the publisher needs as well.
    pub(super) fn check_shared(&self) -> Result<()> {
        let lease_ttl = self.lease_ttl;
        check_durations([("lease_ttl", lease_ttl), ("retry", self.judge.retry.max())])?;
        if lease_ttl < Duration::from_millis(100) {
            return Err(misconfigured(format!("lease_ttl {lease_ttl:?} is shorter than 100 ms")));
        }
        Ok(())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("worker_id", &self.worker_id)
            .field("batch_size", &self.batch_size)
            .field("lease_ttl", &self.lease_ttl)
            .finish_non_exhaustive()
    }
}

/// Publishes a store's outbox until it is cancelled: owns lanes, wakes up, publishes, marks, waits out outages, drains.
///
/// Run as many as you like, in as many processes; they share the lanes.
#[derive(Debug)]
pub struct OutboxRelay<S> {
    store: S,
    publisher: Publisher,
    settings: Settings,
}

/// The publisher behind its pointer, which has no `Debug` of its own.
#[derive(Clone)]
pub(super) struct Publisher(pub(super) Arc<dyn EventPublisher>);

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Publisher({:?})", self.0.send_order())
    }
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
        match publisher::delivery_mode(&self.store, &self.settings, &shutdown).await? {
            None => Ok(()),
            Some(DeliveryMode::Lanes) => {
                Engine::new(self.store, self.publisher.0, self.settings)?.run(shutdown).await
            }
            Some(DeliveryMode::Rows) => rows::run(self.store, self.publisher, self.settings, shutdown).await,
            Some(mode) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("delivery mode {mode} is not available in this version; use lanes or rows"),
            )),
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
