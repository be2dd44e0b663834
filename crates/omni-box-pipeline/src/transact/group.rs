//! A group of messages in one transaction.

use std::collections::HashSet;
use std::time::Duration;

use omni_box_core::{
    Attempt, Error, ErrorKind, Event, EventId, Failure, InboxEvent, InboxRepository, InboxSettlement,
    QuarantinedMessage, Received, Retry,
};
use tokio::time::Instant;

use super::cause::{Cause, Stage};
use super::context::Context;
use super::handling::{Course, Handled, check_mark, handle, handle_batch};
use super::judgement::{Charge, Cost, Fate, LOOK_AGAIN, Stay, exhausted, given_up, judge};
use super::left::Left;
use super::letters::Letter;
use super::message::{Body, Item, Key, Stepped};
use super::policy::AckStrategy;
use super::task::{Attempted, GROUP_TIME, Marks, Recorded, Task};
use crate::batch::EventFailure;
use crate::outcome::Outcome;
use crate::step::{Mark, Ruling};

/// It may be handled at once.
const NOW: Retry = Retry::After(Duration::ZERO);

/// Messages that a handler takes together.
#[derive(Default)]
struct Batch<'r> {
    of: Option<usize>,
    rows: Vec<(usize, &'r InboxEvent)>,
    /// Those whose rows were there, pending.
    stored: Vec<EventId>,
}

/// A group on its way through a transaction.
pub(super) struct Group<'a, S: InboxRepository> {
    context: &'a Context<S>,
    items: &'a [&'a Item],
    task: Task<'a>,
    marks: Marks,
    fates: Vec<Fate>,
    settlement: InboxSettlement,
    quarantine: Vec<QuarantinedMessage>,
    /// What is given up, where it goes somewhere.
    letters: Vec<Letter>,
    /// Keys of which a message of this group has to wait.
    blocked: HashSet<&'a Key>,
    course: Course,
    /// What is left behind if a handler commits.
    left: Left,
    /// The transaction before this one was committed by a handler.
    was_committed: bool,
    /// When the first handler began.
    begun: Option<Instant>,
    /// The step that stops the group.
    stopped: Option<(&'static str, Option<Duration>)>,
}

impl<'a, S: InboxRepository> Group<'a, S> {
    pub(super) fn new(context: &'a Context<S>, items: &'a [&'a Item], task: Task<'a>, marks: Marks) -> Self {
        Self {
            context,
            items,
            task,
            marks,
            fates: vec![Fate::Later; items.len()],
            settlement: InboxSettlement::default(),
            quarantine: Vec::new(),
            letters: Vec::new(),
            blocked: HashSet::new(),
            course: if marks == Marks::Sealed { Course::sealed() } else { Course::new() },
            left: Left::default(),
            was_committed: false,
            begun: None,
            stopped: None,
        }
    }

    /// Whether the rest of the group is for a later one.
    fn is_over(&self) -> bool {
        self.stopped.is_some() || self.begun.is_some_and(|begun| begun.elapsed() >= GROUP_TIME)
    }

    pub(super) async fn run(mut self, conn: &mut S::Conn) -> Result<Attempted, Cause> {
        let events = self.sort_out_refused();
        if !events.is_empty() {
            let ran = self.run_events(conn, &events).await;
            ran.map_err(|cause| cause.leaving(std::mem::take(&mut self.left)))?;
        }
        let database = &self.context.database;
        if !self.settlement.is_empty() {
            let settled = database.settle(conn, &self.settlement).await;
            settled.map_err(|error| self.marks.refused(error, Stage::Effect))?;
        }
        if let Some(letters) = self.context.letters.as_deref().filter(|_| !self.letters.is_empty()) {
            let buried = database.bury(letters, conn, &self.letters).await;
            buried.map_err(|error| self.marks.refused(error, Stage::Effect))?;
        }
        if !self.quarantine.is_empty() {
            let kept = database.quarantine(conn, &self.quarantine).await;
            kept.map_err(|error| Cause::refused(error, Stage::Store))?;
        }
        Ok(Attempted { fates: self.fates, stopped: self.stopped })
    }

    /// Puts messages that could not be decoded into quarantine; returns the events.
    fn sort_out_refused(&mut self) -> Vec<&'a InboxEvent> {
        let mut events = Vec::with_capacity(self.items.len());
        let items = self.items;
        for (position, item) in items.iter().enumerate() {
            match &item.body {
                Body::Event(event) => events.push(event.as_ref()),
                Body::Refused(reason) => self.keep_raw(position, reason.clone()),
            }
        }
        events
    }

