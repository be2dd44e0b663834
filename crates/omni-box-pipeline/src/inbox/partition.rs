//! The worker of one assigned partition.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use omni_box_core::{
    AckHandle, AssignedPartition, ClaimToken, Event, InboundMessage, InboxRepository, OwnerId, PartitionEnd,
    TopicPartition,
};
use tokio::sync::SemaphorePermit;
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::acker::Acker;
use super::held_back::HeldBack;
use super::outcome::InboxConsumeResult;
use super::shared::Shared;
use crate::outcome::Outcome;
use crate::transact::{Body, Item, Watch};
use crate::work::{Messages, StopSignal};

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
    shared: Arc<Shared<S>>,
    partition: TopicPartition,
    stream: Receiver<InboundMessage>,
    ack: Arc<dyn AckHandle>,
    acker: Acker,
    messages: Messages<S>,
    watch: Watch,
    held_back: HeldBack,
    backlog: Backlog,
    /// This assignment of the partition, as the store knows it.
    owner: ClaimToken,
    is_attached: bool,
    /// The stream has ended.
    is_ended: bool,
}

impl<S: InboxRepository> Partition<S> {
    pub(super) fn new(shared: Arc<Shared<S>>, assigned: AssignedPartition, abort: CancellationToken) -> Self {
        let context = &shared.context;
        let ack: Arc<dyn AckHandle> = Arc::from(assigned.ack);
        let stop = stop_signal(ack.clone(), abort);
        Self {
            acker: Acker::spawn(
                ack.clone(),
                context.metrics.clone(),
                context.status.clone(),
                context.outage_retry,
            ),
            messages: Messages::new(context.clone(), &assigned.partition, shared.window, stop),
            watch: context.observer().assigned(&context.group, &assigned.partition),
            held_back: HeldBack::default(),
            backlog: if context.handler.is_some() { Backlog::Behind(None) } else { Backlog::Read },
            partition: assigned.partition,
            stream: assigned.messages,
            ack,
            owner: ClaimToken::new(&context.worker, OwnerId::generate()),
            shared,
            is_attached: false,
            is_ended: false,
        }
    }

    /// Works until the partition is taken away or `drain` is cancelled, then lets it go.
    pub(super) async fn run(mut self, drain: CancellationToken) {
        let shared = self.shared.clone();
        // the runner asks for no single message any more
        self.messages.end_single();
        while !self.is_over() && !drain.is_cancelled() {
            let progress = if self.messages.is_paused() {
                Progress::Nothing
            } else {
                let permits = tokio::select! {
                    biased;
                    () = drain.cancelled() => break,
                    permits = self.permits(&shared) => permits,
                    () = self.gone() => break,
                };
                let progress = self.step().await;
                drop(permits);
                progress
            };
            if progress == Progress::Nothing {
                if !self.messages.is_paused() {
                    shared.context.observer().idle();
                }
                tokio::select! {
                    () = self.idle() => {}
                    () = drain.cancelled() => break,
                }
            }
        }
        self.close().await;
    }

