//! A partition that is assigned: what the driver feeds, and the handle by which it is acknowledged.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use omni_box_core::{
    AckHandle, Error, ErrorKind, InboundMessage, OffsetTracker, Result, TopicPartition, Wake,
};
use rdkafka::Offset;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::mpsc::{OwnedPermit, Receiver, Sender, channel, error::SendError, error::TrySendError};
use tokio::sync::{oneshot, watch};

use super::position::Position;
use crate::error::classified;

/// Delivered messages that may wait for one that is not done; a partition is not fed beyond.
const MAX_OPEN: usize = 100_000;
/// How long a commit is tried again while the group is between two generations.
const BETWEEN_GENERATIONS: Duration = Duration::from_secs(10);

type Permit = OwnedPermit<InboundMessage>;
type Reservation = Pin<Box<dyn Future<Output = Result<Permit, SendError<()>>> + Send>>;
type RewindReply = oneshot::Sender<Result<Receiver<InboundMessage>>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Owned,
    /// Being taken away: it may finish, acknowledge and let go.
    Revoked,
    /// Somebody else's, or about to be: nothing is committed any more.
    Gone,
}

/// Shared by the driver and the handle.
pub(super) struct Partition {
    pub(super) id: TopicPartition,
    state: Mutex<State>,
    /// Held by whoever commits; `Arc` so that a commit outlives the call that began it.
    committing: Arc<tokio::sync::Mutex<()>>,
    lost: watch::Sender<bool>,
    wake: Wake,
    consumer: Weak<dyn Position>,
    window: usize,
}

struct State {
    tracker: OffsetTracker,
    feed: Option<Sender<InboundMessage>>,
    /// The channel was full: resolves, and wakes the driver, when it has room.
    reservation: Option<Reservation>,
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
        consumer: Weak<dyn Position>,
    ) -> (Arc<Self>, Receiver<InboundMessage>) {
        let (feed, messages) = channel(window);
        let state = State {
            tracker: OffsetTracker::new(),
            feed: Some(feed),
            reservation: None,
            phase: Phase::Owned,
            held: false,
            rewinds: Vec::new(),
        };
        let partition = Self {
            id,
            state: Mutex::new(state),
            committing: Arc::default(),
            lost: watch::channel(false).0,
            wake,
            consumer,
            window,
        };
        (Arc::new(partition), messages)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives it to the application, unless it was taken away before.
    pub(super) fn take(&self) -> bool {
        let mut state = self.state();
        state.held = state.phase == Phase::Owned;
        state.held
    }

    /// Whether the application may still finish something.
    pub(super) fn is_draining(&self) -> bool {
        let state = self.state();
        state.held && state.phase == Phase::Revoked
    }

    /// Delivers what `next` returns while there is room; `next` is only called with room. Says how many were delivered.
    pub(super) fn feed(&self, at_most: usize, mut next: impl FnMut() -> Option<InboundMessage>) -> usize {
        let mut state = self.state();
        for fed in 0..at_most {
            if state.tracker.open() >= MAX_OPEN {
                return fed;
            }
            let Some(permit) = state.room(&self.wake) else { return fed };
            let Some(message) = next() else { return fed };
            state.tracker.delivered(message.offset);
            permit.send(message);
        }
        at_most
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
        self.lost.send_replace(true);
    }

    /// Ends acknowledgement, waits for a commit that is on its way, and returns what is still to commit.
    pub(super) fn finish(&self) -> Option<i64> {
        self.state().phase = Phase::Gone;
        let _idle = self.committing.blocking_lock();
        self.state().tracker.uncommitted()
    }

    /// Does the rewinds that were asked for.
    pub(super) fn rewind(&self, consumer: &dyn Position) {
        let mut state = self.state();
        for reply in std::mem::take(&mut state.rewinds) {
            let rewound = self.rewind_once(&mut state, consumer);
            // whoever asked may be gone; then the stream ends at once
            let _ = reply.send(rewound);
        }
    }

    fn rewind_once(&self, state: &mut State, consumer: &dyn Position) -> Result<Receiver<InboundMessage>> {
        if state.phase != Phase::Owned {
            return Err(closed());
        }
        state.end_stream();
        if let Some(first) = state.tracker.rewind() {
            let at = Offset::Offset(first);
            consumer.seek(&self.id, at, Duration::from_secs(10)).map_err(|error| {
                Error::new(ErrorKind::Unavailable, "partition cannot be rewound").with_source(error)
            })?;
        }
        let (feed, messages) = channel(self.window);
        state.feed = Some(feed);
        Ok(messages)
    }
}

