//! Broken publishers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use omni_box_conformance::{Outages, PublisherFixture};
use omni_box_core::{
    DeliveryReport, Error, ErrorKind, Event, EventId, EventPublisher, OutboxEvent, RawEventConverter,
    Reporter, Result, SendOrder,
};
use omni_box_testkit::{MemoryBroker, MemoryPublisher};

use super::flaws;
use crate::ids_of;

flaws! { Fixture:
    /// Sends and forgets to report the last event of a batch.
    ForgetsTheLast => publisher::each_event_is_reported_once;
    ReportsTwice => publisher::each_event_is_reported_once;
    /// Reports success of an event that it does not send.
    DropsOne => publisher::what_is_reported_as_delivered_can_be_read;
    /// Reports success of what only waits.
    ReportsAtOnce => outage::what_is_purged_in_an_outage_is_unavailable;
    /// Promises order and sends a batch backwards.
    Reverses =>
        publisher::a_batch_of_one_key_arrives_in_order,
        outage::what_waited_arrives_in_order,
        outage::beginning_again_after_a_purge_keeps_the_order;
    /// Sends an event of one call behind those of the next.
    SendsOneLate => publisher::events_of_a_key_arrive_in_order;
    /// Takes a full queue for a failure.
    FailsBeyondItsQueue => publisher::a_large_batch_is_no_error;
    /// Gives a batch up, and sends it beside the next.
    SendsWhatItGaveUp => publisher::what_was_purged_is_not_sent_later;
    /// Sends what goes to the topic of a batch's first event, and reports the rest as sent.
    SendsOneTopic => publisher::events_go_to_their_topics;
    /// Takes one event's own failure for the broker's.
    BlamesTheBroker => publisher::a_missing_topic_stops_no_other;
    /// Takes an event too large for an outage.
    RetriesTheHopeless => publisher::an_event_that_is_too_large_fails_alone;
    /// Reports an outage at once instead of waiting.
    DoesNotWait => outage::waiting_for_the_broker_is_no_error;
    /// Forgets to report what it purges.
    PurgesInSilence => outage::what_is_purged_in_an_outage_is_unavailable;
    /// Reports what it purges as the events' own failure.
    BlamesTheEvents => outage::what_is_purged_in_an_outage_is_unavailable;
    /// Keeps what it has purged, and sends it when the broker is back.
    KeepsThePurged => outage::what_was_purged_is_not_sent_when_the_broker_is_back;
    /// Works no more after a purge.
    EndsAtPurge =>
        publisher::a_purge_reports_everything_once,
        outage::purges_can_be_repeated;
    /// Says that a broker that is away can be used.
    ChecksNothing => outage::the_check_follows_the_broker;
    /// Says that no broker can be used.
    NeverReady => publisher::a_broker_that_works_passes_the_check;
    /// Sends what was dropped after what was submitted later.
    SendsTheDroppedLate => publisher::a_submit_that_was_dropped_does_no_harm;
}

struct Broken {
    inner: MemoryPublisher,
    flaw: Option<Flaw>,
    is_cut: Arc<AtomicBool>,
    is_ended: AtomicBool,
    kept: Mutex<Vec<Arc<OutboxEvent>>>,
}

impl Broken {
    /// Sends without a report.
    async fn send(&self, events: Vec<Arc<OutboxEvent>>) {
        let (unheard, _) = Reporter::channel();
        self.inner.submit(events, &unheard).await;
    }

    /// Reports what became of events to `to`, as `change` has it.
    async fn pass(
        &self,
        events: Vec<Arc<OutboxEvent>>,
        to: &Reporter,
        change: impl Fn(Result<()>) -> Result<()>,
    ) {
        let (reporter, mut reports) = Reporter::channel();
        self.inner.submit(events, &reporter).await;
        while let Ok(DeliveryReport { id, result, .. }) = reports.try_recv() {
            to.report(id, change(result));
        }
    }

    fn keep(&self, events: &[Arc<OutboxEvent>]) {
        self.kept.lock().unwrap().extend_from_slice(events);
    }
}

#[async_trait]
impl EventPublisher for Broken {
    fn send_order(&self) -> SendOrder {
        SendOrder::Ordered
    }