    /// Waits for its turn to work in the database.
    async fn permits<'s>(&self, shared: &'s Shared<S>) -> [Option<SemaphorePermit<'s>>; 2] {
        // first, so that who waits for it keeps no other partition from working; neither is ever closed
        let careful = if self.messages.is_careful() { shared.careful.acquire().await.ok() } else { None };
        [careful, shared.permits.acquire().await.ok()]
    }

    /// Resolves when the partition is taken away.
    async fn gone(&self) {
        while !self.ack.is_revoked() {
            tokio::select! {
                () = sleep(REVOCATION_CHECK) => {}
                () = self.ack.lost() => return,
            }
        }
    }

    /// Takes one message to an outcome, if there is one to take.
    pub(super) async fn one(&mut self) -> Option<InboxConsumeResult> {
        self.messages.begin_single();
        while !self.has_result() {
            if self.is_over() || self.messages.is_paused() || self.step().await == Progress::Nothing {
                self.messages.end_single();
                return None;
            }
        }
        let flushed = self.acker.flush().await;
        // taken when nothing is waited for any more: a call that is dropped leaves it to the next
        let settled = self.messages.take_settled().pop()?;
        self.messages.end_single();
        let committed = flushed && settled.outcome != Outcome::Retried;
        let (event_id, message_id) = (settled.event_id, settled.message_id);
        Some(InboxConsumeResult { event_id, message_id, outcome: settled.outcome, committed })
    }

    /// Whether a message's outcome waits to be told.
    pub(super) fn has_result(&self) -> bool {
        self.messages.has_settled()
    }

    /// Whether the partition is not this worker's any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_ended || self.messages.is_stopped() || self.ack.is_revoked()
    }

    /// Waits until there may be something to do.
    ///
    /// # Cancel safety
    /// Loses no message.
    pub(super) async fn idle(&mut self) {
        let is_paused = self.messages.is_paused();
        let reads = !self.is_ended && self.reads_stream() && self.messages.window.room() > 0 && !is_paused;
        let due = if is_paused { self.messages.paused_until() } else { self.messages.window.next_due() };
        // a stream that is read tells by its end that the partition is gone; otherwise one has to ask
        let check = (!reads).then(|| Instant::now() + REVOCATION_CHECK);
        let wake = due.into_iter().chain(check).min();
        let ack = self.ack.clone();
        tokio::select! {
            message = self.stream.recv(), if reads => match message {
                Some(message) => {
                    self.admit(message);
                    self.show();
                }
                None => self.is_ended = true,
            },
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            () = ack.lost() => self.messages.stop(),
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
            && self.messages.window.room() * 2 >= self.shared.window
        {
            self.load(offset).await;
            return Progress::Made;
        }
        self.fill();
        self.messages.window.wake(Instant::now());
        let persists_first = self.shared.context.persists_first();
        let mut progress = Progress::Nothing;
        if persists_first && !(self.messages.is_single() && self.messages.has_due()) {
            let group = self.messages.unstored();
            if !group.is_empty() {
                if self.acknowledge_first(&group).await {
                    self.messages.persist(group).await;
                    self.acknowledge();
                }
                progress = Progress::Made;
            }
        }
        if self.shared.context.handler.is_none() || self.is_over() || self.messages.is_paused() {
            return progress;
        }
        let mut group = self.messages.due();
        if self.shared.context.acks_first() {
            let overtaken = self.messages.window.overtaken(&group);
            let storable = self.messages.storable(&overtaken);
            if !storable.is_empty() {
                self.messages.persist(storable).await;
                self.acknowledge();
                return Progress::Made;
            }
            if let Some(&first) = overtaken.first() {
                // the position would not pass what cannot be stored yet
                let window = &self.messages.window;
                group.retain(|&at| at < first || window.get(at).offset.is_none());
            }
        }
        if group.is_empty() {
            return progress;
        }
        if self.acknowledge_first(&group).await {
            self.messages.handle(group).await;
            self.acknowledge();
        }
        Progress::Made
    }

    async fn attach(&mut self) {
        let context = &self.shared.context;
        match context.database.attach(&context.group, &self.partition, &self.owner).await {
            Ok(end) => {
                self.is_attached = true;
                context.database.open();
                if end == PartitionEnd::Unclean && context.handler.is_some() {
                    self.messages.go_carefully();
                }
            }
            Err(error) => self.messages.pause(&error),
        }
    }

    async fn load(&mut self, after: Option<i64>) {
        let page = self.messages.window.room().min(BACKLOG_PAGE);
        let limit = u32::try_from(page).unwrap_or(u32::MAX);
        let context = &self.shared.context;
        let rows = match context.database.pending_of(&context.group, &self.partition, after, limit).await {
            Ok(rows) => rows,
            Err(error) => return self.messages.pause(&error),
        };
        let last = rows.last().and_then(|row| row.position()).map(|position| position.offset);
        self.backlog = match last {
            Some(offset) if rows.len() >= page => Backlog::Behind(Some(offset)),
            _ => Backlog::Read,
        };
        for row in rows {
            self.messages.window.push(Item::stored(row));
        }
    }

    /// Takes what has arrived, as far as there is room.
    fn fill(&mut self) {
        while self.reads_stream() && self.messages.window.room() > 0 {
            match self.stream.try_recv() {
                Ok(message) => self.admit(message),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.is_ended = true;
                    break;
                }
            }
        }
        self.show();
    }

    fn admit(&mut self, message: InboundMessage) {
        self.shared.context.observer().received(&self.shared.context.group, &message.topic);
        let decode = AssertUnwindSafe(|| self.shared.decoder.decode(&message, &self.shared.context.group));
        let body = match catch_unwind(decode) {
            Ok(Ok(event)) => Body::Event(Box::new(event)),
            Ok(Err(error)) => Body::Refused(error.to_string()),
            Err(_) => Body::Refused("the decoder panicked".to_owned()),
        };
        self.messages.window.push(Item::received(body, message));
    }

    /// Commits the offsets of a group before its work, if that is what was promised; `false` when the work must not begin.
    async fn acknowledge_first(&mut self, group: &[usize]) -> bool {
        if !self.shared.context.acks_first() {
            return true;
        }
        let offsets: Vec<i64> = group.iter().filter_map(|&at| self.messages.window.get(at).offset).collect();
        if offsets.is_empty() {
            return true;
        }
        self.acker.done(offsets);
        let committed = tokio::select! {
            committed = self.acker.flush() => committed,
            () = self.messages.stop_signal() => {
                self.messages.stop();
                false
            }
        };
        if committed {
            group.iter().for_each(|&at| self.messages.window.get_mut(at).offset = None);
            self.show();
        } else {
            // either the partition is gone, or the broker refuses; it is asked again
            self.messages.pause_for(Duration::from_secs(1));
        }
        committed
    }

    /// Hands over the offsets of what is done.
    fn acknowledge(&mut self) {
        let offsets = self.messages.take_acknowledged();
        if !offsets.is_empty() {
            self.name_what_holds_back(&offsets);
            self.acker.done(offsets);
        }
        self.show();
    }

    /// Names a message that holds the offset back, once many are done behind it.
    fn name_what_holds_back(&mut self, done: &[i64]) {
        let window = &self.messages.window;
        if !self.held_back.done(window.first_offset(), done) {
            return;
        }
        if let Some(item) = window.first_open() {
            let context = &self.shared.context;
            tracing::warn!(
                partition = %self.partition, worker_id = %context.worker, offset = item.offset,
                message_id = item.message_id(), event_type = item.event().map_or("", |event| event.event_type()),
                "message is not done and holds its partition's offset back, while many behind it are done",
            );
        }
    }

    /// Shows the metrics what holds the offset back.
    fn show(&mut self) {
        self.watch.show(self.messages.window.first_offset());
    }

    /// Acknowledges what is done and lets the partition go.
    pub(super) async fn close(mut self) {
        self.acknowledge();
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

/// Resolves when the partition is lost, or all work is to be abandoned.
fn stop_signal(ack: Arc<dyn AckHandle>, abort: CancellationToken) -> StopSignal {
    Box::new(move || {
        let (ack, abort) = (ack.clone(), abort.clone());
        async move {
            tokio::select! {
                () = ack.lost() => {}
                () = abort.cancelled() => {}
            }
        }
        .boxed()
    })
}
