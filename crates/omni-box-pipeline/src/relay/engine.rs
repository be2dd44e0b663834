//! The relay in mode `lanes`: fetch, publish, mark and heartbeat overlap; one task decides.

use std::collections::HashSet;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    Activity, DeliveryReport, Error, ErrorKind, Event as _, EventPublisher, FailureClass, InFlight,
    LaneEvent, LaneId, LaneRead, LaneSettlement, LaneShare, Lease, LeaseRequest, OrderedLanes,
    OutboxRepository, OwnerId, Reporter, Result, Settled, Wakeup,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::builder::Settings;
use super::flight::Flight;
use super::lanes::OwnedLanes;
use super::pace::Pace;
use super::verdict::RejectionPolicy;
use crate::gate::Gate;

/// Outcomes wait this long for company before they are written, unless nothing else is in flight.
const SETTLE_LINGER: Duration = Duration::from_millis(10);
/// A wake-up renews leases too, but not more often than this.
const RENEW_ON_WAKE: Duration = Duration::from_millis(500);
/// Batches in flight at once.
const BATCHES_IN_FLIGHT: usize = 3;
/// How long the last settlement and the hand-over of leases may take.
const FAREWELL: Duration = Duration::from_secs(5);

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
    /// Everything in flight is being given up.
    Purging,
    /// Is asked again at this time.
    Closed(Instant),
    Checking,
}

enum Event {
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
    events: Result<Vec<LaneEvent>>,
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

pub(super) struct Engine<S> {
    store: S,
    publisher: Arc<dyn EventPublisher>,
    settings: Settings,
    owner: OwnerId,
    owned: OwnedLanes,
    flight: Flight,
    pace: Pace,
    wakeup: Option<Box<dyn Wakeup>>,
    reporter: Reporter,
    reports: mpsc::UnboundedReceiver<DeliveryReport>,
    inbox: Vec<DeliveryReport>,

    fetching: Op<Fetched>,
    submitting: Op<()>,
    settling: Op<Written>,
    leasing: Op<LeaseAnswer>,
    recovering: Op<Result<()>>,

