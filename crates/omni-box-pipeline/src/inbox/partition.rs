//! The worker of one assigned partition.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    AckHandle, AssignedPartition, ClaimToken, Error, Event, InboundMessage, InboxRepository, OwnerId,
    PartitionEnd, TopicPartition,
};
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::acker::Acker;
use super::group_size::GroupSize;
use super::outcome::InboxConsumeResult;
use super::shared::Shared;
use super::window::Window;
use crate::outcome::Outcome;
use crate::transact::{Body, Doing, Fate, Item, Recorded, Stay, Task, attempt};

/// Rows read at once of those that were stored before.
const BACKLOG_PAGE: usize = 500;
/// How often a worker that reads nothing asks whether its partition is still its own.
const REVOCATION_CHECK: Duration = Duration::from_millis(100);

/// Rows that were stored before this worker came, and are handled in front of new messages.
#[derive(Debug, Clone, Copy)]
enum Backlog {
    /// There may be some behind this offset.
    Behind(Option<i64>),
    /// All are in the window, or done.
    Read,
}

/// Whether a step did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Made,
    /// Nothing is due.
    Nothing,
}

/// The worker of one assigned partition.
pub(super) struct Partition<S: InboxRepository> {
    pub(super) shared: Arc<Shared<S>>,
    pub(super) partition: TopicPartition,
    messages: Receiver<InboundMessage>,
    ack: Arc<dyn AckHandle>,
    acker: Acker,
    pub(super) window: Window,
    pub(super) group_size: GroupSize,
    backlog: Backlog,
    /// This assignment of the partition, as the store knows it.
    owner: ClaimToken,
    is_attached: bool,
    /// Messages that still have to go one at a time, because the last owner may have died of one.
    careful: usize,
    paused_until: Option<Instant>,
    /// The stream has ended.
    is_ended: bool,
    /// Work was cut short.
    pub(super) is_stopped: bool,
    abort: CancellationToken,
    /// Outcomes since last asked, if anybody asks.
    results: Option<Vec<(String, Outcome)>>,
}

impl<S: InboxRepository> Partition<S> {
    pub(super) fn new(shared: Arc<Shared<S>>, assigned: AssignedPartition, abort: CancellationToken) -> Self {
        let context = &shared.context;
        let ack: Arc<dyn AckHandle> = Arc::from(assigned.ack);
        Self {
            acker: Acker::spawn(ack.clone(), context.metrics.clone(), context.outage_retry),
            window: Window::new(shared.window),
            group_size: GroupSize::new(context.group_size()),
            backlog: if context.handler.is_some() { Backlog::Behind(None) } else { Backlog::Read },
            partition: assigned.partition,
            messages: assigned.messages,
            ack,
            owner: ClaimToken::new(&context.worker, OwnerId::generate()),
            shared,
            is_attached: false,
            careful: 0,
            paused_until: None,
            is_ended: false,
            is_stopped: false,
            abort,
            results: None,
        }
    }

    /// Works until the partition is taken away or `drain` is cancelled, then lets it go.
    pub(super) async fn run(mut self, drain: CancellationToken) {
        let shared = self.shared.clone();
        // nobody asks for single messages any more
        self.end_single_steps();
        while !self.is_over() && !drain.is_cancelled() {
            let progress = if self.is_paused() {
                Progress::Nothing
            } else {
                let permit = tokio::select! {
                    biased;
                    () = drain.cancelled() => break,
                    permit = shared.permits.acquire() => permit,
                };
                let progress = self.step().await;
                drop(permit);
                progress
            };
            if progress == Progress::Nothing {
                tokio::select! {
                    () = self.idle() => {}
                    () = drain.cancelled() => break,
                }
            }
        }
        self.close().await;
    }

    /// Takes one message to an outcome, if there is one to take.
    pub(super) async fn one(&mut self) -> Option<InboxConsumeResult> {
        self.results.get_or_insert_default();
        self.group_size = GroupSize::new(1);
        while !self.has_result() {
            if self.is_over() || self.is_paused() || self.step().await == Progress::Nothing {
                self.end_single_steps();
                return None;
            }
        }
        let flushed = self.acker.flush().await;
        // taken when nothing is waited for any more: a call that is dropped leaves it to the next
        let (message_id, outcome) = self.results.take()?.pop()?;
        self.end_single_steps();
        Some(InboxConsumeResult { message_id, outcome, committed: flushed && outcome != Outcome::Retried })
    }

    /// Whether a message's outcome waits to be told.
    pub(super) fn has_result(&self) -> bool {
        self.results.as_ref().is_some_and(|results| !results.is_empty())
    }

    fn end_single_steps(&mut self) {
        self.results = None;
        self.group_size = GroupSize::new(self.shared.context.group_size());
    }

