//! What an inbox says of itself while it runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use omni_box_core::TopicPartition;
use tokio::time::Instant;

use crate::gate::GateStatus;
use crate::lamps::{Lamp, Lamps};

/// A handle to the state of an [`InboxConsumerRunner`](crate::InboxConsumerRunner) or an [`InboxWorker`](crate::InboxWorker), for readiness
/// probes and dashboards.
///
/// Take it before [`run`](crate::InboxConsumerRunner::run), which consumes the runner. A clone costs as much as that of an `Arc`, and a look
/// neither waits for the database nor for the broker.
///
/// ```
/// use omni_box_core::{ConsumerGroup, InboxContext};
/// use omni_box_pipeline::{InboxConsumerRunner, on};
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
/// use tokio_util::sync::CancellationToken;
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omni_box_core::Result<()> {
/// let broker = MemoryBroker::new();
/// broker.create_topic("orders", 1);
/// let consumer = broker.consumer(&ConsumerGroup::new("shipping")?, ["orders"]);
/// let runner =
///     InboxConsumerRunner::builder(consumer, MemoryStore::new()).handler(on("order.placed", ship)).build()?;
/// let status = runner.status();
/// assert!(!status.now().is_ready());
///
/// let stop = CancellationToken::new();
/// let running = tokio::spawn(runner.run(stop.clone()));
/// while status.now().partitions.is_empty() {
///     tokio::task::yield_now().await;
/// }
/// assert!(status.now().is_ready());
/// # stop.cancel();
/// # running.await.unwrap()
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct InboxStatus(Arc<State>);

#[derive(Debug)]
struct State {
    /// The names of the worker's gates.
    gates: Vec<&'static str>,
    lamps: Lamps,
    in_flight: AtomicUsize,
    rest: Mutex<Rest>,
}

#[derive(Debug, Default)]
struct Rest {
    is_running: bool,
    /// How often each is assigned: its last assignment may be letting it go still.
    partitions: BTreeMap<TopicPartition, usize>,
    last_progress: Option<Instant>,
}

/// An inbox's state at one moment.
///
/// ```
/// use omni_box_pipeline::InboxSnapshot;
///
/// /// What a readiness probe answers.
/// fn readiness(inbox: &InboxSnapshot) -> (u16, String) {
///     let closed = inbox.gates.iter().filter(|gate| !gate.is_open()).map(|gate| gate.name);
///     match inbox.is_ready() {
///         true => (200, format!("{} partitions, {} in flight", inbox.partitions.len(), inbox.in_flight)),
///         false => (503, format!("waits for: {}", closed.collect::<Vec<_>>().join(", "))),
///     }
/// }
/// # let _ = readiness;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxSnapshot {
    /// Whether `run` has begun (and the runner has joined its group), and has not ended. It ends after the drain of a shutdown.
    pub is_running: bool,
    /// The partitions that are assigned to the runner, in ascending order. Without partitions it stands by while other members of its group
    /// have all of them. Always empty for an [`InboxWorker`](crate::InboxWorker).
    pub partitions: Vec<TopicPartition>,
    /// Messages in memory, between their arrival (or claim) and their outcome.
    pub in_flight: usize,
    /// The gates: `database`, `offset commit` (of a runner), and `step` when there are steps. Of several partitions whose offsets are
    /// refused, the first outage counts.
    pub gates: Vec<GateStatus>,
    /// When outcomes were last committed, or nothing was due. `None` until then.
    pub last_progress: Option<Instant>,
}

impl InboxSnapshot {
    /// Whether it runs, and finds database and broker well, as far as it knows. A runner that stands by without partitions is ready too.
    ///
    /// An outage needs no restart: a liveness probe should look at [`is_running`](Self::is_running) instead.
    pub fn is_ready(&self) -> bool {
        self.is_running && self.gates.iter().all(GateStatus::is_open)
    }
}

impl InboxStatus {
    /// Of a worker that has gates of these names.
    pub(crate) fn new(gates: Vec<&'static str>) -> Self {
        let state =
            State { gates, lamps: Lamps::default(), in_flight: AtomicUsize::new(0), rest: Mutex::default() };
        Self(Arc::new(state))
    }

    /// The state now. After the end of `run`, or when its future was dropped, nothing runs and nothing is assigned.
    pub fn now(&self) -> InboxSnapshot {
        let State { gates, lamps, in_flight, .. } = &*self.0;
        let gate = |&name: &&'static str| GateStatus { name, closed_since: lamps.lit_since(name) };
        let gates = gates.iter().map(gate).collect();
        let Rest { is_running, partitions, last_progress } = &*self.rest();
        InboxSnapshot {
            is_running: *is_running,
            partitions: partitions.keys().cloned().collect(),
            in_flight: in_flight.load(Ordering::Relaxed),
            gates,
            last_progress: *last_progress,
        }
    }

    /// For one of the worker's gates.
    pub(crate) fn lamp(&self, gate: &'static str) -> Lamp {
        self.0.lamps.lamp(gate)
    }

    /// Notes that the worker runs, until what is returned is dropped.
    pub(crate) fn running(&self) -> Running {
        self.rest().is_running = true;
        Running(self.clone())
    }

    pub(crate) fn progressed(&self) {
        self.rest().last_progress = Some(Instant::now());
    }

    pub(crate) fn assigned(&self, partition: &TopicPartition) {
        *self.rest().partitions.entry(partition.clone()).or_default() += 1;
    }

    pub(crate) fn let_go(&self, partition: &TopicPartition) {
        let mut rest = self.rest();
        if let Some(assigned) = rest.partitions.get_mut(partition) {
            *assigned -= 1;
            if *assigned == 0 {
                rest.partitions.remove(partition);
            }
        }
    }

    /// Notes how many messages a part of the worker has in memory, which had `before`.
    pub(crate) fn in_memory(&self, before: usize, now: usize) {
        let in_flight = &self.0.in_flight;
        match now >= before {
            true => in_flight.fetch_add(now - before, Ordering::Relaxed),
            false => in_flight.fetch_sub(before - now, Ordering::Relaxed),
        };
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.0.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker that runs.
#[derive(Debug)]
pub(crate) struct Running(InboxStatus);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.rest().is_running = false;
    }
}
