//! `publish_batch`, compatible with the Python library omni-box: one batch a call, and what became of it.

mod builder;
mod factory;
mod rows;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    BatchSize, DeliveryMode, Error, ErrorKind, Event, EventId, EventPublisher, FetchFilters, LaneFetch,
    LaneId, LaneRead, LeaseRequest, OutboxEvent, OutboxRepository, OwnerId, Reporter, Result, SendOrder,
    WorkerId,
};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::lanes::flight::Flight;
use super::lanes::owned::OwnedLanes;
use super::mode::unavailable;
use super::observer::Observer;
use super::settings::Settings;
use super::shared::Publisher;
use super::status::RelayStatus;
use super::suspects::Suspects;
use super::verdict::RejectionPolicy;
use crate::batch::BatchProcessingResult;
use crate::claims::Stale;
use crate::copies::Copies;
use crate::deadline::within;

pub use builder::OutboxPublisherBuilder;
pub use factory::{create_outbox_processor, create_outbox_processor_with};

/// Publishes a batch per call, for applications that write the loop themselves.
///
/// It follows the table's delivery mode. In mode `lanes` it keeps leases between calls (call it more often than the lease lives, and
/// [`close`](Self::close) it at the end). In mode `rows` it claims rows.
///
/// ```
/// use omni_box_core::{
///     BatchSize, FetchFilters, NewOutboxEvent, OutboxExt, RawEventConverter, Result, Store, WorkerId,
/// };
/// use omni_box_pipeline::OutboxPublisher;
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
/// use tokio_util::sync::CancellationToken;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
/// broker.create_topic("users", 1);
/// let mut tx = store.begin().await?;
/// store.enqueue(&mut tx, NewOutboxEvent::new("user.created", "users", &serde_json::json!({"id": 42}))).await?;
/// store.commit(tx).await?;
///
/// let publisher = OutboxPublisher::builder(store, broker.publisher(RawEventConverter)).build()?;
/// let (worker, batch, stop) = (WorkerId::new("worker-1")?, BatchSize::new(100)?, CancellationToken::new());
/// let result = publisher.publish_batch(&worker, batch, &FetchFilters::new(), &stop).await?;
/// assert_eq!(result.processed_event_ids.len(), 1);
/// publisher.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct OutboxPublisher<S> {
    pub(super) store: S,
    /// What [`publish_batch`](Self::publish_batch) copies; a relay does it beside.
    copies: Option<Copies<S, OutboxEvent>>,
    pub(super) publisher: Publisher,
    pub(super) settings: Settings,
    observer: Observer,
    pub(super) status: RelayStatus,
    publish_timeout: Duration,
    /// Most events in flight at once.
    concurrency_limit: usize,
    owner: OwnerId,
    owned: Mutex<OwnedLanes>,
    /// Events that may be the cause of the broker's errors.
    suspects: Mutex<Suspects>,
    stale: Stale,
}

impl<S> fmt::Debug for OutboxPublisher<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxPublisher").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// When a batch is cut short.
#[derive(Clone, Copy)]
pub(super) struct Stop<'a> {
    /// Once cancelled, nothing more is sent.
    pub(super) sending: &'a CancellationToken,
    /// Once cancelled, what was sent is waited for no longer.
    pub(super) waiting: &'a CancellationToken,
}

impl<S: OutboxRepository> OutboxPublisher<S> {
    /// Starts building a publisher from a store to a broker.
    pub fn builder(store: S, publisher: impl EventPublisher) -> OutboxPublisherBuilder<S> {
        OutboxPublisherBuilder::new(store, Arc::new(publisher))
    }

    pub(super) fn new(
        store: S,
        publisher: Publisher,
        settings: Settings,
        observer: Observer,
        status: RelayStatus,
    ) -> Self {
        Self {
            store,
            copies: None,
            publisher,
            observer,
            status,
            publish_timeout: settings.lease_ttl,
            concurrency_limit: usize::MAX,
            settings,
            owner: OwnerId::generate(),
            owned: Mutex::default(),
            suspects: Mutex::default(),
            stale: Stale::default(),
        }
    }

