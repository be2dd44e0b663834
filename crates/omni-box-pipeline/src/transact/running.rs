//! The handlers that run, for a thread that watches them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use omni_box_core::{Event, InboxEvent};

/// The handlers that run. Time is the machine's, since the runtime's own may stand still.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<Calls>);

#[derive(Debug, Default)]
struct Calls {
    begun: u64,
    running: HashMap<u64, Call>,
}

/// A handler that runs.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) message_id: String,
    pub(crate) event_type: String,
    pub(crate) topic: Option<String>,
    pub(crate) partition: Option<i32>,
    begun: Instant,
    is_named: bool,
}

impl Call {
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

impl Running {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a message's handler runs, until what is returned is dropped.
    pub(crate) fn begin(&self, row: &InboxEvent) -> Run<'_> {
        let position = row.position();
        let call = Call {
            message_id: row.message_id().to_owned(),
            event_type: row.event_type().to_owned(),
            topic: position.map(|position| position.topic.clone()),
            partition: position.map(|position| position.partition),
            begun: Instant::now(),
            is_named: false,
        };
        let mut calls = self.calls();
        calls.begun += 1;
        let id = calls.begun;
        calls.running.insert(id, call);
        Run { running: self, id }
    }

    /// Those that have run for so long, each named once.
    pub(crate) fn overdue(&self, patience: Duration) -> Vec<Call> {
        let mut calls = self.calls();
        let late = calls.running.values_mut().filter(|call| !call.is_named && call.elapsed() >= patience);
        late.map(|call| {
            call.is_named = true;
            call.clone()
        })
        .collect()
    }

    /// How long the one has run that began first.
    pub(crate) fn longest(&self) -> Duration {
        self.calls().running.values().map(Call::elapsed).max().unwrap_or_default()
    }

    /// Does not count the time in which the whole process stood still.
    pub(crate) fn forgive(&self, gap: Duration) {
        let now = Instant::now();
        self.calls().running.values_mut().for_each(|call| call.begun = (call.begun + gap).min(now));
    }
}

/// A handler runs.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    running: &'a Running,
    id: u64,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.running.calls().running.remove(&self.id);
    }
}
