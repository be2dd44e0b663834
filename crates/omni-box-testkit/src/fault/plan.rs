//! Which calls fail, and how.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use omni_box_core::{Error, ErrorKind, OutboxEvent, Result};
use tokio::sync::watch;
use tokio::time::sleep;

use super::{Capability, Operation};

/// Faults to come, for everything that is wrapped with it. Cloning shares it.
///
/// ```
/// use omni_box_core::{ErrorKind, Store};
/// use omni_box_testkit::{FaultPlan, Faulty, MemoryStore, Operation};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let plan = FaultPlan::new();
/// let store = Faulty::new(MemoryStore::new(), &plan);
/// // the second commit takes effect, but its answer is lost
/// plan.on(Operation::Commit).nth(2).fail_after(ErrorKind::Unavailable);
///
/// store.commit(store.begin().await?).await?;
/// let error = store.commit(store.begin().await?).await.expect_err("unknown");
/// assert_eq!(error.kind(), ErrorKind::Unavailable);
/// store.commit(store.begin().await?).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FaultPlan(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
pub(super) struct State {
    rules: Vec<Rule>,
    calls: BTreeMap<Operation, u64>,
    pub(super) hidden: BTreeSet<Capability>,
    is_cut: bool,
    is_frozen: bool,
    /// Calls that stand still.
    still: usize,
    /// Counts the releases.
    releases: u64,
}

pub(super) struct Rule {
    pub(super) operation: Operation,
    /// The events that are meant; all if there is none.
    pub(super) events: Option<Choice>,
    /// Calls that pass first.
    pub(super) skip: u64,
    /// Calls that fail then.
    pub(super) times: u64,
    pub(super) fault: Fault,
}

impl Rule {
    fn is_for(&self, operation: Operation, event: Option<&OutboxEvent>) -> bool {
        let is_meant = |events: &Choice| event.is_some_and(|event| events(event));
        self.operation == operation && self.events.as_ref().is_none_or(is_meant)
    }
}

/// Makes an error.
pub(super) type Answer = Arc<dyn Fn() -> Error + Send + Sync>;

/// Chooses events.
pub(super) type Choice = Arc<dyn Fn(&OutboxEvent) -> bool + Send + Sync>;

#[derive(Clone)]
pub(super) enum Fault {
    FailBefore(Answer),
    FailAfter(Answer),
    Delay(Duration),
    FreezeBefore,
    FreezeAfter,
}