    /// Takes up to `batch_size` due events, publishes them, and records what became of each. An empty result means that there
    /// is nothing to do now. One call runs at a time; another waits.
    ///
    /// # Errors
    /// When the database fails, or does not answer in time. That is as long as the lease lives, and 30 s for reading or writing a batch if
    /// a lease is shorter. [`Unsupported`](ErrorKind::Unsupported) for filters in mode `lanes`. A broker that cannot be used is not an
    /// error: the batch comes back as released.
    ///
    /// # Cancel safety
    /// Cancelling `shutdown` releases what is not acknowledged. When the future is dropped, events may be published without
    /// being marked, and are published again.
    pub async fn publish_batch(
        &self,
        worker_id: &WorkerId,
        batch_size: BatchSize,
        filters: &FetchFilters,
        shutdown: &CancellationToken,
    ) -> Result<BatchProcessingResult> {
        let stop = Stop { sending: shutdown, waiting: shutdown };
        let (result, unavailable) = self.publish(worker_id, batch_size, filters, stop).await?;
        if let Some(error) = unavailable {
            tracing::debug!(%worker_id, error = %error.chain(), "events released");
        }
        if let Some(copies) = &self.copies {
            copies.now_and_then(!result.failed_event_ids.is_empty()).await;
        }
        Ok(result)
    }

    /// The same, with the reason why events that are not at fault were not published; claims that were lost have none.
    pub(super) async fn publish(
        &self,
        worker_id: &WorkerId,
        batch_size: BatchSize,
        filters: &FetchFilters,
        stop: Stop<'_>,
    ) -> Result<(BatchProcessingResult, Option<Error>)> {
        let mut owned = self.owned.lock().await;
        match within(self.settings.lease_ttl, self.store.delivery_mode()).await? {
            DeliveryMode::Lanes if !filters.is_empty() => Err(Error::new(
                ErrorKind::Unsupported,
                "filters need the delivery mode rows; in mode lanes everything due is published",
            )),
            DeliveryMode::Lanes => self.publish_lanes(&mut owned, worker_id, batch_size, stop).await,
            DeliveryMode::Rows => self.publish_rows(worker_id, batch_size, filters, stop).await,
            mode => Err(unavailable(mode)),
        }
    }

    /// Gives leases back at once instead of letting them expire.
    ///
    /// # Errors
    /// When the database fails; the leases expire by themselves.
    pub async fn close(&self) -> Result<()> {
        let mut owned = self.owned.lock().await;
        owned.clear();
        match self.store.lanes() {
            Some(lanes) => within(self.settings.lease_ttl, lanes.leave(self.owner)).await,
            None => Ok(()),
        }
    }

    async fn publish_lanes(
        &self,
        owned: &mut OwnedLanes,
        worker: &WorkerId,
        batch_size: BatchSize,
        stop: Stop<'_>,
    ) -> Result<(BatchProcessingResult, Option<Error>)> {
        let Some(lanes) = self.store.lanes() else {
            return Err(Error::new(ErrorKind::Unsupported, "delivery mode lanes needs a store with lanes"));
        };
        let ttl = self.settings.lease_ttl;
        let asked = Instant::now();
        let request = LeaseRequest { owner: self.owner, worker: worker.clone(), ttl };
        owned.renewed(&within(ttl, lanes.lease(&request)).await?, asked, ttl);
        // nothing is in flight between calls, so what is above the fair share can go at once
        let surplus = owned.drained(|_| 0);
        if !surplus.is_empty() {
            within(ttl, lanes.release(self.owner, &surplus)).await?;
            surplus.iter().for_each(|lease| owned.remove(lease.lane));
        }

        let plan = owned.plan(batch_size.get(), |_| LaneRead::ALL);
        if plan.is_empty() {
            return Ok(Default::default());
        }
        let fetch = lanes.fetch(&plan, &[], &[], self.settings.max_batch_bytes);
        let LaneFetch { mut events, .. } = within(self.settings.batch_deadline(), fetch).await?;
        owned.fetched(&plan, &events);
        // the limits of the lanes are rounded up: the oldest go, of whichever lane, so that none is left behind
        events.sort_by_key(|event| event.seq);
        events.truncate(batch_size.get() as usize);
        self.observer.taken(events.len());
        if events.is_empty() {
            self.observer.idle();
            return Ok(Default::default());
        }
        let lane_of: Vec<(EventId, LaneId)> =
            events.iter().map(|event| (event.event.id(), event.lane)).collect();
        let one_per_key = self.publisher.0.send_order() == SendOrder::OnePerKey
            || self.settings.judge.rejection == RejectionPolicy::HoldKey;
        let mut suspects = self.suspects.lock().await;
        let mut flight =
            Flight::new(self.settings.judge, one_per_key).with_suspects(std::mem::take(&mut suspects));
        flight.admit(1, events);
        // sends stop while the lease still lives, so that the marks are ours too
        let (mut result, unavailable) = self.send(&mut flight, asked + self.publish_timeout, stop).await;
        *suspects = flight.take_suspects();

        let (settlement, _) = flight.take_settlement();
        result.skipped_event_ids.clone_from(&settlement.followers);
        if !settlement.is_empty() {
            let leases = owned.leases();
            let settled =
                within(self.settings.batch_deadline(), lanes.settle(self.owner, &leases, &settlement))
                    .await?;
            for lane in &settled.lost {
                owned.remove(*lane);
                self.observer.lease_lost();
            }
            let is_lost = |(_, lane): &&(EventId, LaneId)| settled.lost.contains(lane);
            result.take_back(&lane_of.iter().filter(is_lost).map(|(id, _)| *id).collect());
        }
        let left = lane_of.into_iter().map(|(id, _)| id).filter(|id| !result.contains(id));
        result.released_event_ids = left.collect();
        Ok((result, unavailable))
    }

