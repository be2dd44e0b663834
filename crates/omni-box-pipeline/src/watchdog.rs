//! A thread that finds handlers that block theirs, and a runtime that stands still: a task would stand still with them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use omni_box_core::broker::Leaver;
use omni_box_core::{Error, ErrorKind, Result, WorkerId};

use crate::transact::Running;

/// How much longer than its time a handler may run before it is named. The time's end is noticed by the runtime, which may be busy.
const MARGIN: Duration = Duration::from_secs(2);
/// How often a runtime shows that it runs.
pub(crate) const BEAT: Duration = Duration::from_millis(500);
/// Longest time between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// A look that comes so much later than it should: the process itself stood still.
const GAP: Duration = Duration::from_secs(2);

/// What is watched, and what is done about it.
pub(crate) struct Watched {
    pub(crate) worker: WorkerId,
    pub(crate) running: Arc<Running>,
    /// How long a handler may take.
    pub(crate) process_timeout: Duration,
    /// After this time the consumer is taken out of its group.
    pub(crate) stuck_after: Duration,
    pub(crate) leave: Option<Leaver>,
}

/// The thread; it ends when this is dropped.
pub(crate) struct Watchdog(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    is_ended: bool,
    /// When the runtime has last shown that it runs, while it is to.
    beat: Option<Instant>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watchdog {
    /// Begins to watch.
    pub(crate) fn start(watched: Watched) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let its_shared = Arc::clone(&shared);
        std::thread::Builder::new()
            .name(format!("omni-box-watch-{}", watched.worker))
            .spawn(move || watch(watched, &its_shared))
            .map_err(|error| {
                Error::new(ErrorKind::Unavailable, "thread cannot be started").with_source(error)
            })?;
        Ok(Self(shared))
    }

    /// Shows that the runtime runs. From then on it is to do so again and again.
    pub(crate) fn beat(&self) {
        self.0.state().beat = Some(Instant::now());
    }

    /// Asks no more of the runtime.
    pub(crate) fn rest(&self) {
        self.0.state().beat = None;
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.state().is_ended = true;
        self.0.ended.notify_all();
    }
}

fn watch(watched: Watched, shared: &Shared) {
    let Watched { worker, running, process_timeout, stuck_after, mut leave } = watched;
    let patience = process_timeout.saturating_add(MARGIN);
    let stuck_after = stuck_after.max(patience);
    let mut is_named = false;
    let mut state = shared.state();
    loop {
        let looked = Instant::now();
        let waited = shared.ended.wait_timeout_while(state, LOOK, |state| !state.is_ended);
        (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.is_ended {
            return;
        }
        let gap = looked.elapsed().saturating_sub(LOOK);
        if gap >= GAP {
            running.forgive(gap);
            state.beat = state.beat.map(|_| Instant::now());
        }
        let still = state.beat.map(|beat| beat.elapsed()).unwrap_or_default();
        for call in running.overdue(patience) {
            tracing::error!(
                worker_id = %worker, message_id = call.message_id, event_type = call.event_type, topic = call.topic,
                partition = call.partition, elapsed = ?call.elapsed(),
                "handler is past its time and blocks its thread, its partition stands still"
            );
        }
        if still < patience {
            is_named = false;
        } else if !is_named {
            is_named = true;
            tracing::error!(
                worker_id = %worker, elapsed = ?still, "the runtime stands still, something blocks its threads"
            );
        }
        let longest = running.longest().max(still);
        if longest >= stuck_after
            && let Some(leave) = leave.take()
        {
            tracing::error!(
                worker_id = %worker, elapsed = ?longest,
                "leaving the consumer group, since nothing moves: the partitions go to other members"
            );
            let text = format!(
                "a handler or the runtime has stood still for {longest:?}, so the consumer has left its group"
            );
            leave(Error::new(ErrorKind::Internal, text));
        }
    }
}