    /// Whether the partition is not this worker's any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_ended || self.is_stopped || self.ack.is_revoked()
    }

    fn is_paused(&self) -> bool {
        self.paused_until.is_some_and(|until| until > Instant::now())
    }

    /// Stops working in the database for a while.
    pub(super) fn pause(&mut self, error: &Error) {
        self.paused_until = Some(Instant::now() + self.shared.context.database.close(error));
    }

    /// Waits until there may be something to do.
    ///
    /// # Cancel safety
    /// Loses no message.
    pub(super) async fn idle(&mut self) {
        let reads = !self.is_ended && self.reads_stream() && self.window.room() > 0 && !self.is_paused();
        let due = if self.is_paused() { self.paused_until } else { self.window.next_due() };
        // a stream that is read tells by its end that the partition is gone; otherwise one has to ask
        let check = (!reads).then(|| Instant::now() + REVOCATION_CHECK);
        let wake = due.into_iter().chain(check).min();
        let ack = self.ack.clone();
        tokio::select! {
            message = self.messages.recv(), if reads => match message {
                Some(message) => self.admit(message),
                None => self.is_ended = true,
            },
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            () = ack.lost() => self.is_stopped = true,
        }
    }

    fn reads_stream(&self) -> bool {
        self.is_attached && matches!(self.backlog, Backlog::Read)
    }

    /// Takes one group through its next transaction.
    pub(super) async fn step(&mut self) -> Progress {
        if !self.is_attached {
            self.attach().await;
            return Progress::Made;
        }
        if let Backlog::Behind(offset) = self.backlog
            && self.window.room() * 2 >= self.shared.window
        {
            self.load(offset).await;
            return Progress::Made;
        }
        self.fill();
        self.window.wake(Instant::now());
        let persists_first = self.shared.context.persists_first();
        let mut progress = Progress::Nothing;
        if persists_first && !(self.is_single() && self.has_due()) {
            let group = self.window.unstored(self.group_size.limit());
            if !group.is_empty() {
                self.work(group, Task::Persist).await;
                progress = Progress::Made;
            }
        }
        if self.shared.context.handler.is_none() || self.is_over() || self.is_paused() {
            return progress;
        }
        let limit = if self.careful > 0 { 1 } else { self.group_size.limit() };
        let group = self.window.due(limit, persists_first);
        if group.is_empty() {
            return progress;
        }
        self.handle(group).await;
        Progress::Made
    }

    /// Whether only one message is wanted.
    fn is_single(&self) -> bool {
        self.results.is_some()
    }

    fn has_due(&self) -> bool {
        self.shared.context.handler.is_some() && !self.window.due(1, true).is_empty()
    }

    async fn attach(&mut self) {
        let context = &self.shared.context;
        match context.database.attach(&context.group, &self.partition, &self.owner).await {
            Ok(end) => {
                self.is_attached = true;
                context.database.open();
                if end == PartitionEnd::Unclean && context.handler.is_some() {
                    self.careful = context.group_size;
                    tracing::info!(
                        partition = %self.partition, worker_id = %context.worker, messages = self.careful,
                        "the last worker of this partition did not end in good order, going one message at a time",
                    );
                }
            }
            Err(error) => self.pause(&error),
        }
    }

    async fn load(&mut self, after: Option<i64>) {
        let page = self.window.room().min(BACKLOG_PAGE);
        let limit = u32::try_from(page).unwrap_or(u32::MAX);
        let context = &self.shared.context;
        let rows = match context.database.pending_of(&context.group, &self.partition, after, limit).await {
            Ok(rows) => rows,
            Err(error) => return self.pause(&error),
        };
        let last = rows.last().and_then(|row| row.position()).map(|position| position.offset);
        self.backlog = match last {
            Some(offset) if rows.len() >= page => Backlog::Behind(Some(offset)),
            _ => Backlog::Read,
        };
        for row in rows {
            self.window.push(Item::stored(row));
        }
    }

    /// Takes what has arrived, as far as there is room.
    fn fill(&mut self) {
        while self.reads_stream() && self.window.room() > 0 {
            match self.messages.try_recv() {
                Ok(message) => self.admit(message),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.is_ended = true;
                    break;
                }
            }
        }
    }

    fn admit(&mut self, message: InboundMessage) {
        self.shared.context.metrics.message_consumed();
        let decode = AssertUnwindSafe(|| self.shared.decoder.decode(&message, &self.shared.context.group));
        let body = match catch_unwind(decode) {
            Ok(Ok(event)) => Body::Event(Box::new(event)),
            Ok(Err(error)) => Body::Refused(error.to_string()),
            Err(_) => Body::Refused("the decoder panicked".to_owned()),
        };
        self.window.push(Item::received(body, message));
    }

    async fn handle(&mut self, group: Vec<usize>) {
        // what is started stays so until its attempt has an outcome: an outage in between costs no other attempt
        let is_unstarted = |item: &Item| item.event().is_some() && !item.is_started;
        if self.careful > 0 && group.iter().any(|&at| is_unstarted(self.window.get(at))) {
            match self.work(group.clone(), Task::Start).await[..] {
                [Fate::Started] => self.careful -= 1,
                [Fate::Later] => {}
                _ => return,
            }
        }
        self.work(group, Task::Handle).await;
    }

    /// Takes a group through a transaction; if one message ended it, that one through another that records why. Returns what became
    /// of the messages; nothing, when the group is to be formed anew.
    async fn work(&mut self, mut group: Vec<usize>, task: Task<'_>) -> Vec<Fate> {
        if self.shared.context.acks_first() && !self.acknowledge_first(&group).await {
            return Vec::new();
        }
        let mut recorded: Option<Recorded> = None;
        loop {
            let (task, doing) = match &recorded {
                Some(recorded) => (Task::Record(recorded), Doing::Recording),
                None => (task, Doing::Working),
            };
            let items: Vec<&Item> = group.iter().map(|&at| self.window.get(at)).collect();
            let cause = match attempt(&self.shared.context, &items, task, self.stop()).await {
                Ok(fates) => {
                    self.apply(&group, &fates);
                    return fates;
                }
                Err(cause) => cause,
            };
            let concerned = if doing == Doing::Recording { group.split_off(group.len() - 1) } else { group };
            match self.set_back(&concerned, cause, doing).await {
                Some((to_record, failure)) if doing == Doing::Working => {
                    (group, recorded) = (to_record, Some(failure));
                }
                _ => return Vec::new(),
            }
        }
    }

    /// Resolves when work must be dropped at once.
    fn stop(&self) -> impl Future<Output = ()> + Send + use<S> {
        let (ack, abort) = (self.ack.clone(), self.abort.clone());
        async move {
            tokio::select! {
                () = ack.lost() => {}
                () = abort.cancelled() => {}
            }
        }
    }

    async fn acknowledge_first(&mut self, group: &[usize]) -> bool {
        let offsets: Vec<i64> = group.iter().filter_map(|&at| self.window.get(at).offset).collect();
        if offsets.is_empty() {
            return true;
        }
        self.acker.done(offsets);
        let committed = tokio::select! {
            committed = self.acker.flush() => committed,
            () = self.stop() => {
                self.is_stopped = true;
                false
            }
        };
        if committed {
            group.iter().for_each(|&at| self.window.get_mut(at).offset = None);
        } else {
            // either the partition is gone, or the broker refuses; it is asked again
            self.paused_until = Some(Instant::now() + Duration::from_secs(1));
        }
        committed
    }

    fn apply(&mut self, group: &[usize], fates: &[Fate]) {
        let mut acknowledged = Vec::with_capacity(group.len());
        let mut passed = 0;
        for (&at, &fate) in group.iter().zip(fates) {
            let is_last = fate == Fate::Stored && self.shared.context.handler.is_none();
            let fate = if is_last { Fate::Done(Outcome::Persisted) } else { fate };
            passed += usize::from(!matches!(fate, Fate::Later | Fate::Started));
            let item = self.window.get_mut(at);
            if fate != Fate::Later {
                item.tries.infrastructure = 0;
            }
            match fate {
                Fate::Later => {}
                Fate::Started => item.is_started = true,
                Fate::Stored => {
                    item.is_stored = true;
                    acknowledged.extend(item.offset.take());
                }
                Fate::Done(outcome) => {
                    item.is_done = true;
                    acknowledged.extend(item.offset.take());
                    self.tell(at, outcome);
                }
                Fate::Alone => item.is_alone = true,
                Fate::Wait(delay, stay) => {
                    item.due = Some(Instant::now() + delay);
                    item.is_started = false;
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
        if !acknowledged.is_empty() && !self.shared.context.acks_first() {
            self.acker.done(acknowledged);
        }
        self.group_size.passed(passed);
        self.window.sweep();
    }

    /// Tells metrics, the log and whoever asked what became of a message.
    fn tell(&mut self, at: usize, outcome: Outcome) {
        let item = self.window.get(at);
        let metrics = &self.shared.context.metrics;
        let event_type = item.event().map_or("", |event| event.event_type());
        match outcome {
            Outcome::Duplicate => metrics.message_duplicate(),
            Outcome::Quarantined => metrics.message_quarantined(),
            Outcome::Persisted => {}
            _ => metrics.event_processed(event_type, outcome.as_str()),
        }
        if matches!(outcome, Outcome::Failed | Outcome::Quarantined) {
            tracing::warn!(
                message_id = item.message_id(), event_type, worker_id = %self.shared.context.worker,
                partition = %self.partition, outcome = outcome.as_str(), "message was given up and is kept",
            );
        }
        if let Some(results) = &mut self.results {
            results.push((self.window.get(at).message_id(), outcome));
        }
    }

    /// Acknowledges what is done and lets the partition go.
    pub(super) async fn close(self) {
        self.acker.finish().await;
        if self.is_attached {
            let context = &self.shared.context;
            if let Err(error) = context.database.detach(&context.group, &self.partition, &self.owner).await {
                tracing::warn!(
                    partition = %self.partition, worker_id = %context.worker, kind = ?error.kind(),
                    "could not note the end of a partition; its next worker will go one message at a time",
                );
            }
        }
    }
}
