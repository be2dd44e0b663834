//! The relay in mode `lanes`: fetch, publish, mark and heartbeat overlap; one task decides.

mod batch;
mod broker;
mod farewell;
mod lease;

use std::collections::HashSet;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    Activity, DeliveryReport, Error, ErrorKind, EventPublisher, FailureClass, LaneFetch, LaneId, LaneRead,
    LaneSettlement, LaneShare, Lease, OrderedLanes, OutboxRepository, OwnerId, Reporter, Result, SendOrder,
    Settled, Wakeup,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::flight::Flight;
use super::owned::OwnedLanes;
use crate::deadline::FAREWELL;
use crate::gate::Gate;
use crate::polling::Polling;
use crate::relay::observer::Observer;
use crate::relay::settings::Settings;
use crate::relay::status::RelayStatus;
use crate::relay::verdict::RejectionPolicy;
use crate::relay::wakeup::wait;

/// Outcomes wait this long for company before they are written, unless nothing else is in flight.
const SETTLE_LINGER: Duration = Duration::from_millis(10);
/// A wake-up renews leases too, but not more often than this.
const RENEW_ON_WAKE: Duration = Duration::from_millis(500);
/// How many times the longest poll a relay rests while the store promises quiet.
const REST: u32 = 5;
/// Batches in flight at once.
const BATCHES_IN_FLIGHT: usize = 3;

/// The database's calls, as its gate tells them apart.
mod call {
    pub(super) const FETCH: &str = "fetch";
    pub(super) const SETTLE: &str = "settle";
    pub(super) const LEASE: &str = "lease";
    pub(super) const RELEASE: &str = "release";
    pub(super) const ANNOUNCE: &str = "announce";
    pub(super) const LEAVE: &str = "leave";
}

/// One thing that runs beside the loop, at most once at a time.
type Op<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

async fn done<T>(op: &mut Op<T>) -> T {
    let Some(running) = op else { return pending().await };
    let output = running.await;
    *op = None;
    output
}

/// Whether the broker may be used.
#[derive(Debug, Clone, Copy)]
enum Broker {
    Open,
    /// Everything in flight is being given up; then it is closed until this time, or open.
    Abandoning(Option<Instant>),
    /// The same, as topics take nothing any more; the broker is checked first, to tell an outage from topics that accept nothing.
    Stalled,
    /// Is asked again at this time.
    Closed(Instant),
    Checking,
}

/// Events that stand still in the publisher's hands.
struct Stall {
    since: Instant,
    /// Topics that take nothing; none if lanes that drain are to be freed.
    topics: HashSet<String>,
    /// Everything else is waited for until this time.
    until: Instant,
}

enum Signal {
    Cancelled,
    Fetched(Fetched),
    Submitted,
    Reported,
    Settled(Written),
    Lease(LeaseAnswer),
    Broker(Result<()>),
    Woken,
    Tick,
}

struct Fetched {
    number: u64,
    plan: Vec<LaneRead>,
    found: Result<LaneFetch>,
}

struct Written {
    settlement: LaneSettlement,
    lanes: HashSet<LaneId>,
    result: Result<Settled>,
}

enum LeaseAnswer {
    Renewed { asked: Instant, share: Result<LaneShare> },
    Released { leases: Vec<Lease>, result: Result<()> },
    Announced { activity: Activity, result: Result<()> },
    Left { result: Result<()> },
}

pub(crate) struct Engine<S> {
    store: S,
    publisher: Arc<dyn EventPublisher>,
    settings: Settings,
    observer: Observer,
    status: RelayStatus,
    owner: OwnerId,
    owned: OwnedLanes,
    flight: Flight,
    polling: Polling,
    wakeup: Option<Box<dyn Wakeup>>,
    reporter: Reporter,
    incoming: mpsc::UnboundedReceiver<DeliveryReport>,
    reports: Vec<DeliveryReport>,

    fetching: Op<Fetched>,
    submitting: Op<()>,
    settling: Op<Written>,
    leasing: Op<LeaseAnswer>,
    recovering: Op<Result<()>>,

    fetches: u64,
    /// When a lane is read from its beginning, and how many have been.
    sweep_due: Instant,
    sweeps: usize,
    unwritten: Option<(LaneSettlement, HashSet<LaneId>)>,
    lost: Vec<LaneId>,
    lease_due: Instant,
    lease_asked: Instant,
    /// What stands still, while everything else in flight is waited for.
    stall: Option<Stall>,
    /// When an outcome was last recorded, or nothing was due.
    last_progress: Option<Instant>,
    broker: Broker,
    broker_gate: Gate,
    database_gate: Gate,
    stopping: Option<Instant>,
    outcome: Result<()>,
}

