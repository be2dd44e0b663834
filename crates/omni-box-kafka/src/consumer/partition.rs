//! A partition that is assigned: what the driver feeds, and what waits for its positions to be committed.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use omni_box_core::{Error, ErrorKind, InboundMessage, OffsetTracker, Result, TopicPartition, Wake};
use rdkafka::error::KafkaError;
use tokio::sync::mpsc::{OwnedPermit, Receiver, Sender, channel, error::SendError, error::TrySendError};
use tokio::sync::{oneshot, watch};

use super::held::Held;
use super::marks::Commits;
use super::position::Position;

/// Delivered messages that may wait for one that is not done; a partition is not fed beyond.
const MAX_OPEN: usize = 100_000;
/// How long librdkafka may take to begin to fetch elsewhere.
const SEEK_TIMEOUT: Duration = Duration::from_secs(10);

type Permit = OwnedPermit<InboundMessage>;
type Reservation = Pin<Box<dyn Future<Output = Result<Permit, SendError<()>>> + Send>>;
type RewindReply = oneshot::Sender<Result<Receiver<InboundMessage>>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Owned,
    /// Being taken away: it may finish, acknowledge and let go.
    Revoked,
    /// Another consumer's, or about to be: nothing is committed any more.
    Gone,
}

/// What is known of the records behind the last message.
#[derive(Debug, Clone, Copy)]
enum Tail {
    Unknown,
    /// The log's end came at this time, and no message since.
    Ended(Instant),
    /// The log ended at this offset, and is fetched again: if its end comes before a message does, no message lies before the offset.
    Probed(i64),
}

/// What comes out of a partition's queue.
pub(super) enum Fetched {
    Message(InboundMessage),
    /// The end of the log.
    End,
    Nothing,
}

/// Shared by the driver and the handle.
pub(super) struct Partition {
    pub(super) id: TopicPartition,
    state: Mutex<State>,
    lost: watch::Sender<bool>,
    wake: Wake,
    window: usize,
}

struct State {
    tracker: OffsetTracker,
    held_bytes: Held,
    commits: Commits,
    /// From where the next message comes; unknown until the partition is handed over.
    next: Option<i64>,
    tail: Tail,
    feed: Option<Sender<InboundMessage>>,
    /// The channel was full: resolves, and wakes the driver, when it has room.
    reservation: Option<Reservation>,
    /// The driver found no room for what is not done.
    is_full: bool,
    /// The message that was named last as the one that keeps the partition full.
    told_full: Option<i64>,
    phase: Phase,
    /// The application has it, so its handle is waited for.
    held: bool,
    rewinds: Vec<RewindReply>,
}