    async fn run_events(&mut self, conn: &mut S::Conn, events: &[&'a InboxEvent]) -> Result<(), Cause> {
        let received = self.receive(conn, events).await;
        let received = received.map_err(|error| Cause::refused(error, Stage::Store))?;
        if received.len() != events.len() {
            let error = Error::new(ErrorKind::Internal, "the store answered for another number of messages");
            return Err(Cause::refused(error, Stage::Store));
        }
        let items = self.items;
        let with_event = || items.iter().enumerate().filter(|(_, item)| item.event().is_some());
        for ((position, item), (event, known)) in with_event().zip(events.iter().zip(&received)) {
            if let Some(row) = row_of(event, known) {
                item.row.get_or_init(|| row);
            }
            self.witness(position, event, known);
        }
        let mut batch = Batch::default();
        for ((position, item), (&event, known)) in with_event().zip(events.iter().zip(&received)) {
            if self.is_over() {
                break;
            }
            if let Some((of, row)) = self.batch_of(item, event, known) {
                if batch.of != Some(of) {
                    self.handle_batch(conn, std::mem::take(&mut batch)).await?;
                }
                batch.of = Some(of);
                batch.rows.push((position, row));
                batch.stored.extend((*known != Received::New).then(|| row.id()));
                continue;
            }
            // what is behind a batch must not overtake it
            self.handle_batch(conn, std::mem::take(&mut batch)).await?;
            let is_handled = !matches!(self.task, Task::Persist | Task::Start);
            if is_handled && self.blocked.contains(&item.key) {
                continue;
            }
            let fate = self.one(conn, position, event, known).await?;
            if matches!(fate, Fate::Wait(..) | Fate::Alone) {
                self.blocked.insert(&item.key);
            }
            self.fates[position] = fate;
        }
        self.handle_batch(conn, batch).await?;
        if self.marks == Marks::Sealed {
            return self.leave_the_rest(conn, with_event().zip(&received)).await;
        }
        check_mark(self.context, conn, &mut self.course).await
    }

    /// The batch that a message belongs to, and its row, if it is to be handled and nothing else is to be looked at.
    fn batch_of<'r>(
        &self,
        item: &Item,
        event: &'r InboxEvent,
        known: &'r Received,
    ) -> Option<(usize, &'r InboxEvent)> {
        let Context { handler, steps, .. } = self.context;
        let is_plain = self.marks == Marks::Sealed && steps.is_empty() && !self.blocked.contains(&item.key);
        let row = match known {
            Received::New => event,
            Received::Pending { event, wait } if wait.is_zero() => event,
            _ => return None,
        };
        let is_plain = is_plain && (row.lifecycle().attempts_left() > 0 || item.is_started);
        Some((handler.as_deref().filter(|_| is_plain)?.batch_of(row)?, row))
    }

    async fn handle_batch(&mut self, conn: &mut S::Conn, batch: Batch<'_>) -> Result<(), Cause> {
        let Some(handler) = self.context.handler.as_deref().filter(|_| !batch.rows.is_empty()) else {
            return Ok(());
        };
        self.begun.get_or_insert_with(Instant::now);
        let outcomes = handle_batch(self.context, handler, conn, &mut self.course, &batch.rows).await?;
        for (&(position, _), outcome) in batch.rows.iter().zip(outcomes) {
            self.fates[position] = Fate::Done(outcome);
        }
        self.settlement.completed.extend(batch.stored);
        Ok(())
    }

    /// Inserts the rows of messages, or locks them.
    async fn receive(
        &self,
        conn: &mut S::Conn,
        events: &[&InboxEvent],
    ) -> omni_box_core::Result<Vec<Received>> {
        let database = &self.context.database;
        match self.marks {
            Marks::Sealed => database.receive_completed(conn, events).await,
            Marks::Each => {
                let events: Vec<InboxEvent> = events.iter().map(|event| (*event).clone()).collect();
                database.receive(conn, &events).await
            }
        }
    }

    /// Of a sealed transaction: sets back what it has stored as completed and did not handle.
    async fn leave_the_rest<'r>(
        &self,
        conn: &mut S::Conn,
        received: impl Iterator<Item = ((usize, &'a &'a Item), &'r Received)>,
    ) -> Result<(), Cause> {
        let is_left = |position: usize| !matches!(self.fates[position], Fate::Done(_));
        let left: Vec<EventId> = received
            .filter(|((position, _), known)| **known == Received::New && is_left(*position))
            .filter_map(|((_, item), _)| item.event().map(Event::id))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        let set_back = self.context.database.set_back(conn, &left).await;
        set_back.map_err(|error| self.marks.refused(error, Stage::Effect))
    }

