//! What a relay says of itself while it runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use omni_box_core::{DeliveryMode, LaneId};
use tokio::time::Instant;

use super::observer::{Gauges, Observer};
use crate::gate::GateStatus;

/// A handle to a relay's state, for readiness probes and dashboards.
///
/// Take it before [`run`](crate::OutboxRelay::run), which consumes the relay. A clone costs as much as that of an `Arc`, and a look neither
/// waits for the database nor for the broker.
///
/// ```
/// use omni_box_core::RawEventConverter;
/// use omni_box_pipeline::OutboxRelay;
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
/// use tokio_util::sync::CancellationToken;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omni_box_core::Result<()> {
/// let relay =
///     OutboxRelay::builder(MemoryStore::new(), MemoryBroker::new().publisher(RawEventConverter)).build()?;
/// let status = relay.status();
/// assert!(!status.now().is_ready());
///
/// let stop = CancellationToken::new();
/// let running = tokio::spawn(relay.run(stop.clone()));
/// while !status.now().is_ready() {
///     tokio::task::yield_now().await; // a probe answers 503 until then
/// }
/// # stop.cancel();
/// # running.await.unwrap()
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct RelayStatus(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    snapshot: RelaySnapshot,
    /// While the relay runs: the metrics are told what changes.
    gauges: Option<Gauges>,
}

/// A relay's state at one moment.
///
/// ```
/// use omni_box_pipeline::RelaySnapshot;
///
/// let before_its_start = RelaySnapshot::default();
/// assert!(!before_its_start.is_ready() && before_its_start.lanes.is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelaySnapshot {
    /// Whether [`run`](crate::OutboxRelay::run) has begun and has not ended. It ends after the last hand-over of a shutdown.
    pub is_running: bool,
    /// The table's delivery mode; `None` until the database has answered for the first time.
    pub mode: Option<DeliveryMode>,
    /// The lanes that the relay owns, in ascending order. Without lanes it stands by while other relays own all of them, or its broker is
    /// down for longer than a lease lives. Always empty in mode `rows`.
    pub lanes: Vec<LaneId>,
    /// Events between their fetch (or claim) and the record of their outcome.
    pub in_flight: usize,
    /// The gates before the database and the broker. Empty until `run` begins.
    pub gates: Vec<GateStatus>,
    /// When the relay last recorded an outcome, or found nothing that was due. `None` until it did so for the first time.
    pub last_progress: Option<Instant>,
}

impl RelaySnapshot {
    /// Whether the relay runs, knows its delivery mode, and finds database and broker well. A relay that stands by without lanes is ready too.
    ///
    /// An outage needs no restart: a liveness probe should look at [`is_running`](Self::is_running) instead.
    pub fn is_ready(&self) -> bool {
        self.is_running && self.mode.is_some() && self.gates.iter().all(GateStatus::is_open)
    }
}

impl RelayStatus {
    /// The state now. After the end of `run`, or when its future was dropped, the relay is not running and owns nothing. The rest is what
    /// was known last.
    pub fn now(&self) -> RelaySnapshot {
        self.state().snapshot.clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut RelaySnapshot)) {
        let State { snapshot, gauges } = &mut *self.state();
        change(snapshot);
        if let Some(gauges) = gauges {
            gauges.show(snapshot.mode, snapshot.in_flight, snapshot.lanes.len(), &snapshot.gates);
        }
    }

    /// Notes that the relay runs, until what is returned is dropped.
    pub(super) fn running(&self, observer: &Observer) -> Running {
        self.state().gauges = Some(Gauges::new(observer));
        self.update(|snapshot| snapshot.is_running = true);
        Running(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A relay that runs.
pub(super) struct Running(RelayStatus);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.update(|snapshot| {
            snapshot.is_running = false;
            snapshot.in_flight = 0;
            snapshot.lanes.clear();
        });
        self.0.state().gauges = None;
    }
}
