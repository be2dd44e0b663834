//! Events on their way to a broker, as the cases of publishers send them and count what is reported.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    DeliveryReport, Error, Event, EventId, EventLimits, EventPublisher, NewOutboxEvent, OmniBoxDomainService,
    OutboxEvent, Reporter,
};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, timeout_at};

use super::PublisherFixture;

/// How long a broker may take for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before a condition is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Waits for a condition, and says what it was if it does not come.
pub(super) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}: not within {} s", PATIENCE.as_secs());
        sleep(LOOK_AGAIN).await;
    }
}

/// What a call answers within the time a broker may take.
pub(super) async fn in_time<T>(what: &str, call: impl Future<Output = T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    timeout_at(deadline, call).await.unwrap_or_else(|_| panic!("{what}: not within {} s", PATIENCE.as_secs()))
}

/// Builds events however large they are.
fn build(event: NewOutboxEvent) -> Arc<OutboxEvent> {
    let mut limits = EventLimits::default();
    limits.payload_bytes = usize::MAX;
    let event = OmniBoxDomainService::new(limits).create_outbox_event(event);
    Arc::new(event.expect("the suite's events are valid"))
}

pub(super) fn event(topic: &str, key: &str) -> Arc<OutboxEvent> {
    build(NewOutboxEvent::from_json("order.placed", topic, r#"{"order": 7}"#).partition_key(key))
}

pub(super) fn keyless(topic: &str) -> Arc<OutboxEvent> {
    build(NewOutboxEvent::from_json("order.placed", topic, r#"{"order": 7}"#))
}

/// An event with a payload of about so many bytes, which do not compress well.
pub(super) fn large(topic: &str, key: &str, bytes: usize) -> Arc<OutboxEvent> {
    let mut text = String::with_capacity(bytes + 64);
    while text.len() < bytes {
        text.push_str(&EventId::generate().to_string());
    }
    build(NewOutboxEvent::new("order.placed", topic, &BTreeMap::from([("text", text)])).partition_key(key))
}

pub(super) fn events(topic: &str, key: &str, count: usize) -> Vec<Arc<OutboxEvent>> {
    (0..count).map(|_| event(topic, key)).collect()
}

pub(super) fn ids(events: &[Arc<OutboxEvent>]) -> Vec<EventId> {
    events.iter().map(|event| event.id()).collect()
}

/// Submits events, and keeps what is reported of each.
pub(super) struct Dispatch<P> {
    pub(super) publisher: P,
    reporter: Reporter,
    reports: UnboundedReceiver<DeliveryReport>,
    submitted: usize,
    results: BTreeMap<EventId, Result<(), Error>>,
}

impl<P: EventPublisher> Dispatch<P> {
    pub(super) async fn new<F: PublisherFixture<Publisher = P>>(fixture: &F) -> Self {
        let (reporter, reports) = Reporter::channel();
        let publisher = fixture.publisher().await;
        Self { publisher, reporter, reports, submitted: 0, results: BTreeMap::new() }
    }

    pub(super) async fn submit(&mut self, events: &[Arc<OutboxEvent>]) {
        self.submitted += events.len();
        let taken = self.publisher.submit(events.to_vec(), &self.reporter);
        in_time("submit returns when all events are taken", taken).await;
    }

    /// Begins to submit, and drops the call: some of the events may be sent, without a report.
    pub(super) fn submit_and_drop(&self, events: &[Arc<OutboxEvent>]) {
        let mut call = self.publisher.submit(events.to_vec(), &self.reporter);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = call.as_mut().poll(&mut context);
    }

    fn keep(&mut self, report: DeliveryReport) {
        let DeliveryReport { id, result, .. } = report;
        let first = self.results.insert(id, result);
        assert!(first.is_none(), "event {id} was reported twice: each is reported exactly once");
    }

    /// Waits until everything that was submitted is reported.
    pub(super) async fn settled(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.results.len() < self.submitted {
            let (have, want) = (self.results.len(), self.submitted);
            let report = timeout_at(deadline, self.reports.recv()).await;
            let report =
                report.unwrap_or_else(|_| panic!("{have} of {want} events were reported, no more came"));
            self.keep(report.expect("a reporter is kept here"));
        }
    }

    /// What has been reported by now.
    pub(super) fn collect(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            self.keep(report);
        }
    }

    /// Gives up what is in flight; everything that was submitted is reported then.
    pub(super) async fn purge(&mut self) {
        in_time("purge returns", self.publisher.purge()).await;
        self.collect();
        let (have, want) = (self.results.len(), self.submitted);
        assert_eq!(have, want, "events that are reported when purge returns, of all that were submitted");
    }

    /// Submits one more after another until the publisher's other reports must have come, and checks that there are no more than there
    /// should be.
    pub(super) async fn assert_nothing_more_is_reported(&mut self, topic: &str) {
        for event in events(topic, "one more", 3) {
            self.submit(std::slice::from_ref(&event)).await;
            self.settled().await;
            self.assert_delivered(&[event]);
        }
        in_time("purge returns", self.publisher.purge()).await;
        self.collect();
        assert_eq!(
            self.results.len(),
            self.submitted,
            "events that are reported, of all that were submitted"
        );
    }

    pub(super) fn result(&self, event: &OutboxEvent) -> &Result<(), Error> {
        let result = self.results.get(&event.id());
        result.unwrap_or_else(|| panic!("event {} was submitted and is not reported", event.id()))
    }

    pub(super) fn is_delivered(&self, event: &OutboxEvent) -> bool {
        self.results.get(&event.id()).is_some_and(Result::is_ok)
    }

    pub(super) fn assert_delivered(&self, events: &[Arc<OutboxEvent>]) {
        for event in events {
            if let Err(error) = self.result(event) {
                panic!("event {} was not delivered although nothing is in its way: {error:?}", event.id());
            }
        }
    }

    /// Forgets what was reported of events whose submit was dropped.
    pub(super) fn discard(&mut self, events: &[Arc<OutboxEvent>]) {
        for event in events {
            self.results.remove(&event.id());
        }
    }

    /// Forgets what was reported of events that are submitted again.
    pub(super) fn forget(&mut self, events: &[Arc<OutboxEvent>]) {
        for event in events {
            if self.results.remove(&event.id()).is_some() {
                self.submitted -= 1;
            }
        }
    }
}

/// First appearances, in their order.
pub(super) fn first_appearances(read: &[EventId]) -> Vec<EventId> {
    let mut first = Vec::new();
    for id in read {
        if !first.contains(id) {
            first.push(*id);
        }
    }
    first
}

/// Those of `all` that are among `some`, in the order of `all`.
pub(super) fn among<T: PartialEq + Copy + Debug>(all: &[T], some: &[T]) -> Vec<T> {
    all.iter().copied().filter(|id| some.contains(id)).collect()
}
