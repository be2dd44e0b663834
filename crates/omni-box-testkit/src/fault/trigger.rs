//! Which calls a fault is planned for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{Error, ErrorKind, OutboxEvent};

use super::plan::{Choice, Fault, Rule, planned};
use super::{FaultPlan, Operation};

/// Chosen calls; say what happens to them.
///
/// A broker that refuses one topic, with an error of the test's choice, and a database that answers with an error of its own. The adapters
/// make such errors of the codes of their servers: `omni_box_postgres::sqlstate_error`, `omni_box_kafka::delivery_error`.
///
/// ```
/// use omni_box_core::{Error, ErrorKind, OutboxEvent, Store};
/// use omni_box_testkit::{FaultPlan, Faulty, MemoryStore, Operation};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let plan = FaultPlan::new();
/// let refused = || Error::new(ErrorKind::TopicUnavailable, "no leader");
/// plan.on(Operation::Deliver).events(|event: &OutboxEvent| event.topic() == "orders").always().answer_before(refused);
///
/// let store = Faulty::new(MemoryStore::new(), &plan);
/// plan.on(Operation::Begin).answer_before(|| Error::new(ErrorKind::Internal, "the guard's trigger says no"));
/// assert_eq!(store.begin().await.err().map(|error| error.kind()), Some(ErrorKind::Internal));
/// # }
/// ```
#[must_use = "say what happens, such as `.fail_before(kind)`"]
pub struct FaultTrigger<'a> {
    plan: &'a FaultPlan,
    operation: Operation,
    events: Option<Choice>,
    skip: u64,
    times: u64,
}

impl fmt::Debug for FaultTrigger<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultTrigger").field("operation", &self.operation).finish_non_exhaustive()
    }
}

impl FaultPlan {
    /// Chooses calls of an operation: the next one, unless said otherwise. Of several faults for one call the first that was planned
    /// happens.
    pub fn on(&self, operation: Operation) -> FaultTrigger<'_> {
        FaultTrigger { plan: self, operation, events: None, skip: 0, times: 1 }
    }
}

impl FaultTrigger<'_> {
    /// Of [`Operation::Deliver`], those of some events: of a topic, a key, an id. Other operations are about no event, and none of their calls
    /// is chosen.
    pub fn events(mut self, are_meant: impl Fn(&OutboxEvent) -> bool + Send + Sync + 'static) -> Self {
        self.events = Some(Arc::new(are_meant));
        self
    }

    /// The `n`th call from now on; the first is the next one.
    ///
    /// # Panics
    /// When `n` is 0.
    pub fn nth(mut self, n: u64) -> Self {
        assert!(n > 0, "calls are counted from 1");
        self.skip = n - 1;
        self
    }

    /// So many calls, one after the other.
    pub fn times(mut self, calls: u64) -> Self {
        self.times = calls;
        self
    }

    /// That call and all that follow, until [`FaultPlan::clear`].
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    /// Fails before it takes effect.
    pub fn fail_before(self, kind: ErrorKind) {
        self.answer_before(move || planned(kind));
    }

    /// Fails before it takes effect, with an error of the test's own.
    pub fn answer_before(self, error: impl Fn() -> Error + Send + Sync + 'static) {
        self.plan(Fault::FailBefore(Arc::new(error)));
    }

    /// Takes effect, then fails: its answer was lost.
    pub fn fail_after(self, kind: ErrorKind) {
        self.answer_after(move || planned(kind));
    }

    /// Takes effect, then fails with an error of the test's own.
    pub fn answer_after(self, error: impl Fn() -> Error + Send + Sync + 'static) {
        self.plan(Fault::FailAfter(Arc::new(error)));
    }

    /// Takes effect after this long.
    pub fn delay(self, delay: Duration) {
        self.plan(Fault::Delay(delay));
    }

    /// Stands still before it takes effect, until [`FaultPlan::release`]; see also [`FaultPlan::until_frozen`].
    pub fn freeze_before(self) {
        self.plan(Fault::FreezeBefore);
    }

    /// Takes effect, but does not return, until [`FaultPlan::release`].
    pub fn freeze_after(self) {
        self.plan(Fault::FreezeAfter);
    }

    fn plan(self, fault: Fault) {
        let Self { plan, operation, events, skip, times } = self;
        plan.plan(Rule { operation, events, skip, times, fault });
    }
}