    /// Submits what is ready until everything has come back. When the broker cannot be used, or time is up, the rest is purged, and
    /// the reason returned.
    async fn send(
        &self,
        flight: &mut Flight,
        deadline: Instant,
        stop: Stop<'_>,
    ) -> (BatchProcessingResult, Option<Error>) {
        let (reporter, mut reports) = Reporter::channel();
        let mut result = BatchProcessingResult::default();
        let publisher = &self.publisher.0;
        let mut take = |flight: &mut Flight, report| -> Result<()> {
            if let Some(noted) = flight.report(report).map_err(|trouble| trouble.error)? {
                self.observer.settled(&noted.answer);
                result.list(noted.answer.outcome).push(noted.answer.event.id());
                result.failures.extend(noted.failure);
                if noted.needs_purge {
                    return Err(refused());
                }
            }
            Ok(())
        };
        let sending = async {
            // ready, and counted as sent, while as many as may be are in flight
            let mut waiting = VecDeque::new();
            while flight.has_ready() || flight.sent() > 0 {
                if !stop.sending.is_cancelled() {
                    waiting.extend(flight.take_ready(Instant::now(), |_| true));
                    let in_flight = flight.sent() - waiting.len();
                    let room = self.concurrency_limit.saturating_sub(in_flight).min(waiting.len());
                    let next: Vec<_> = waiting.drain(..room).collect();
                    if !next.is_empty() {
                        publisher.submit(next, &reporter).await;
                    } else if in_flight == 0 {
                        // what is left is suspected of being at fault, and waits
                        break;
                    }
                } else if flight.sent() == waiting.len() {
                    return Err(cancelled());
                }
                let Some(report) = reports.recv().await else { break };
                take(flight, report)?;
            }
            Ok::<_, Error>(())
        };
        let unavailable = tokio::select! {
            sent = timeout_at(deadline, sending) => sent.unwrap_or_else(|_| Err(late())).err(),
            () = stop.waiting.cancelled() => Some(cancelled()),
        };
        if unavailable.is_some() {
            publisher.purge().await;
            while let Ok(report) = reports.try_recv() {
                if report.result.is_ok() {
                    // an acknowledgement is never an error
                    let _ = take(flight, report);
                }
            }
            flight.reset(1);
        }
        (result, unavailable)
    }
}

fn refused() -> Error {
    Error::new(ErrorKind::Unavailable, "the broker took other events, and refused one")
}

fn late() -> Error {
    Error::new(ErrorKind::Unavailable, "the broker did not acknowledge the batch in time")
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Closed, "cancelled before the batch was acknowledged")
}