impl Partition {
    pub(super) fn new(
        id: TopicPartition,
        window: usize,
        wake: Wake,
    ) -> (Arc<Self>, Receiver<InboundMessage>) {
        let (feed, messages) = channel(window);
        let state = State {
            tracker: OffsetTracker::new(),
            held_bytes: Held::default(),
            commits: Commits::default(),
            next: None,
            tail: Tail::Unknown,
            feed: Some(feed),
            reservation: None,
            is_full: false,
            told_full: None,
            phase: Phase::Owned,
            held: false,
            rewinds: Vec::new(),
        };
        let partition = Self { id, state: Mutex::new(state), lost: watch::channel(false).0, wake, window };
        (Arc::new(partition), messages)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets where its messages begin.
    pub(super) fn start_at(&self, offset: i64) {
        self.state().next = Some(offset);
    }

    /// From where the next message comes; `None` until it is handed over.
    pub(super) fn next(&self) -> Option<i64> {
        self.state().next
    }

    /// Gives it to the application, unless it was taken away before.
    pub(super) fn take(&self) -> bool {
        let mut state = self.state();
        state.held = state.phase == Phase::Owned;
        state.held
    }

    /// Notes that the application let it go.
    pub(super) fn let_go(&self) {
        self.state().held = false;
        self.wake.wake();
    }

    /// Whether the application may still finish something.
    pub(super) fn is_draining(&self) -> bool {
        let state = self.state();
        state.held && state.phase == Phase::Revoked
    }

    pub(super) fn is_owned(&self) -> bool {
        self.state().phase == Phase::Owned
    }

    /// Resolves once it is another consumer's.
    pub(super) async fn lost(&self) {
        let mut lost = self.lost.subscribe();
        // the sender lives as long as this does
        let _ = lost.wait_for(|lost| *lost).await;
    }

    /// Whether a commit is due that no caller waits for.
    pub(super) fn wants_commit(&self) -> bool {
        self.state().commits.is_due_alone()
    }

    /// Delivers what `next` returns while there is room, and what is not done takes less than `share` bytes; `next` is only called with
    /// room. Says how many were delivered.
    pub(super) fn feed(&self, at_most: usize, share: usize, mut next: impl FnMut() -> Fetched) -> usize {
        let mut state = self.state();
        let mut fed = 0;
        while fed < at_most {
            let has_many = state.tracker.open() >= MAX_OPEN;
            state.is_full = has_many || state.held_bytes.total() >= share;
            if state.is_full {
                if has_many {
                    self.tell_full(&mut state);
                }
                break;
            }
            let Some(permit) = state.room(&self.wake) else { break };
            match next() {
                Fetched::Message(message) => {
                    state.tracker.delivered(message.offset);
                    state.held_bytes.add(&message);
                    state.next = Some(message.offset + 1);
                    state.tail = Tail::Unknown;
                    permit.send(message);
                    fed += 1;
                }
                Fetched::End => state.ended(),
                Fetched::Nothing => break,
            }
        }
        fed
    }

    /// Says once, for each message that holds so many others back, that the partition stands still.
    fn tell_full(&self, state: &mut State) {
        let first = state.tracker.first_open();
        if state.told_full != first {
            state.told_full = first;
            tracing::warn!(
                partition = %self.id, offset = first, open = MAX_OPEN,
                "partition is not read any further, the message at this offset is not done, nor acknowledged what came after it"
            );
        }
    }

    /// Where the next message would come from, if the log ended before `time` and what was delivered could be committed.
    pub(super) fn ended_before(&self, time: Instant) -> Option<i64> {
        let state = self.state();
        match state.tail {
            Tail::Ended(at) if at <= time && state.phase == Phase::Owned => state.next,
            _ => None,
        }
    }

    /// Whether all that was delivered is done.
    pub(super) fn is_drained(&self) -> bool {
        let state = self.state();
        state.tracker.open() == 0 && state.phase != Phase::Gone && state.next.is_some()
    }

    /// Is told where the log ends. What lies before, and was fetched without a message, is fetched again: only an end that comes after this
    /// proves that no message lies there.
    pub(super) fn log_ends_at(&self, end: i64, consumer: &dyn Position) {
        let mut state = self.state();
        let Some(next) = state.next.filter(|next| *next < end) else {
            state.tail = Tail::Unknown;
            return;
        };
        state.tail = match consumer.fetch_from(&self.id, next, SEEK_TIMEOUT) {
            Ok(()) => Tail::Probed(end),
            Err(error) => {
                tracing::debug!(partition = %self.id, %error, "records behind the last message stay uncommitted");
                Tail::Unknown
            }
        };
    }

    pub(super) fn is_probed(&self) -> bool {
        matches!(self.state().tail, Tail::Probed(_))
    }

    /// Takes what was fetched of a partition that is fed no more, to learn whether its log ends.
    pub(super) fn look_behind(&self, fetched: &Fetched) {
        let mut state = self.state();
        match fetched {
            Fetched::Message(_) => state.tail = Tail::Unknown,
            Fetched::End => state.ended(),
            Fetched::Nothing => {}
        }
    }

    pub(super) fn revoke(&self) {
        let mut state = self.state();
        state.let_go();
        if state.phase == Phase::Owned {
            state.phase = Phase::Revoked;
        }
    }

    pub(super) fn lose(&self) {
        let mut state = self.state();
        state.let_go();
        state.phase = Phase::Gone;
        state.commits.end();
        self.lost.send_replace(true);
    }

    /// Ends acknowledgement and returns what is still to commit, which is due now.
    pub(super) fn finish(&self) -> Option<i64> {
        let mut state = self.state();
        state.phase = Phase::Gone;
        state.commits.end();
        state.commits.ask();
        state.tracker.uncommitted()
    }

    /// Commits nothing any more.
    pub(super) fn end_commits(&self) {
        self.state().commits.end();
    }

    /// Does the rewinds that were asked for.
    pub(super) fn rewind(&self, consumer: &dyn Position) {
        let mut state = self.state();
        for reply in std::mem::take(&mut state.rewinds) {
            let rewound = self.rewind_once(&mut state, consumer);
            // the application may have stopped waiting; then the stream ends at once
            let _ = reply.send(rewound);
        }
    }

    fn rewind_once(&self, state: &mut State, consumer: &dyn Position) -> Result<Receiver<InboundMessage>> {
        if state.phase != Phase::Owned {
            return Err(closed());
        }
        state.end_stream();
        state.held_bytes = Held::default();
        if let Some(first) = state.tracker.rewind() {
            consumer.fetch_from(&self.id, first, SEEK_TIMEOUT).map_err(|error| {
                Error::new(ErrorKind::Unavailable, "partition cannot be rewound").with_source(error)
            })?;
            (state.next, state.tail) = (Some(first), Tail::Unknown);
        }
        let (feed, messages) = channel(self.window);
        state.feed = Some(feed);
        Ok(messages)
    }

    /// Asks for a rewind.
    pub(super) fn ask_rewind(&self) -> Result<oneshot::Receiver<Result<Receiver<InboundMessage>>>> {
        let (reply, rewound) = oneshot::channel();
        {
            let mut state = self.state();
            if state.phase != Phase::Owned {
                return Err(closed());
            }
            state.rewinds.push(reply);
        }
        self.wake.wake();
        Ok(rewound)
    }

    /// Marks messages as done. The answer comes once Kafka has the position that follows; `None`: it has it already.
    pub(super) fn done(&self, offsets: &[i64]) -> Result<Option<oneshot::Receiver<Result<()>>>> {
        let mut state = self.state();
        if state.phase == Phase::Gone {
            return Err(closed());
        }
        state.tracker.done(offsets);
        state.held_bytes.remove(offsets);
        let answer = state.tracker.uncommitted().map(|target| state.commits.wait_for(target));
        if std::mem::take(&mut state.is_full) {
            self.wake.wake();
        }
        Ok(answer)
    }

    /// The position to commit next, if a commit is asked for.
    pub(super) fn take_due(&self) -> Option<i64> {
        let mut state = self.state();
        let is_due = state.commits.take_due();
        state.tracker.uncommitted().filter(|_| is_due)
    }

    /// Notes that Kafka has a position.
    pub(super) fn committed(&self, position: i64) {
        let mut state = self.state();
        state.tracker.committed(position);
        state.commits.succeed(position);
    }

    /// Notes that Kafka refused a position. `true`: it is due again.
    pub(super) fn not_committed(&self, position: i64, error: &KafkaError) -> bool {
        self.state().commits.fail(position, error)
    }

    /// Why a position that was left at the end is not committed; `None`: Kafka has it.
    pub(super) fn refusal(&self, position: i64) -> Option<Error> {
        let state = self.state();
        if state.tracker.is_committed(position) {
            return None;
        }
        Some(state.commits.refusal())
    }

    /// Tells those who have waited too long.
    pub(super) fn expire_commits(&self, now: Instant) {
        self.state().commits.expire(now);
    }
}

impl State {
    fn end_stream(&mut self) {
        self.reservation = None;
        self.feed = None;
    }

