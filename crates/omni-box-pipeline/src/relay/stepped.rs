//! Steps in front of a publisher.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{
    DeliveryReport, Error, ErrorKind, Event, EventId, EventPublisher, FailureClass, OutboxEvent, Reporter,
    Result, SendOrder, WorkerId,
};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::settings::Settings;
use crate::gate::Gate;
use crate::outcome::Outcome;
use crate::step::{Kept, Mark, Ruling, SettledEvent, Steps};

/// How long what was sent before is waited for when a step stops everything.
const QUIET_TIME: Duration = Duration::from_secs(5);

/// A publisher that asks steps about each event, in the order of the batch.
///
/// At most one event of a key is in flight, so that no event overtakes one that a step puts off.
pub(super) struct Stepped {
    inner: Arc<dyn EventPublisher>,
    /// How long a step may take for one event.
    limit: Duration,
    open: Arc<Open>,
    stop: Mutex<Stop>,
}

/// What a step that stops everything has asked for.
struct Stop {
    gate: Gate,
    step: Option<(&'static str, Instant)>,
}

/// An event, what steps keep with it, and its batch.
type OpenEvent = (Arc<OutboxEvent>, Kept, Arc<Batch>);

/// Events that were handed over and have no report.
struct Open {
    events: Mutex<HashMap<EventId, OpenEvent>>,
    count: watch::Sender<usize>,
    steps: Steps<OutboxEvent>,
    worker: WorkerId,
}

/// The events of one submission.
struct Batch {
    answers: Mutex<Answers>,
    /// Publishers report from threads of their own, which know no runtime.
    runtime: Handle,
}

#[derive(Default)]
struct Answers {
    /// How many events were taken, once that is known.
    taken: Option<usize>,
    answered: usize,
    settled: Vec<(Arc<OutboxEvent>, Outcome, Option<String>)>,
}

impl Stepped {
    pub(super) fn new(
        inner: Arc<dyn EventPublisher>,
        steps: Steps<OutboxEvent>,
        settings: &Settings,
    ) -> Self {
        let open = Open {
            events: Mutex::default(),
            count: watch::channel(0).0,
            steps,
            worker: settings.worker_id.clone(),
        };
        let stop = Mutex::new(Stop { gate: Gate::new("step", settings.outage_retry), step: None });
        // a lease has to outlast it
        let limit = settings.lease_ttl / 2;
        Self { inner, limit, open: Arc::new(open), stop }
    }

    fn stop(&self) -> MutexGuard<'_, Stop> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything that was sent before has its report: it is not given up then, and not sent twice.
    async fn quiet(&self) {
        let mut count = self.open.count.subscribe();
        // what is not answered by then is given up by the engine
        let _ = timeout(QUIET_TIME, count.wait_for(|&count| count == 0)).await;
    }
}

#[async_trait]
impl EventPublisher for Stepped {
    fn send_order(&self) -> SendOrder {
        SendOrder::OnePerKey
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        let Open { steps, worker, .. } = self.open.as_ref();
        steps.begin_batch(worker, events.len()).await;
        let batch = Arc::new(Batch { answers: Mutex::default(), runtime: Handle::current() });
        let open = self.open.clone();
        let reporter = reporter.inspect(move |report| open.close(report));
        let mut passed = Vec::with_capacity(events.len());
        let mut taken = 0;
        let mut events = events.into_iter();
        let mut stopped = None;
        for event in events.by_ref() {
            let mut kept = Kept::default();
            let ruling = steps.ask(&event, worker, &mut kept, self.limit).await;
            if let Ruling::Stop(step, delay) = ruling {
                stopped = Some((event, step, delay));
                break;
            }
            let id = event.id();
            taken += 1;
            self.open.add(event.clone(), kept, &batch);
            match ruling {
                Ruling::Next => passed.push(event),
                // no broker has acknowledged it
                Ruling::Complete => {
                    reporter.report(id, Err(Mark::Completed.error("completed by a step".to_owned())));
                }
                Ruling::Skip(why) => reporter.report(id, Err(Mark::PutOff.error(why))),
                Ruling::Fail(why) => reporter.report(id, Err(Error::new(ErrorKind::Rejected, why))),
                Ruling::Broken(why) => reporter.report(id, Err(Error::new(ErrorKind::Handler, why))),
                Ruling::Stop(..) => unreachable!("is handled above"),
            }
        }
        if !passed.is_empty() {
            self.inner.submit(passed, &reporter).await;
        }
        self.open.batch(&batch, |answers| answers.taken = Some(taken));
        let Some((event, step, delay)) = stopped else {
            self.stop().gate.open();
            return;
        };
        self.quiet().await;
        {
            let mut stop = self.stop();
            let growing = stop.gate.close_for(step, &Mark::stopped_by(step));
            stop.step = Some((step, Instant::now() + delay.unwrap_or(growing)));
        }
        for event in std::iter::once(event).chain(events) {
            reporter.report(event.id(), Err(Mark::stopped_by(step)));
        }
    }

