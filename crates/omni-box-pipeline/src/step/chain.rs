//! The steps of one worker, one behind the other.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use omni_box_core::{Event, WorkerId};
use tokio::time::timeout;

use super::context::{BatchContext, Kept, ProcessingContext};
use super::{Decision, ProcessingStep, SettledEvent};
use crate::outcome::Outcome;

/// How long a step may take to hear of a batch.
const HEARING: Duration = Duration::from_secs(30);

/// What the steps have decided about an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// It is handled or sent.
    Next,
    /// It waits; why.
    Skip(String),
    /// It is done.
    Complete,
    /// It is given up; why.
    Fail(String),
    /// An attempt has failed in a step; why.
    Broken(String),
    /// The step of this name stops everything, for this long if it says so.
    Stop(&'static str, Option<Duration>),
}

/// The steps of one worker, in order.
pub(crate) struct Steps<E>(Arc<[Arc<dyn ProcessingStep<E>>]>);

impl<E> Clone for Steps<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: Event> Steps<E> {
    pub(crate) fn new(steps: Vec<Arc<dyn ProcessingStep<E>>>) -> Self {
        Self(steps.into())
    }

    /// These, and another one behind them.
    pub(crate) fn with(&self, step: impl ProcessingStep<E>) -> Self {
        let last: Arc<dyn ProcessingStep<E>> = Arc::new(step);
        Self(self.0.iter().cloned().chain([last]).collect())
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|step| step.name()).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells the start of an event, and asks step after step.
    pub(crate) async fn ask(&self, event: &E, worker: &WorkerId, kept: &mut Kept, limit: Duration) -> Ruling {
        *kept = Kept::default();
        for step in self.0.iter() {
            let mut cx = ProcessingContext::new(worker, kept);
            if catch_unwind(AssertUnwindSafe(|| step.on_event_start(event, &mut cx))).is_err() {
                return Ruling::Broken(format!("step {} panicked", step.name()));
            }
        }
        for step in self.0.iter() {
            let name = step.name();
            let mut cx = ProcessingContext::new(worker, kept);
            // `execute` itself may panic before there is a future
            let asked = AssertUnwindSafe(async { step.execute(event, &mut cx).await }).catch_unwind();
            let decision = match timeout(limit, asked).await {
                Ok(Ok(result)) => result.0,
                Ok(Err(_)) => return Ruling::Broken(format!("step {name} panicked")),
                Err(_) => return Ruling::Broken(format!("step {name} took longer than its {limit:?}")),
            };
            match decision {
                Decision::Next => {}
                Decision::Skip => return Ruling::Skip(format!("put off by step {name}")),
                Decision::Complete => return Ruling::Complete,
                Decision::Fail(reason) => return Ruling::Fail(format!("step {name}: {reason}")),
                Decision::Stop(delay) => return Ruling::Stop(name, delay),
            }
        }
        Ruling::Next
    }

    /// Tells the end of an event.
    pub(crate) fn end(&self, event: &E, outcome: Outcome, is_free: bool, worker: &WorkerId, kept: &mut Kept) {
        for step in self.0.iter() {
            let mut cx = ProcessingContext::new(worker, kept);
            cx.is_free = is_free;
            if catch_unwind(AssertUnwindSafe(|| step.on_event_end(event, outcome, &mut cx))).is_err() {
                tracing::error!(step = step.name(), event_id = %event.id(), "step panicked at the end of an event");
            }
        }
    }

    /// Tells the start of a batch.
    pub(crate) async fn begin_batch(&self, worker: &WorkerId, events: usize) {
        let cx = BatchContext::new(worker, events);
        for step in self.0.iter() {
            heard(step.name(), async { step.on_batch_start(&cx).await }).await;
        }
    }

    /// Tells the end of a batch.
    pub(crate) async fn end_batch(&self, worker: &WorkerId, events: usize, settled: &[SettledEvent<'_, E>]) {
        let cx = BatchContext::new(worker, events);
        for step in self.0.iter() {
            heard(step.name(), async { step.on_batch_end(settled, &cx).await }).await;
        }
    }
}

/// Waits until a step has heard of a batch, and for no longer than it may take.
async fn heard(step: &'static str, hook: impl Future<Output = ()>) {
    match timeout(HEARING, AssertUnwindSafe(hook).catch_unwind()).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => tracing::error!(step, "step panicked at the edge of a batch"),
        Err(_) => tracing::error!(step, after = ?HEARING, "step did not return at the edge of a batch"),
    }
}