    /// Looks for a row that tells whether a transaction was committed: its own id is there only if its own insert was kept.
    fn witness(&mut self, position: usize, event: &InboxEvent, known: &Received) {
        match (self.task, known) {
            (Task::Record(recorded), Received::Pending { event: row, .. }) => {
                self.was_committed |= recorded.left.witness == Some(position) && row.id() == event.id();
            }
            (_, Received::New) => {
                self.left.witness.get_or_insert(position);
            }
            _ => {}
        }
    }

    /// What becomes of a message that is not the one whose failure is recorded.
    fn bystander(&mut self, recorded: &Recorded, position: usize, known: &Received) -> Fate {
        let mut done = recorded.left.done.iter().filter(|(done, _)| *done == position);
        match (done.next(), known) {
            (Some(&(_, outcome)), Received::Pending { event: row, .. }) if self.was_committed => {
                self.settlement.completed.push(row.id());
                Fate::Done(outcome)
            }
            // marked in the transaction, which was committed therefore
            (Some(&(_, outcome)), Received::Completed(_)) => Fate::Done(outcome),
            _ => Fate::Later,
        }
    }

    async fn one(
        &mut self,
        conn: &mut S::Conn,
        position: usize,
        event: &InboxEvent,
        known: &Received,
    ) -> Result<Fate, Cause> {
        let item = self.items[position];
        if let Task::Record(recorded) = self.task
            && position + 1 < self.items.len()
        {
            return Ok(self.bystander(recorded, position, known));
        }
        let row = match known {
            Received::New => event,
            Received::Pending { event, wait } => {
                let waits = !wait.is_zero() && !item.is_started && !matches!(self.task, Task::Persist);
                if waits {
                    return Ok(Fate::Wait((*wait).min(LOOK_AGAIN), Stay::Scheduled));
                }
                event
            }
            Received::Completed(row) => return self.completed(conn, position, row).await,
            Received::Failed(_) => {
                return Ok(match given_up(self.context, item) {
                    Fate::Done(_) => Fate::Done(Outcome::Duplicate),
                    held => held,
                });
            }
            Received::Conflict(_) => {
                self.keep_raw(position, "its message id belongs to another message".to_owned());
                return Ok(self.fates[position]);
            }
        };
        let is_exhausted = row.lifecycle().attempts_left() == 0 && !item.is_started;
        let (failure, fate) = match self.task {
            Task::Persist => return Ok(Fate::Stored),
            Task::Start | Task::Handle if is_exhausted => exhausted(self.context, item, row),
            Task::Start => {
                let text = "the process ended while this message was handled";
                let retry = Retry::After(self.context.started_for());
                (Failure::new(text, Attempt::Counted, retry), Fate::Started)
            }
            Task::Record(Recorded { charge, .. }) if charge.is_in_company && !self.was_committed => {
                return Ok(Fate::Alone);
            }
            Task::Record(Recorded { charge, .. }) if charge.is_silent && !item.is_alone => {
                return Ok(Fate::Alone);
            }
            Task::Record(Recorded { charge, .. }) => judge(self.context, item, row, charge),
            Task::Handle => match self.step_and_handle(conn, position, row).await? {
                Handled::Later => return Ok(self.stopped_before(item, row)),
                Handled::Done(outcome) => {
                    self.left.done.push((position, outcome));
                    // of a sealed transaction, what is new is completed already
                    if self.marks == Marks::Each || *known != Received::New {
                        self.settlement.completed.push(row.id());
                    }
                    return Ok(Fate::Done(outcome));
                }
                Handled::Undone(_) if self.marks == Marks::Sealed => {
                    return Err(Cause::Unmarked { is_broken_off: false });
                }
                Handled::Undone(charge) if charge.is_in_company => return Ok(Fate::Alone),
                Handled::Undone(charge) => judge(self.context, item, row, &charge),
            },
        };
        let noted = EventFailure::new(row.id(), &failure);
        // one that was counted before it started is not counted again
        let is_counted = noted.is_counted || (item.is_started && failure.attempt == Attempt::Free);
        item.stepped().failure = Some(EventFailure { is_counted, ..noted });
        if failure.retry == Retry::Never && self.context.letters.is_some() {
            let attempts = row.lifecycle().attempts_made().saturating_add_signed(failure.attempt.charge());
            let error = failure.error().to_owned();
            self.letters.push(Letter { event: row.clone(), error, attempts });
        }
        self.settlement.failures.push((row.id(), failure));
        Ok(fate)
    }

    /// What becomes of the message at which a step has stopped the group. No handler ran: an attempt that was counted before is given back.
    fn stopped_before(&mut self, item: &Item, row: &InboxEvent) -> Fate {
        let Some((step, _)) = self.stopped.filter(|_| item.is_started) else { return Fate::Later };
        let text = Mark::stopped_by(step).to_string();
        self.settlement.failures.push((row.id(), Failure::new(&text, Attempt::Refunded, NOW)));
        Fate::Unstarted
    }