    fn let_go(&mut self) {
        self.end_stream();
        // a caller that waits for a rewind hears that there will be none
        self.rewinds.clear();
    }

    /// Notes that the log's end came.
    fn ended(&mut self) {
        if let Tail::Probed(end) = self.tail {
            self.tracker.reached(end);
            self.next = self.next.max(Some(end));
            if self.tracker.uncommitted().is_some() {
                self.commits.ask();
            }
        }
        // after a probe too: the log may have gone on meanwhile
        self.tail = Tail::Ended(Instant::now());
    }

    fn room(&mut self, wake: &Wake) -> Option<Permit> {
        if self.reservation.is_none() {
            match self.feed.as_ref()?.clone().try_reserve_owned() {
                Ok(permit) => return Some(permit),
                Err(TrySendError::Closed(_)) => {
                    self.end_stream();
                    return None;
                }
                Err(TrySendError::Full(feed)) => self.reservation = Some(Box::pin(feed.reserve_owned())),
            }
        }
        match self.reservation.as_mut()?.as_mut().poll(&mut Context::from_waker(&wake.waker())) {
            Poll::Pending => None,
            Poll::Ready(permit) => {
                self.reservation = None;
                permit.ok()
            }
        }
    }
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "partition is not this consumer's any more")
}

#[cfg(test)]
mod tests {
    use omni_box_harness::Log;

    use super::*;

    fn message(offset: i64) -> Fetched {
        Fetched::Message(InboundMessage {
            topic: "orders".into(),
            partition: 3,
            offset,
            key: None,
            value: None,
            headers: Vec::new(),
            timestamp: None,
        })
    }

    #[test]
    fn a_message_that_keeps_its_partition_from_being_read_is_named_once() {
        let log = Log::listen();
        let id = TopicPartition { topic: "orders".into(), partition: 3 };
        let (partition, mut messages) = Partition::new(id, 1_000, Wake::new());
        let mut next = 0..;
        let mut feed = || {
            while partition.feed(1_000, usize::MAX, || message(next.next().unwrap())) > 0 {
                while messages.try_recv().is_ok() {}
            }
        };
        feed();
        feed();
        partition.done(&(1..MAX_OPEN as i64).collect::<Vec<_>>()).unwrap();
        feed();
        let named = |log: &Log| {
            log.events().iter().filter_map(|event| event.get("offset").cloned()).collect::<Vec<_>>()
        };
        assert_eq!(named(&log), ["0"]);
        partition.done(&[0]).unwrap();
        feed();
        assert_eq!(named(&log), ["0", "100000"]);
    }
}
