//! Groups of messages through transactions, and what becomes of each message.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use omni_box_core::{Error, Event, EventId, InboxRepository, TraceContext, trace_of};
use tokio::time::Instant;

use super::group_size::GroupSize;
use super::trust::Trust;
use super::window::Window;
use crate::batch::EventFailure;
use crate::gate::Gate;
use crate::outcome::Outcome;
use crate::step::{Mark, SettledEvent};
use crate::transact::{Cause, Context, Doing, Fate, Item, Marks, Recorded, Stay, Stepped, Task, attempt};

/// Resolves when work must be dropped at once.
pub(crate) type StopSignal = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// A message that has an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The id of its row; `None`: it has none.
    pub(crate) event_id: Option<EventId>,
    pub(crate) message_id: String,
    pub(crate) outcome: Outcome,
    /// How it failed, if it did.
    pub(crate) failure: Option<EventFailure>,
}

/// What a worker has in memory of one source of messages.
pub(crate) struct Messages<S: InboxRepository> {
    pub(crate) context: Arc<Context<S>>,
    /// Where they come from, for the log.
    pub(super) origin: String,
    pub(crate) window: Window,
    pub(super) group_size: GroupSize,
    trust: Trust,
    /// Messages that still have to go one at a time, because the last worker may have died of one.
    careful: usize,
    paused_until: Option<Instant>,
    /// Work was cut short.
    pub(super) is_stopped: bool,
    stop: StopSignal,
    /// Whether a message that has to wait leaves the memory: its row brings it back.
    lets_waiting_go: bool,
    /// Offsets of messages that are done, until they are taken.
    acknowledged: Vec<i64>,
    /// Outcomes since they were last taken, if anything asks for them.
    settled: Option<Vec<Settled>>,
    /// Before the steps: one of them may stop everything for a while.
    step_gate: Gate,
}

impl<S: InboxRepository> Messages<S> {
    /// For at most `capacity` messages; groups are given up as soon as `stop` resolves.
    pub(crate) fn new(
        context: Arc<Context<S>>,
        origin: impl ToString,
        capacity: usize,
        stop: StopSignal,
    ) -> Self {
        Self {
            origin: origin.to_string(),
            window: Window::new(capacity, context.observer().in_memory()),
            group_size: GroupSize::new(context.group_size()),
            trust: Trust::new(),
            step_gate: Gate::new("step", context.outage_retry).shown_by(context.status.lamp("step")),
            context,
            careful: 0,
            paused_until: None,
            is_stopped: false,
            stop,
            lets_waiting_go: false,
            acknowledged: Vec::new(),
            settled: None,
        }
    }

    /// For messages whose rows are stored: one that has to wait leaves the memory.
    pub(crate) fn of_stored_rows(
        context: Arc<Context<S>>,
        origin: impl ToString,
        capacity: usize,
        stop: StopSignal,
    ) -> Self {
        let messages = Self::new(context, origin, capacity, stop);
        Self { lets_waiting_go: true, settled: Some(Vec::new()), ..messages }
    }

    /// Takes one message at a time to its outcome from now on, and keeps the outcomes.
    pub(crate) fn begin_single(&mut self) {
        self.settled.get_or_insert_default();
        self.group_size = GroupSize::new(1);
    }

    /// Takes groups again, and keeps no outcomes.
    pub(crate) fn end_single(&mut self) {
        self.settled = None;
        self.group_size = GroupSize::new(self.context.group_size());
    }

    /// Whether only one message is wanted.
    pub(crate) fn is_single(&self) -> bool {
        self.settled.is_some()
    }

    /// The outcomes that were kept since they were last taken.
    pub(crate) fn take_settled(&mut self) -> Vec<Settled> {
        self.settled.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Whether an outcome waits to be taken.
    pub(crate) fn has_settled(&self) -> bool {
        self.settled.as_ref().is_some_and(|settled| !settled.is_empty())
    }

    /// The offsets of messages that were done since this was last called.
    pub(crate) fn take_acknowledged(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.acknowledged)
    }

    /// The next messages go one at a time, each with its attempt counted before its handler.
    pub(crate) fn go_carefully(&mut self) {
        self.careful = self.context.group_size;
        tracing::info!(
            origin = %self.origin, worker_id = %self.context.worker, messages = self.careful,
            "the last worker of these messages did not end in good order, going one message at a time",
        );
    }

    /// Whether messages go one at a time.
    pub(crate) fn is_careful(&self) -> bool {
        self.careful > 0
    }