    fetches: u64,
    unwritten: Option<(LaneSettlement, HashSet<LaneId>)>,
    lost: Vec<LaneId>,
    lease_due: Instant,
    lease_asked: Instant,
    last_progress: Instant,
    broker: Broker,
    broker_gate: Gate,
    database_gate: Gate,
    database_retry: Instant,
    stopping: Option<Instant>,
    outcome: Result<()>,
}

impl<S: OutboxRepository> Engine<S> {
    pub(super) fn new(store: S, publisher: Arc<dyn EventPublisher>, settings: Settings) -> Result<Self> {
        if store.lanes().is_none() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "delivery mode lanes needs a store with lanes; set the mode to rows or use another store",
            ));
        }
        let now = Instant::now();
        let one_per_key = publisher.in_flight() == InFlight::OnePerKey
            || settings.judge.rejection == RejectionPolicy::HoldKey;
        let (reporter, reports) = Reporter::channel();
        Ok(Self {
            owner: OwnerId::generate(),
            owned: OwnedLanes::default(),
            flight: Flight::new(settings.judge, one_per_key),
            pace: Pace::new(settings.poll_shortest, settings.poll_longest, now),
            wakeup: store.wakeup(),
            reporter,
            reports,
            inbox: Vec::new(),
            fetching: None,
            submitting: None,
            settling: None,
            leasing: None,
            recovering: None,
            fetches: 0,
            unwritten: None,
            lost: Vec::new(),
            lease_due: now,
            lease_asked: now,
            last_progress: now,
            broker: Broker::Closed(now),
            broker_gate: Gate::new("broker", settings.outage_retry),
            database_gate: Gate::new("database", settings.outage_retry),
            database_retry: now,
            stopping: None,
            outcome: Ok(()),
            store,
            publisher,
            settings,
        })
    }

    pub(super) async fn run(mut self, shutdown: CancellationToken) -> Result<()> {
        tracing::info!(worker_id = %self.settings.worker_id, owner = %self.owner, "relay started");
        loop {
            let now = Instant::now();
            if self.stopping.is_some_and(|deadline| now >= deadline || self.is_drained()) {
                break;
            }
            let tick = self.start_what_can(now);
            let is_quiet = self.pace.is_quiet();
            let event = tokio::select! {
                () = shutdown.cancelled(), if self.stopping.is_none() => Event::Cancelled,
                fetched = done(&mut self.fetching) => Event::Fetched(fetched),
                () = done(&mut self.submitting) => Event::Submitted,
                _ = self.reports.recv_many(&mut self.inbox, 10_000) => Event::Reported,
                written = done(&mut self.settling) => Event::Settled(written),
                answer = done(&mut self.leasing) => Event::Lease(answer),
                result = done(&mut self.recovering) => Event::Broker(result),
                () = wait(&mut self.wakeup), if is_quiet => Event::Woken,
                () = sleep_until(tick) => Event::Tick,
            };
            self.take(event);
        }
        self.farewell().await
    }

    fn take(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Cancelled => self.stop(self.settings.drain_deadline, Ok(())),
            Event::Fetched(fetched) => self.take_fetched(fetched, now),
            Event::Submitted | Event::Tick => {}
            Event::Reported => self.take_reports(now),
            Event::Settled(written) => self.take_written(written, now),
            Event::Lease(answer) => self.take_lease(answer, now),
            Event::Broker(result) => self.take_broker(result, now),
            Event::Woken => {
                self.pace.woken(now);
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

    // --- broker -------------------------------------------------------------------------------------------------

    fn start_broker(&mut self, now: Instant) -> Option<Instant> {
        match self.broker {
            Broker::Closed(retry) if now >= retry && self.stopping.is_none() => {
                let publisher = self.publisher.clone();
                self.broker = Broker::Checking;
                self.recovering = Some(Box::pin(async move { publisher.check().await }));
                None
            }
            Broker::Closed(retry) => self.stopping.is_none().then_some(retry),
            Broker::Open if self.flight.sent() > 0 => {
                let stalled = self.last_progress + self.settings.lease_ttl;
                if now >= stalled {
                    let ttl = self.settings.lease_ttl;
                    self.close_broker(&Error::new(
                        ErrorKind::Unavailable,
                        format!("the broker acknowledged nothing for {ttl:?}"),
                    ));
                    return None;
                }
                Some(stalled)
            }
            _ => None,
        }
    }

    fn close_broker(&mut self, error: &Error) {
        if matches!(self.broker, Broker::Open) {
            self.broker_gate.close(error);
            self.purge();
        }
    }

    /// Gives up everything in flight: what was not acknowledged is read again, from the first.
    fn purge(&mut self) {
        self.broker = Broker::Purging;
        self.submitting = None;
        let publisher = self.publisher.clone();
        self.recovering = Some(Box::pin(async move {
            publisher.purge().await;
            Ok(())
        }));
    }

    fn take_broker(&mut self, result: Result<()>, now: Instant) {
        match (self.broker, result) {
            (Broker::Purging, _) => {
                self.take_last_reports();
                self.flight.reset(self.fetches);
                for lane in std::mem::take(&mut self.lost) {
                    self.flight.forget_lane(lane);
                }
                let is_closed = self.broker_gate.closed_for().is_some();
                self.broker = if is_closed { Broker::Closed(now) } else { Broker::Open };
                self.pace.woken(now);
            }
            (_, Ok(())) => {
                self.broker_gate.open();
                self.broker = Broker::Open;
                self.pace.woken(now);
            }
            (_, Err(error))
                if error.kind() == ErrorKind::Fatal || error.class() == FailureClass::Permanent =>
            {
                self.stop(FAREWELL, Err(error));
            }
            (_, Err(error)) => self.broker = Broker::Closed(now + self.broker_gate.close(&error)),
        }
    }

    /// What was acknowledged before the purge counts; the reports of this generation end here.
    fn take_last_reports(&mut self) {
        let (reporter, reports) = Reporter::channel();
        self.reporter = reporter;
        let mut old = std::mem::replace(&mut self.reports, reports);
        let mut last = std::mem::take(&mut self.inbox);
        while let Ok(report) = old.try_recv() {
            last.push(report);
        }
        for report in last.into_iter().filter(|report| report.result.is_ok()) {
            self.note(report);
        }
    }

    fn take_reports(&mut self, now: Instant) {
        self.last_progress = now;
        for report in std::mem::take(&mut self.inbox) {
            if let Some(error) = self.note(report) {
                self.close_broker(&error);
            }
        }
    }

    fn note(&mut self, report: DeliveryReport) -> Option<Error> {
        match self.flight.report(report) {
            Err(error) => Some(error),
            Ok(None) => None,
            Ok(Some(noted)) => {
                let metrics = &self.settings.metrics;
                metrics.event_published(noted.event.event_type(), noted.status);
                metrics.publish_duration(noted.event.event_type(), noted.sent_at.elapsed());
                if noted.status == "retried" {
                    metrics.key_held();
                }
                None
            }
        }
    }

    // --- fetch and submit ---------------------------------------------------------------------------------------

    fn start_fetch(&mut self, now: Instant) -> Option<Instant> {
        let capacity =
            (self.settings.batch_size.get() as usize * BATCHES_IN_FLIGHT).saturating_sub(self.flight.len());
        let has_room = capacity * 2 >= self.settings.batch_size.get() as usize
            && self.flight.bytes() < self.settings.max_batch_bytes as usize * BATCHES_IN_FLIGHT;
        let is_open =
            matches!(self.broker, Broker::Open) && self.stopping.is_none() && self.fetching.is_none();
        if !is_open || !has_room || self.owned.is_empty() || !self.owned.is_valid(now) {
            return None;
        }
        let due = self.pace.next().max(self.database_retry);
        if now < due {
            return Some(due);
        }
        let plan = self.owned.plan(self.settings.batch_size.get().min(capacity as u32));
        if plan.is_empty() {
            return None;
        }
        self.fetches += 1;
        let number = self.fetches;
        let (store, in_flight) = (self.store.clone(), self.flight.ids());
        let max_bytes = self.settings.max_batch_bytes;
        self.fetching = Some(Box::pin(async move {
            let events = lanes(&store).fetch(&plan, &in_flight, max_bytes).await;
            Fetched { number, plan, events }
        }));
        None
    }

    fn take_fetched(&mut self, fetched: Fetched, now: Instant) {
        let Fetched { number, plan, events } = fetched;
        let mut events = match events {
            Ok(events) => events,
            Err(error) => return self.database_failed(error, now),
        };
        self.database_gate.open();
        let may_have_more = self.owned.fetched(&plan, &events);
        self.pace.fetched(events.len(), may_have_more, now);
        if !matches!(self.broker, Broker::Open) || self.stopping.is_some() {
            return;
        }
        events.retain(|event| self.owned.lease(event.lane).is_some());
        if !events.is_empty() {
            self.settings.metrics.batch_locked(events.len());
            self.flight.admit(number, events);
        }
    }

    fn start_submit(&mut self, now: Instant) -> Option<Instant> {
        let can_send =
            matches!(self.broker, Broker::Open) && self.stopping.is_none() && self.submitting.is_none();
        if !can_send || !self.flight.has_ready() {
            return None;
        }
        if self.flight.sent() == 0 {
            self.last_progress = now;
        }
        let owned = &self.owned;
        let events = self.flight.take_ready(now, |lane| owned.may_send(lane, now));
        if !events.is_empty() {
            let (publisher, reporter) = (self.publisher.clone(), self.reporter.clone());
            self.submitting = Some(Box::pin(async move { publisher.submit(events, &reporter).await }));
        }
        None
    }

    // --- settle -------------------------------------------------------------------------------------------------

    fn start_settle(&mut self, now: Instant) -> Option<Instant> {
        if self.settling.is_some() {
            return None;
        }
        if self.unwritten.is_some() || self.flight.outgoing() > 0 {
            let is_idle = self.flight.sent() == 0 && !self.flight.has_ready();
            let is_many = self.flight.outgoing() * 2 >= self.settings.batch_size.get() as usize;
            let due = match self.flight.outgoing_since() {
                _ if self.unwritten.is_some() || is_idle || is_many => self.database_retry,
                Some(since) => self.database_retry.max(since + SETTLE_LINGER),
                None => return None,
            };
            if now < due {
                return Some(due);
            }
            let (settlement, lane_ids) =
                self.unwritten.take().unwrap_or_else(|| self.flight.take_settlement());
            if settlement.is_empty() {
                return None;
            }
            let leases: Vec<Lease> = lane_ids
                .iter()
                .copied()
                .chain(settlement.release.iter().map(|key| key.lane))
                .collect::<HashSet<_>>()
                .into_iter()
                .filter_map(|lane| self.owned.lease(lane))
                .collect();
            let (store, owner) = (self.store.clone(), self.owner);
            self.settling = Some(Box::pin(async move {
                let result = lanes(&store).settle(owner, &leases, &settlement).await;
                Written { settlement, lanes: lane_ids, result }
            }));
        }
        None
    }

    fn take_written(&mut self, written: Written, now: Instant) {
        let Written { settlement, lanes, result } = written;
        match result {
            Ok(Settled { lost }) => {
                self.database_gate.open();
                self.flight.settled(&settlement, self.fetches);
                self.lose(lost);
                if self.flight.sent() == 0 {
                    self.pace.freed(now);
                }
            }
            Err(error) => {
                self.unwritten = Some((settlement, lanes));
                self.database_failed(error, now);
            }
        }
    }

    // --- leases -------------------------------------------------------------------------------------------------

    fn start_lease(&mut self, now: Instant) -> Option<Instant> {
        if self.leasing.is_some() {
            return None;
        }
        let ready = self.database_retry;
        let gave_up = self.broker_gate.closed_for().is_some_and(|closed| closed > self.settings.lease_ttl);
        let has_started =
            !matches!(self.broker, Broker::Checking | Broker::Closed(_)) || !self.owned.is_empty();
        if gave_up {
            if self.owned.is_empty()
                || self.settling.is_some()
                || !matches!(self.broker, Broker::Closed(_) | Broker::Checking)
            {
                return None;
            }
            if now < ready {
                return Some(ready);
            }
            tracing::warn!(worker_id = %self.settings.worker_id, "broker stays unavailable, giving leases back");
            let (store, owner) = (self.store.clone(), self.owner);
            self.leasing =
                Some(Box::pin(async move { LeaseAnswer::Left { result: lanes(&store).leave(owner).await } }));
            return None;
        }
        if !has_started {
            return None;
        }
        let due = self.lease_due.max(ready);
        if now >= due {
            self.start_renewal(now);
            return None;
        }
        if self.stopping.is_some() {
            return Some(due);
        }
        if now >= ready && self.owned.is_valid(now) {
            if let Some(activity) = self.pace.announcement(now) {
                let (store, owner, leases) = (self.store.clone(), self.owner, self.owned.leases());
                self.leasing = Some(Box::pin(async move {
                    let result = lanes(&store).announce(owner, &leases, activity).await;
                    LeaseAnswer::Announced { activity, result }
                }));
                return None;
            }
            // a fetch that is under way may still bring events of a lane that drains
            if self.fetching.is_none() {
                let drained = self.owned.drained(|lane| self.flight.of_lane(lane));
                if !drained.is_empty() {
                    let (store, owner) = (self.store.clone(), self.owner);
                    self.leasing = Some(Box::pin(async move {
                        let result = lanes(&store).release(owner, &drained).await;
                        LeaseAnswer::Released { leases: drained, result }
                    }));
                    return None;
                }
            }
        }
        Some(due)
    }

    fn start_renewal(&mut self, now: Instant) {
        self.lease_due = now + self.settings.heartbeat();
        self.lease_asked = now;
        let request = LeaseRequest {
            owner: self.owner,
            worker: self.settings.worker_id.clone(),
            ttl: self.settings.lease_ttl,
        };
        let store = self.store.clone();
        self.leasing = Some(Box::pin(async move {
            // an answer that comes after the lease has run out is no use
            let share = match timeout(request.ttl, lanes(&store).lease(&request)).await {
                Ok(share) => share,
                Err(_) => {
                    Err(Error::new(ErrorKind::Unavailable, "renewing leases took longer than they live"))
                }
            };
            LeaseAnswer::Renewed { asked: now, share }
        }));
    }

    fn take_lease(&mut self, answer: LeaseAnswer, now: Instant) {
        let result = match answer {
            LeaseAnswer::Renewed { asked, share } => share.map(|share| {
                let change = self.owned.renewed(&share, asked, self.settings.lease_ttl);
                if change.gained > 0 {
                    tracing::info!(
                        worker_id = %self.settings.worker_id,
                        lanes = share.leases.len(),
                        fair_share = share.fair_share,
                        "lanes taken"
                    );
                    self.pace.leases_changed(now);
                }
                self.lose(change.lost);
            }),
            LeaseAnswer::Released { leases, result } => result.map(|()| {
                for lease in leases {
                    self.owned.remove(lease.lane);
                }
            }),
            LeaseAnswer::Announced { activity, result } => {
                result.map(|()| self.pace.announced(activity, now))
            }
            LeaseAnswer::Left { result } => result.map(|()| {
                for lease in self.owned.leases() {
                    self.flight.forget_lane(lease.lane);
                }
                self.owned.clear();
                self.lease_due = now;
            }),
        };
        match result {
            Ok(()) => self.database_gate.open(),
            Err(error) => {
                self.lease_due = now;
                self.database_failed(error, now);
            }
        }
    }

    fn lose(&mut self, lanes: Vec<LaneId>) {
        if lanes.is_empty() {
            return;
        }
        tracing::warn!(worker_id = %self.settings.worker_id, ?lanes, "leases lost to another relay");
        for lane in &lanes {
            self.owned.remove(*lane);
            self.settings.metrics.lease_lost();
        }
        self.lost.extend(lanes);
        if matches!(self.broker, Broker::Open) {
            self.purge();
        }
    }

    // --- failures and the end -----------------------------------------------------------------------------------

    fn database_failed(&mut self, error: Error, now: Instant) {
        if error.class() == FailureClass::Permanent {
            return self.stop(FAREWELL, Err(error));
        }
        self.database_retry = now + self.database_gate.close(&error);
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

    /// Gives up what did not come back in time, writes what did, and hands the leases back.
    async fn farewell(mut self) -> Result<()> {
        (self.submitting, self.recovering, self.fetching) = (None, None, None);
        let goodbye = async {
            // a lease that is being taken must not outlive the leave
            if let Some(leasing) = self.leasing.take() {
                leasing.await;
            }
            if self.flight.sent() > 0 {
                self.publisher.purge().await;
                self.take_last_reports();
                self.flight.reset(self.fetches);
            }
            if let Some(settling) = self.settling.take() {
                let written = settling.await;
                self.take_written(written, Instant::now());
            }
            while let Some((settlement, _)) = self.unwritten.take().or_else(|| {
                let next = self.flight.take_settlement();
                (!next.0.is_empty()).then_some(next)
            }) {
                let result = lanes(&self.store).settle(self.owner, &self.owned.leases(), &settlement).await;
                if result.is_err() {
                    break;
                }
                self.flight.settled(&settlement, self.fetches);
            }
            lanes(&self.store).leave(self.owner).await
        };
        match timeout(FAREWELL, goodbye).await {
            Ok(Ok(())) => {
                tracing::info!(worker_id = %self.settings.worker_id, "relay stopped, leases handed back")
            }
            Ok(Err(error)) => {
                tracing::warn!(error = %error.chain(), "leases could not be handed back, they will expire")
            }
            Err(_) => tracing::warn!("leases could not be handed back in time, they will expire"),
        }
        self.outcome
    }
}

/// The store's lanes; that it has some was checked when the engine was made.
fn lanes<S: OutboxRepository>(store: &S) -> &dyn OrderedLanes {
    store.lanes().expect("a store's capabilities do not change")
}

pub(super) async fn wait(wakeup: &mut Option<Box<dyn Wakeup>>) {
    match wakeup {
        Some(wakeup) => wakeup.wait().await,
        None => pending().await,
    }
}