    /// Asks the steps, and runs the handler if none of them decides otherwise.
    async fn step_and_handle(
        &mut self,
        conn: &mut S::Conn,
        position: usize,
        row: &InboxEvent,
    ) -> Result<Handled, Cause> {
        let Context { steps, worker, process_timeout, .. } = self.context;
        if steps.is_empty() {
            return self.handle(conn, position, row).await;
        }
        // taken out meanwhile: what waits holds no lock
        let mut kept = std::mem::take(&mut self.items[position].stepped().kept);
        self.begun.get_or_insert_with(Instant::now);
        let ruling = steps.ask(row, worker, &mut kept, *process_timeout).await;
        *self.items[position].stepped() = Stepped { kept, is_open: true, failure: None };
        Ok(match ruling {
            Ruling::Next => return self.handle(conn, position, row).await,
            Ruling::Complete => Handled::Done(Outcome::Skipped),
            Ruling::Skip(why) => Handled::Undone(Charge { cost: Cost::Free, ..Charge::counted(why) }),
            Ruling::Fail(why) => Handled::Undone(Charge { cost: Cost::Permanent, ..Charge::counted(why) }),
            Ruling::Broken(why) => Handled::Undone(Charge::counted(why)),
            Ruling::Stop(step, delay) => {
                self.items[position].stepped().is_open = false;
                self.stopped = Some((step, delay));
                Handled::Later
            }
        })
    }

    /// A message that took effect before: at least once means that the handler sees it again.
    async fn completed(
        &mut self,
        conn: &mut S::Conn,
        position: usize,
        row: &InboxEvent,
    ) -> Result<Fate, Cause> {
        let is_delivered = self.items[position].offset.is_some();
        let runs_again = is_delivered && self.context.strategy == AckStrategy::AtLeastOnce;
        match self.task {
            // there is no attempt to count on a row that is completed
            Task::Start if runs_again => return Ok(Fate::Later),
            Task::Handle if runs_again => {
                if let Handled::Undone(charge) = self.handle(conn, position, row).await? {
                    // its effect stands; there is no attempt to charge
                    tracing::warn!(
                        message_id = row.message_id(),
                        event_type = row.event_type(),
                        worker_id = %self.context.worker,
                        cost = ?charge.cost,
                        "handler failed on a message that was delivered again",
                    );
                }
            }
            _ => {}
        }
        Ok(Fate::Done(Outcome::Duplicate))
    }

    async fn handle(
        &mut self,
        conn: &mut S::Conn,
        position: usize,
        row: &InboxEvent,
    ) -> Result<Handled, Cause> {
        let Some(handler) = self.context.handler.as_deref() else {
            let error = Error::new(ErrorKind::Internal, "a runner without a handler was to handle a message");
            return Err(Cause::refused(error, Stage::Effect));
        };
        self.mark_done(conn).await?;
        self.begun.get_or_insert_with(Instant::now);
        handle(self.context, handler, conn, &mut self.course, position, row).await
    }

    /// Completes what was handled, before the next handler may commit it: where the transaction stores no row that would tell later.
    async fn mark_done(&mut self, conn: &mut S::Conn) -> Result<(), Cause> {
        let is_told = self.marks == Marks::Sealed || self.left.witness.is_some();
        if is_told || self.settlement.completed.is_empty() {
            return Ok(());
        }
        check_mark(self.context, conn, &mut self.course).await?;
        let completed = std::mem::take(&mut self.settlement.completed);
        let settlement = InboxSettlement { completed, ..InboxSettlement::default() };
        let settled = self.context.database.settle(conn, &settlement).await;
        settled.map_err(|error| Cause::refused(error, Stage::Effect))?;
        self.course.write();
        Ok(())
    }

    fn keep_raw(&mut self, position: usize, error: String) {
        let outcome = match &self.items[position].message {
            Some(message) => {
                let consumer_group = self.context.group.clone();
                self.quarantine.push(QuarantinedMessage { consumer_group, message: message.clone(), error });
                Outcome::Quarantined
            }
            // a row that was stored before is its own copy
            None => Outcome::Duplicate,
        };
        self.fates[position] = Fate::Done(outcome);
    }
}

/// The id of a message's row; `None`: its message id belongs to another one.
fn row_of(event: &InboxEvent, known: &Received) -> Option<EventId> {
    match known {
        Received::New => Some(event.id()),
        Received::Pending { event: row, .. } | Received::Completed(row) | Received::Failed(row) => {
            Some(row.id())
        }
        Received::Conflict(_) => None,
    }
}