impl FaultPlan {
    /// Nothing fails.
    pub fn new() -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), changed: watch::Sender::new(()) }))
    }

    /// Fails everything with [`Unavailable`](ErrorKind::Unavailable) until [`restore`](Self::restore); of calls under way the answer is lost.
    /// Consumers wait, as their contract says.
    pub fn cut(&self) {
        self.update(|state| state.is_cut = true);
    }

    /// Ends a [`cut`](Self::cut).
    pub fn restore(&self) {
        self.update(|state| state.is_cut = false);
    }

    /// Lets every call stand still before it takes effect, until [`release`](Self::release).
    pub fn freeze(&self) {
        self.update(|state| state.is_frozen = true);
    }

    /// Lets everything go on that stands still.
    pub fn release(&self) {
        self.update(|state| {
            state.is_frozen = false;
            state.releases += 1;
        });
    }

    /// Forgets the faults to come. What is cut or stands still stays so.
    pub fn clear(&self) {
        self.update(|state| state.rules.clear());
    }

    /// How often an operation was called, whatever became of it.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.state().calls.get(&operation).copied().unwrap_or(0)
    }

    /// Waits until a call stands still.
    pub async fn until_frozen(&self) {
        self.until(|state| state.still > 0).await;
    }

    pub(super) fn is_cut(&self) -> bool {
        self.state().is_cut
    }

    pub(super) async fn until_restored(&self) {
        self.until(|state| !state.is_cut).await;
    }

    /// Counts a call, which may be about an event, and says what happens to it.
    fn count(&self, operation: Operation, event: Option<&OutboxEvent>) -> Option<Fault> {
        let mut state = self.state();
        *state.calls.entry(operation).or_default() += 1;
        let mut fault = None;
        for rule in state.rules.iter_mut().filter(|rule| rule.is_for(operation, event)) {
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if fault.is_none() && rule.times > 0 {
                rule.times -= 1;
                fault = Some(rule.fault.clone());
            }
        }
        state.rules.retain(|rule| rule.times > 0);
        fault
    }

    /// Counts a call that is counted under another name too.
    pub(super) fn note(&self, operation: Operation) {
        *self.state().calls.entry(operation).or_default() += 1;
    }

    /// Does to a call what is planned.
    pub(super) async fn run<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let fault = self.begin(operation).await?;
        let answer = call.await;
        self.end(fault, answer).await
    }

    /// What happens before a call takes effect.
    pub(super) async fn begin(&self, operation: Operation) -> Result<Option<Fault>> {
        self.begin_with(operation, None).await
    }

    /// The same of a call that is about an event.
    pub(super) async fn begin_with(
        &self,
        operation: Operation,
        event: Option<&OutboxEvent>,
    ) -> Result<Option<Fault>> {
        let fault = self.count(operation, event);
        self.until(|state| !state.is_frozen).await;
        match &fault {
            Some(Fault::FailBefore(answer)) => return Err(answer()),
            Some(Fault::Delay(delay)) => sleep(*delay).await,
            Some(Fault::FreezeBefore) => self.stand_still().await,
            Some(Fault::FailAfter(_) | Fault::FreezeAfter) | None => {}
        }
        if self.is_cut() { Err(cut_off()) } else { Ok(fault) }
    }

    /// The same for a call whose answer cannot be dropped: what would happen to it happens before.
    pub(super) async fn begin_only(&self, operation: Operation) -> Result<()> {
        match self.begin(operation).await? {
            Some(Fault::FailAfter(answer)) => Err(answer()),
            Some(Fault::FreezeAfter) => {
                self.stand_still().await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What happens to the answer of a call.
    pub(super) async fn end<T>(&self, fault: Option<Fault>, answer: Result<T>) -> Result<T> {
        if matches!(fault, Some(Fault::FreezeAfter)) {
            self.stand_still().await;
        }
        match (fault, answer) {
            (Some(Fault::FailAfter(answer)), Ok(_)) => Err(answer()),
            (_, Ok(_)) if self.is_cut() => Err(cut_off()),
            (_, answer) => answer,
        }
    }

    /// Waits for a release.
    pub(super) async fn stand_still(&self) {
        let still = Still::new(self);
        let releases = still.0.state().releases;
        self.until(|state| state.releases > releases).await;
    }

    /// Plans a fault.
    pub(super) fn plan(&self, rule: Rule) {
        self.update(|state| state.rules.push(rule));
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.0.changed.send_replace(());
        changed
    }

    async fn until(&self, mut condition: impl FnMut(&State) -> bool + Send) {
        let mut changed = self.0.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if condition(&self.state()) {
                return;
            }
            changed.changed().await.expect("the sender lives as long as the plan");
        }
    }
}

/// A call that stands still.
struct Still<'a>(&'a FaultPlan);

impl<'a> Still<'a> {
    fn new(plan: &'a FaultPlan) -> Self {
        plan.update(|state| state.still += 1);
        Self(plan)
    }
}

impl Drop for Still<'_> {
    fn drop(&mut self) {
        self.0.update(|state| state.still -= 1);
    }
}

impl Default for FaultPlan {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("FaultPlan")
            .field("to_come", &state.rules.len())
            .field("is_cut", &state.is_cut)
            .field("is_frozen", &state.is_frozen)
            .finish_non_exhaustive()
    }
}

pub(super) fn planned(kind: ErrorKind) -> Error {
    Error::new(kind, "failed, as the test wants it")
}

pub(super) fn cut_off() -> Error {
    Error::new(ErrorKind::Unavailable, "cut off, as the test wants it")
}