impl<S: OutboxRepository> Engine<S> {
    pub(crate) fn new(
        store: S,
        publisher: Arc<dyn EventPublisher>,
        settings: Settings,
        observer: Observer,
        database_gate: Gate,
        status: RelayStatus,
    ) -> Result<Self> {
        if store.lanes().is_none() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "delivery mode lanes needs a store with lanes; set the mode to rows or use another store",
            ));
        }
        let now = Instant::now();
        let one_per_key = publisher.send_order() == SendOrder::OnePerKey
            || settings.judge.rejection == RejectionPolicy::HoldKey;
        let (reporter, incoming) = Reporter::channel();
        Ok(Self {
            owner: OwnerId::generate(),
            owned: OwnedLanes::default(),
            flight: Flight::new(settings.judge, one_per_key),
            polling: Polling::new(settings.shortest_poll, settings.longest_poll, now).resting(
                (settings.longest_poll * REST).min(settings.lease_ttl / 2).max(settings.longest_poll),
            ),
            wakeup: store.wakeup(),
            reporter,
            incoming,
            reports: Vec::new(),
            fetching: None,
            submitting: None,
            settling: None,
            leasing: None,
            recovering: None,
            fetches: 0,
            sweep_due: now + settings.heartbeat(),
            sweeps: 0,
            unwritten: None,
            lost: Vec::new(),
            lease_due: now,
            lease_asked: now,
            stall: None,
            broker: Broker::Closed(now),
            broker_gate: Gate::new("broker", settings.outage_retry),
            database_gate: database_gate.calls_take(settings.batch_deadline()),
            status,
            last_progress: None,
            stopping: None,
            outcome: Ok(()),
            store,
            publisher,
            settings,
            observer,
        })
    }

    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<()> {
        tracing::info!(worker_id = %self.settings.worker_id, owner = %self.owner, "relay started");
        loop {
            // before anything is begun: what was fetched may have come together with the stop
            if self.stopping.is_none() && shutdown.is_cancelled() {
                self.take(Signal::Cancelled);
            }
            let now = Instant::now();
            if self.stopping.is_some_and(|deadline| now >= deadline || self.is_drained()) {
                break;
            }
            let tick = self.start_what_can(now);
            self.tell_status();
            let is_quiet = self.polling.is_quiet();
            let signal = tokio::select! {
                () = shutdown.cancelled(), if self.stopping.is_none() => Signal::Cancelled,
                fetched = done(&mut self.fetching) => Signal::Fetched(fetched),
                () = done(&mut self.submitting) => Signal::Submitted,
                _ = self.incoming.recv_many(&mut self.reports, 10_000) => Signal::Reported,
                written = done(&mut self.settling) => Signal::Settled(written),
                answer = done(&mut self.leasing) => Signal::Lease(answer),
                result = done(&mut self.recovering) => Signal::Broker(result),
                () = wait(&mut self.wakeup), if is_quiet => Signal::Woken,
                () = sleep_until(tick) => Signal::Tick,
            };
            self.take(signal);
        }
        self.farewell().await
    }

    fn take(&mut self, signal: Signal) {
        let now = Instant::now();
        match signal {
            Signal::Cancelled => self.stop(self.settings.drain_deadline, Ok(())),
            Signal::Fetched(fetched) => self.take_fetched(fetched, now),
            Signal::Tick => {}
            Signal::Submitted | Signal::Reported => self.take_reports(now),
            Signal::Settled(written) => self.take_written(written, now),
            Signal::Lease(answer) => self.take_lease(answer, now),
            Signal::Broker(result) => self.take_broker(result, now),
            Signal::Woken => {
                self.polling.woken(now);
                // perhaps another relay has given lanes back
                self.lease_due = self.lease_due.min(self.lease_asked + RENEW_ON_WAKE);
            }
        }
    }

    /// Starts everything that can start, and says when to look again if nothing happens.
    fn start_what_can(&mut self, now: Instant) -> Instant {
        let far = now + Duration::from_secs(3_600);
        let mut next = self.stopping.unwrap_or(far);
        let mut at = |time: Option<Instant>| next = next.min(time.unwrap_or(far));
        at(self.start_broker(now));
        at(self.start_lease(now));
        at(self.start_fetch(now));
        at(self.start_submit(now));
        at(self.start_settle(now));
        next
    }

    fn tell_status(&self) {
        self.status.update(|status| {
            self.owned.list(&mut status.lanes);
            status.in_flight = self.flight.len();
            status.gates.clear();
            status.gates.extend([self.database_gate.status(), self.broker_gate.status()]);
            status.last_progress = self.last_progress;
        });
    }

    fn database_failed(&mut self, call: &'static str, error: Error) {
        if error.class() == FailureClass::Permanent {
            return self.stop(FAREWELL, Err(error));
        }
        // another server may answer next, one that knows less
        self.flight.read_anew(self.fetches);
        self.database_gate.close_for(call, &error);
    }

    fn stop(&mut self, deadline: Duration, outcome: Result<()>) {
        if self.stopping.is_none() {
            tracing::info!(worker_id = %self.settings.worker_id, in_flight = self.flight.sent(), "relay stops");
            self.stopping = Some(Instant::now() + deadline);
            self.outcome = outcome;
            self.flight.forget_unsent();
        }
    }

    fn is_drained(&self) -> bool {
        self.submitting.is_none()
            && self.settling.is_none()
            && self.unwritten.is_none()
            && self.flight.sent() == 0
            && self.flight.outgoing() == 0
    }
}

/// The store's lanes; that it has some was checked when the engine was made.
fn lanes<S: OutboxRepository>(store: &S) -> &dyn OrderedLanes {
    store.lanes().expect("a store's capabilities do not change")
}