    /// Whether work was cut short: the messages are another worker's.
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    pub(crate) fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// Resolves when work must be dropped at once.
    pub(crate) fn stop_signal(&self) -> BoxFuture<'static, ()> {
        (self.stop)()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused_until.is_some_and(|until| until > Instant::now())
    }

    pub(crate) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Stops working in the database for a while.
    pub(crate) fn pause(&mut self, error: &Error) {
        self.pause_for(self.context.database.close(error));
    }

    pub(crate) fn pause_for(&mut self, delay: Duration) {
        self.paused_until = Some(Instant::now() + delay);
    }

    /// The next messages that are not stored.
    pub(crate) fn unstored(&self) -> Vec<usize> {
        self.window.unstored(self.group_size.limit())
    }

    /// The next messages whose handlers may run.
    pub(crate) fn due(&self) -> Vec<usize> {
        let limit = match self.goes_sealed() {
            _ if self.is_careful() => 1,
            true => self.group_size.limit(),
            false => self.group_size.limit().min(self.context.marked_group_size()),
        };
        self.window.due(limit, self.context.persists_first())
    }

    /// Whether the next group goes without savepoints, if it is one.
    fn goes_sealed(&self) -> bool {
        self.trust.holds() && !self.is_careful() && self.context.may_seal()
    }

    /// Whether a stored message is due.
    pub(crate) fn has_due(&self) -> bool {
        self.context.handler.is_some() && !self.window.due(1, true).is_empty()
    }

    /// Stores the rows of a group.
    pub(crate) async fn persist(&mut self, group: Vec<usize>) {
        self.work(group, Task::Persist).await;
    }

    /// Those of the messages at these places that can be stored now, in a group.
    pub(crate) fn storable(&self, places: &[usize]) -> Vec<usize> {
        let mut ids = HashSet::new();
        let can_be_stored = |&at: &usize| {
            let item = self.window.get(at);
            let id =
                item.event().filter(|_| !item.waits() && !item.is_stored).map(|event| event.message_id());
            id.is_some_and(|id| ids.insert(id))
        };
        places.iter().copied().filter(can_be_stored).take(self.group_size.limit()).collect()
    }

    /// Runs the handlers of a group.
    pub(crate) async fn handle(&mut self, group: Vec<usize>) {
        // what is started stays so until its attempt has an outcome: an outage in between costs no other attempt
        let is_unstarted = |item: &Item| item.event().is_some() && !item.is_started;
        if self.is_careful() && group.iter().any(|&at| is_unstarted(self.window.get(at))) {
            match self.work(group.clone(), Task::Start).await[..] {
                [Fate::Started] => self.careful -= 1,
                [Fate::Later] => {}
                _ => return,
            }
        }
        if !self.context.steps.is_empty() {
            self.context.steps.begin_batch(&self.context.worker, group.len()).await;
        }
        self.work(group, Task::Handle).await;
    }

    /// Takes a group through a transaction; if one message ended it, that one through another that records why. Returns what became
    /// of the messages; nothing, when the group is to be formed anew.
    async fn work(&mut self, mut group: Vec<usize>, task: Task<'_>) -> Vec<Fate> {
        let mut recorded: Option<Recorded> = None;
        loop {
            let (task, doing) = match &recorded {
                Some(recorded) => (Task::Record(recorded), Doing::Recording),
                None => (task, Doing::Working),
            };
            let items: Vec<&Item> = group.iter().map(|&at| self.window.get(at)).collect();
            // one that is alone fails alone
            let is_sealed = matches!(task, Task::Handle) && group.len() > 1 && self.goes_sealed();
            let marks = if is_sealed { Marks::Sealed } else { Marks::Each };
            let cause = match attempt(&self.context, &items, task, marks, self.stop_signal()).await {
                Ok(attempted) => {
                    self.apply(&group, &attempted.fates).await;
                    self.stopped_by_step(attempted.stopped, &attempted.fates);
                    if matches!(task, Task::Handle) {
                        self.weigh(&attempted.fates);
                    }
                    return attempted.fates;
                }
                Err(cause) => cause,
            };
            match cause {
                Cause::Unmarked { .. } => {
                    tracing::debug!(
                        origin = %self.origin, worker_id = %self.context.worker, messages = group.len(),
                        "a group without savepoints failed, running it again with savepoints",
                    );
                    self.trust.disappointed();
                }
                _ => self.trust.failed(),
            }
            let concerned = if doing == Doing::Recording { group.split_off(group.len() - 1) } else { group };
            match self.set_back(&concerned, cause, doing).await {
                Some((to_record, failure)) if doing == Doing::Working => {
                    (group, recorded) = (to_record, Some(failure));
                }
                _ => return Vec::new(),
            }
        }
    }

    /// Learns from a group whether the next one may go without savepoints.
    fn weigh(&mut self, fates: &[Fate]) {
        let has_failed =
            |fate: &Fate| matches!(fate, Fate::Wait(..) | Fate::Alone | Fate::Done(Outcome::Failed));
        match fates.iter().any(has_failed) {
            true => self.trust.failed(),
            false => self.trust.passed(),
        }
    }

    /// Pauses for a step that has stopped a group. What got through ends the growth of its delays.
    fn stopped_by_step(&mut self, stopped: Option<(&'static str, Option<Duration>)>, fates: &[Fate]) {
        if let Some((step, delay)) = stopped {
            let growing = self.step_gate.close_for(step, &Mark::stopped_by(step));
            self.pause_for(delay.unwrap_or(growing));
        } else if fates.iter().any(|fate| matches!(fate, Fate::Done(_) | Fate::Wait(..))) {
            self.step_gate.open();
        }
    }

    async fn apply(&mut self, group: &[usize], fates: &[Fate]) {
        let mut passed = 0;
        for (&at, &fate) in group.iter().zip(fates) {
            let is_last = fate == Fate::Stored && self.context.handler.is_none();
            let fate = if is_last { Fate::Done(Outcome::Persisted) } else { fate };
            passed += usize::from(!matches!(fate, Fate::Later | Fate::Started | Fate::Unstarted));
            let item = self.window.get_mut(at);
            item.outcome = None;
            if fate != Fate::Later {
                item.tries.infrastructure = 0;
            }
            match fate {
                Fate::Later => {}
                Fate::Started => item.is_started = true,
                Fate::Unstarted => {
                    item.is_started = false;
                    // it is still to go alone
                    self.careful += 1;
                }
                Fate::Stored => {
                    item.is_stored = true;
                    self.acknowledged.extend(item.offset.take());
                }
                Fate::Done(outcome) => {
                    item.is_done = true;
                    self.acknowledged.extend(item.offset.take());
                    self.tell(at, outcome);
                }
                Fate::Alone => item.is_alone = true,
                Fate::Wait(delay, stay) => {
                    item.due = Some(Instant::now() + delay);
                    item.is_started = false;
                    item.is_done = self.lets_waiting_go;
                    item.tries.contention = 0;
                    let is_first_look = item.tries.held == 0;
                    match stay {
                        Stay::Scheduled => {}
                        Stay::Counted => item.tries.free = 0,
                        Stay::Free => item.tries.free += 1,
                        Stay::Held => item.tries.held += 1,
                    }
                    match stay {
                        Stay::Scheduled => {}
                        Stay::Counted | Stay::Free => self.tell(at, Outcome::Retried),
                        Stay::Held if is_first_look => self.tell(at, Outcome::Failed),
                        Stay::Held => {}
                    }
                }
            }
        }
        self.context.observer().group(passed);
        self.group_size.passed(passed);
        if !self.context.steps.is_empty() {
            self.end_of_steps(group, fates).await;
        }
        self.window.sweep();
    }

    /// Tells the steps what became of the messages whose start they have heard of.
    async fn end_of_steps(&self, group: &[usize], fates: &[Fate]) {
        let Context { steps, worker, .. } = self.context.as_ref();
        let mut ended = Vec::with_capacity(group.len());
        for (&at, fate) in group.iter().zip(fates) {
            let item = self.window.get(at);
            let (Some(event), Some(outcome)) = (item.event(), item.outcome) else { continue };
            let Stepped { mut kept, is_open, failure } = std::mem::take(&mut *item.stepped());
            if is_open {
                let is_free = matches!(fate, Fate::Wait(_, Stay::Free));
                steps.end(event, outcome, is_free, worker, &mut kept);
                ended.push((event, outcome, failure));
            }
        }
        let settled: Vec<SettledEvent<'_, _>> = ended
            .iter()
            .map(|(event, outcome, failure)| SettledEvent {
                event: *event,
                outcome: *outcome,
                error: failure.as_ref().filter(|_| has_failed(*outcome)).map(|failure| &*failure.error),
            })
            .collect();
        if !settled.is_empty() {
            steps.end_batch(worker, group.len(), &settled).await;
        }
    }

    /// Tells metrics, the log and whatever asked what became of a message.
    fn tell(&mut self, at: usize, outcome: Outcome) {
        self.window.get_mut(at).outcome = Some(outcome);
        let item = self.window.get(at);
        self.context.observer().settled(item, outcome);
        let event_type = item.event().map_or("", |event| event.event_type());
        if matches!(outcome, Outcome::Failed | Outcome::Quarantined) {
            let trace = item.event().and_then(|event| trace_of(event.headers()));
            tracing::warn!(
                message_id = item.message_id(), event_type, worker_id = %self.context.worker,
                trace_id = trace.as_ref().map(TraceContext::trace_id),
                origin = %self.origin, outcome = outcome.as_str(), "message was given up and is kept",
            );
        }
        if let Some(settled) = &mut self.settled {
            let event_id = item.row.get().copied();
            let failure = has_failed(outcome).then(|| item.stepped().failure.clone()).flatten();
            settled.push(Settled { event_id, message_id: item.message_id(), outcome, failure });
        }
    }
}

fn has_failed(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Retried | Outcome::Failed)
}