    async fn purge(&self) {
        self.inner.purge().await;
        self.open.clear();
    }

    async fn check(&self) -> Result<()> {
        if let Some((step, until)) = self.stop().step
            && Instant::now() < until
        {
            return Err(Mark::stopped_by(step));
        }
        self.inner.check().await
    }
}

impl Open {
    fn events(&self) -> MutexGuard<'_, HashMap<EventId, OpenEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, event: Arc<OutboxEvent>, kept: Kept, batch: &Arc<Batch>) {
        let mut events = self.events();
        events.insert(event.id(), (event, kept, batch.clone()));
        self.count.send_replace(events.len());
    }

    fn clear(&self) {
        let mut events = self.events();
        events.clear();
        self.count.send_replace(0);
    }

    /// Tells the steps the end of an event, and that of its batch with the last of its events.
    fn close(&self, report: &DeliveryReport) {
        let Some((event, mut kept, batch)) = ({
            let mut events = self.events();
            let closed = events.remove(&report.id);
            self.count.send_replace(events.len());
            closed
        }) else {
            return;
        };
        let outcome = outcome(&event, &report.result);
        if let Some(outcome) = outcome {
            let is_free =
                matches!(&report.result, Err(error) if error.class() == FailureClass::Infrastructure);
            self.steps.end(&event, outcome, is_free, &self.worker, &mut kept);
        }
        self.batch(&batch, |answers| {
            answers.answered += 1;
            let is_done = outcome == Some(Outcome::Skipped);
            let error = report.result.as_ref().err().filter(|_| !is_done).map(Error::chain);
            answers.settled.extend(outcome.map(|outcome| (event, outcome, error)));
        });
    }

    /// Notes something of a batch, and tells its end to the steps when it has come.
    fn batch(&self, batch: &Batch, note: impl FnOnce(&mut Answers)) {
        let mut answers = batch.answers.lock().unwrap_or_else(PoisonError::into_inner);
        note(&mut answers);
        if answers.taken == Some(answers.answered) {
            let (steps, worker, events) = (self.steps.clone(), self.worker.clone(), answers.answered);
            let settled = std::mem::take(&mut answers.settled);
            // a report must not wait
            batch.runtime.spawn(async move {
                let settled: Vec<SettledEvent<'_, _>> = settled
                    .iter()
                    .map(|(event, outcome, error)| SettledEvent {
                        event: event.as_ref(),
                        outcome: *outcome,
                        error: error.as_deref(),
                    })
                    .collect();
                steps.end_batch(&worker, events, &settled).await;
            });
        }
    }
}

/// What a report makes of an event; an outage makes nothing of it.
fn outcome(event: &OutboxEvent, result: &Result<()>) -> Option<Outcome> {
    let Err(error) = result else { return Some(Outcome::Published) };
    if Mark::of(error) == Some(Mark::Completed) {
        return Some(Outcome::Skipped);
    }
    match error.class() {
        FailureClass::Infrastructure if error.kind() == ErrorKind::TopicUnavailable => Some(Outcome::Retried),
        FailureClass::Infrastructure => None,
        FailureClass::Event if event.lifecycle().attempts_left() > 1 => Some(Outcome::Retried),
        FailureClass::Event | FailureClass::Permanent => Some(Outcome::Failed),
    }
}