impl State {
    fn end_stream(&mut self) {
        self.reservation = None;
        self.feed = None;
    }

    fn let_go(&mut self) {
        self.end_stream();
        // whoever waits for a rewind hears that there will be none
        self.rewinds.clear();
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

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "partition is not this consumer's any more")
}

/// The application's side of a partition.
pub(super) struct Handle(pub(super) Arc<Partition>);

impl Handle {
    /// Commits the newest position, which covers everybody who waits for an older one.
    fn commit_blocking(partition: &Partition) -> Result<()> {
        let Some(consumer) = partition.consumer.upgrade() else { return Err(closed()) };
        let until = Instant::now() + BETWEEN_GENERATIONS;
        loop {
            let newest = {
                let state = partition.state();
                if state.phase == Phase::Gone {
                    return Err(closed());
                }
                state.tracker.uncommitted()
            };
            let Some(newest) = newest else { return Ok(()) };
            match consumer.commit(&partition.id, newest) {
                Ok(()) => {
                    partition.state().tracker.committed(newest);
                    return Ok(());
                }
                // a commit that meets the end of a rebalance is of a generation that was; the partition may be kept
                Err(KafkaError::ConsumerCommit(
                    RDKafkaErrorCode::RebalanceInProgress | RDKafkaErrorCode::IllegalGeneration,
                )) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => return Err(commit_error(error)),
            }
        }
    }
}

pub(super) fn commit_error(error: KafkaError) -> Error {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::RebalanceInProgress) => {
            Error::new(ErrorKind::Unavailable, "group is rebalancing, commit again").with_source(error)
        }
        _ => classified("offset was not committed", error),
    }
}

#[async_trait]
impl AckHandle for Handle {
    async fn commit(&self, offsets: &[i64]) -> Result<()> {
        let target = {
            let mut state = self.0.state();
            if state.phase == Phase::Gone {
                return Err(closed());
            }
            let was_full = state.tracker.open() >= MAX_OPEN;
            state.tracker.done(offsets);
            if was_full {
                self.0.wake.wake();
            }
            state.tracker.uncommitted()
        };
        let Some(target) = target else { return Ok(()) };
        let turn = Arc::clone(&self.0.committing).lock_owned().await;
        if self.0.state().tracker.is_committed(target) {
            return Ok(());
        }
        let partition = Arc::clone(&self.0);
        let committed = tokio::task::spawn_blocking(move || {
            let committed = Self::commit_blocking(&partition);
            drop(turn);
            committed
        });
        committed
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, "commit panicked").with_source(error))?
    }

    async fn rewind(&self) -> Result<Receiver<InboundMessage>> {
        let (reply, rewound) = oneshot::channel();
        {
            let mut state = self.0.state();
            if state.phase != Phase::Owned {
                return Err(closed());
            }
            state.rewinds.push(reply);
        }
        self.0.wake.wake();
        rewound.await.unwrap_or_else(|_| Err(closed()))
    }

    fn is_revoked(&self) -> bool {
        self.0.state().phase != Phase::Owned
    }

    async fn lost(&self) {
        let mut lost = self.0.lost.subscribe();
        // the sender lives in the partition, which this handle keeps
        let _ = lost.wait_for(|lost| *lost).await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.state().held = false;
        self.0.wake.wake();
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle({})", self.0.id)
    }
}
