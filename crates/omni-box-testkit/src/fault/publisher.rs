//! A publisher that fails where a test wants it to.

use std::collections::HashMap;
use std::fmt;
use std::future::ready;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use omni_box_core::{
    DeliveryReport, Error, ErrorKind, Event, EventId, EventPublisher, FailureClass, OutboxEvent, Reporter,
    Result, SendOrder,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::plan::Fault;
use super::{FaultPlan, Operation};

/// A publisher that does what its [`FaultPlan`] says, and otherwise what the publisher inside does.
///
/// It keeps the contract of [`EventPublisher`]: after a failure that is not one event's own, everything not yet reported fails too. So does
/// what is submitted before the next `purge` or `check`. Reports that stand still are given up by `purge`.
pub struct FaultyPublisher<P> {
    inner: P,
    shared: Arc<Shared>,
    forwarders: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    plan: FaultPlan,
    /// An event failed for a reason that is not its own: nothing more is taken.
    is_broken: AtomicBool,
    /// The answer to an event was lost, and with it those to everything behind it.
    is_deaf: AtomicBool,
    purges: watch::Sender<()>,
}

impl<P> FaultyPublisher<P> {
    /// Wraps a publisher.
    pub fn new(publisher: P, plan: &FaultPlan) -> Self {
        let shared = Shared {
            plan: plan.clone(),
            is_broken: AtomicBool::new(false),
            is_deaf: AtomicBool::new(false),
            purges: watch::Sender::new(()),
        };
        Self { inner: publisher, shared: Arc::new(shared), forwarders: Mutex::default() }
    }

    /// Reports reports on, changed as the plan says.
    fn forward(&self, to: &Reporter, faults: HashMap<EventId, Fault>) -> Reporter {
        let (reporter, reports) = Reporter::channel();
        let (shared, purges) = (Arc::clone(&self.shared), self.shared.purges.subscribe());
        let forwarder = tokio::spawn(shared.forward(reports, purges, to.clone(), faults));
        let mut forwarders = self.forwarders.lock().unwrap_or_else(PoisonError::into_inner);
        forwarders.retain(|forwarder| !forwarder.is_finished());
        forwarders.push(forwarder);
        reporter
    }
}

impl Shared {
    fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::SeqCst)
    }

    /// Reports an event, and notes a failure that is not its own.
    fn report(&self, to: &Reporter, id: EventId, result: Result<()>) {
        self.pass(to, DeliveryReport::new(id, result));
    }

    fn pass(&self, to: &Reporter, report: DeliveryReport) {
        if let Err(error) = &report.result
            && !is_own(error.kind())
        {
            self.is_broken.store(true, Ordering::SeqCst);
        }
        to.pass(report);
    }

    async fn forward(
        self: Arc<Self>,
        mut reports: mpsc::UnboundedReceiver<DeliveryReport>,
        mut purges: watch::Receiver<()>,
        to: Reporter,
        faults: HashMap<EventId, Fault>,
    ) {
        let mut is_purged = false;
        loop {
            let report = tokio::select! {
                biased;
                report = reports.recv() => report,
                // everything was reported before the purge of the publisher inside returned
                () = ready(()), if is_purged => None,
                _ = purges.changed(), if !is_purged => {
                    is_purged = true;
                    continue;
                }
            };
            let Some(DeliveryReport { id, result, placed, .. }) = report else { return };
            let given_up = Err(Error::new(ErrorKind::Unavailable, "purged before its report came"));
            let result = tokio::select! {
                biased;
                result = self.plan.end(faults.get(&id).cloned(), result) => result,
                () = ready(()), if is_purged => given_up,
                _ = purges.changed(), if !is_purged => {
                    is_purged = true;
                    given_up
                }
            };
            let result = if self.is_deaf.load(Ordering::SeqCst) { result.and(Err(behind())) } else { result };
            if result.as_ref().is_err_and(|error| !is_own(error.kind())) {
                self.is_deaf.store(true, Ordering::SeqCst);
            }
            let mut report = DeliveryReport::new(id, result);
            report.placed = placed.filter(|_| report.result.is_ok());
            self.pass(&to, report);
        }
    }
}

#[async_trait]
impl<P: EventPublisher> EventPublisher for FaultyPublisher<P> {
    fn send_order(&self) -> SendOrder {
        self.inner.send_order()
    }

    fn client_id(&self) -> Option<&str> {
        self.inner.client_id()
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        let begun = self.shared.plan.begin(Operation::Submit).await;
        let (submit, mut failed) = match begun {
            Ok(_) if self.shared.is_broken() => (None, Some(behind())),
            Ok(fault) => (fault, None),
            Err(error) => (None, Some(error)),
        };
        let (mut taken, mut faults) = (Vec::with_capacity(events.len()), HashMap::new());
        for event in events {
            if let Some(error) = &failed {
                let same = Error::new(error.kind(), error.to_string());
                self.shared.report(reporter, event.id(), Err(same));
                continue;
            }
            match self.shared.plan.begin_with(Operation::Deliver, Some(&event)).await {
                Ok(fault) => {
                    let lost = submit.clone().filter(|fault| matches!(fault, Fault::FailAfter(_)));
                    faults.extend(fault.or(lost).map(|fault| (event.id(), fault)));
                    taken.push(event);
                }
                Err(error) => {
                    failed = Some(Error::new(error.kind(), error.to_string()))
                        .filter(|error| !is_own(error.kind()));
                    self.shared.report(reporter, event.id(), Err(error));
                }
            }
        }
        if !taken.is_empty() {
            let reporter = self.forward(reporter, faults);
            self.inner.submit(taken, &reporter).await;
        }
        if matches!(submit, Some(Fault::FreezeAfter)) {
            self.shared.plan.stand_still().await;
        }
    }

    async fn purge(&self) {
        // there is no answer that could fail
        let _ = self.shared.plan.begin(Operation::Purge).await;
        self.inner.purge().await;
        let forwarders = std::mem::take(&mut *self.forwarders.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.purges.send_replace(());
        for forwarder in forwarders {
            // fails only when it panicked, which is shown already
            let _ = forwarder.await;
        }
        for flag in [&self.shared.is_broken, &self.shared.is_deaf] {
            flag.store(false, Ordering::SeqCst);
        }
    }

    async fn check(&self) -> Result<()> {
        let fault = self.shared.plan.begin(Operation::Check).await?;
        if self.shared.is_broken() {
            self.purge().await;
        }
        let answer = self.inner.check().await;
        self.shared.plan.end(fault, answer).await
    }
}

impl<P> fmt::Debug for FaultyPublisher<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyPublisher").field("plan", &self.shared.plan).finish_non_exhaustive()
    }
}

fn is_own(kind: ErrorKind) -> bool {
    kind.class() != FailureClass::Infrastructure || kind == ErrorKind::TopicUnavailable
}

fn behind() -> Error {
    Error::new(ErrorKind::Unavailable, "an event before this one was not delivered")
}