    async fn submit(&self, mut events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap());
        let is_cut = self.is_cut.load(Ordering::SeqCst);
        match self.flaw {
            Some(Flaw::ForgetsTheLast) => {
                let last = events.pop();
                self.inner.submit(events, reporter).await;
                self.send(last.into_iter().collect()).await;
            }
            Some(Flaw::ReportsTwice) => {
                let ids: Vec<EventId> = events.iter().map(|event| event.id()).collect();
                self.inner.submit(events, reporter).await;
                ids.into_iter().for_each(|id| reporter.report(id, Ok(())));
            }
            Some(Flaw::DropsOne) => {
                if let Some(last) = events.pop() {
                    reporter.report(last.id(), Ok(()));
                }
                self.inner.submit(events, reporter).await;
            }
            Some(Flaw::ReportsAtOnce) => {
                events.iter().for_each(|event| reporter.report(event.id(), Ok(())));
                self.send(events).await;
            }
            Some(Flaw::Reverses) => {
                events.reverse();
                self.inner.submit(events, reporter).await;
            }
            Some(Flaw::SendsOneLate) if kept.is_empty() && !events.is_empty() => {
                self.keep(&events.drain(..1).collect::<Vec<_>>());
                self.inner.submit(events, reporter).await;
            }
            Some(Flaw::SendsOneLate) => {
                self.inner.submit(events, reporter).await;
                self.inner.submit(kept, reporter).await;
            }
            Some(Flaw::FailsBeyondItsQueue) => {
                let beyond = events.split_off(events.len().min(1000));
                self.inner.submit(events, reporter).await;
                let error = || Error::new(ErrorKind::Unavailable, "queue is full");
                beyond.iter().for_each(|event| reporter.report(event.id(), Err(error())));
            }
            Some(Flaw::SendsWhatItGaveUp) if events.len() > 1 => {
                let error = || Error::new(ErrorKind::Unavailable, "given up");
                events.iter().for_each(|event| reporter.report(event.id(), Err(error())));
                self.keep(&events);
            }
            Some(Flaw::SendsOneTopic) => {
                let topic = events.first().map(|event| event.topic().to_owned());
                let (same, other): (Vec<_>, Vec<_>) =
                    events.into_iter().partition(|event| Some(event.topic()) == topic.as_deref());
                self.inner.submit(same, reporter).await;
                other.iter().for_each(|event| reporter.report(event.id(), Ok(())));
            }
            Some(Flaw::BlamesTheBroker) => {
                self.pass(events, reporter, |result| {
                    result.map_err(|_| Error::new(ErrorKind::Unavailable, "broken"))
                })
                .await;
            }
            Some(Flaw::RetriesTheHopeless) => {
                self.pass(events, reporter, |result| {
                    result.map_err(|_| Error::new(ErrorKind::Timeout, "broken"))
                })
                .await;
            }
            Some(Flaw::DoesNotWait) if is_cut => {
                let error = || Error::new(ErrorKind::Unavailable, "away");
                events.iter().for_each(|event| reporter.report(event.id(), Err(error())));
            }
            Some(Flaw::PurgesInSilence) if is_cut => {}
            Some(Flaw::BlamesTheEvents) if is_cut => {
                events.iter().for_each(|event| {
                    reporter.report(event.id(), Err(Error::new(ErrorKind::Timeout, "late")))
                });
            }
            Some(Flaw::KeepsThePurged) if is_cut => {
                self.keep(&events);
                self.inner.submit(events, reporter).await;
            }
            Some(Flaw::SendsTheDroppedLate) => {
                self.keep(&events);
                // dropped here, they stay
                tokio::task::yield_now().await;
                self.kept.lock().unwrap().clear();
                self.inner.submit(events, reporter).await;
                self.send(kept).await;
            }
            Some(Flaw::EndsAtPurge) if self.is_ended.load(Ordering::SeqCst) => {
                let error = || Error::new(ErrorKind::Unavailable, "ended");
                events.iter().for_each(|event| reporter.report(event.id(), Err(error())));
            }
            _ => {
                self.send(kept).await;
                self.inner.submit(events, reporter).await;
            }
        }
    }

    async fn purge(&self) {
        self.is_ended.store(true, Ordering::SeqCst);
        self.inner.purge().await;
    }

    async fn check(&self) -> Result<()> {
        match self.flaw {
            Some(Flaw::ChecksNothing) => Ok(()),
            Some(Flaw::NeverReady) => Err(Error::new(ErrorKind::Unavailable, "never")),
            _ => self.inner.check().await,
        }
    }
}

struct Fixture {
    broker: MemoryBroker,
    flaw: Option<Flaw>,
    is_cut: Arc<AtomicBool>,
}

impl Fixture {
    fn new(flaw: Option<Flaw>) -> Self {
        Self { broker: MemoryBroker::new(), flaw, is_cut: Arc::default() }
    }
}

impl PublisherFixture for Fixture {
    type Publisher = Broken;

    async fn create() -> Option<Self> {
        Some(Self::new(None))
    }

    async fn topic(&self) -> String {
        let topic = EventId::generate().to_string();
        self.broker.create_topic(&topic, 3);
        topic
    }

    async fn publisher(&self) -> Broken {
        Broken {
            inner: self.broker.publisher(RawEventConverter),
            flaw: self.flaw,
            is_cut: Arc::clone(&self.is_cut),
            is_ended: AtomicBool::new(false),
            kept: Mutex::default(),
        }
    }

    async fn read(&self, topic: &str) -> Vec<EventId> {
        ids_of(&self.broker.records(topic))
    }
}

impl Outages for Fixture {
    async fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.broker.cut();
    }

    async fn restore(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
        self.broker.restore();
    }
}
