//! Which gates of a worker are closed, for its status.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// The lamps of one worker. Parts of it that have a gate of one name each have a lamp of that name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lamps(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    made: u64,
    lit: BTreeMap<(&'static str, u64), Instant>,
}

impl Lamps {
    /// A lamp for a gate of this name; out.
    pub(crate) fn lamp(&self, name: &'static str) -> Lamp {
        let mut state = self.state();
        state.made += 1;
        Lamp { lamps: self.clone(), name, number: state.made }
    }

    /// Since when at least one lamp of this name has been lit, as far as those go that are lit now.
    pub(crate) fn lit_since(&self, name: &'static str) -> Option<Instant> {
        self.state().lit.range((name, 0)..=(name, u64::MAX)).map(|(_, since)| *since).min()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows that one gate is closed, until the gate opens or is gone.
#[derive(Debug)]
pub(crate) struct Lamp {
    lamps: Lamps,
    name: &'static str,
    number: u64,
}

impl Lamp {
    pub(crate) fn light(&self, since: Instant) {
        self.lamps.state().lit.insert((self.name, self.number), since);
    }

    pub(crate) fn put_out(&self) {
        self.lamps.state().lit.remove(&(self.name, self.number));
    }
}

impl Drop for Lamp {
    fn drop(&mut self) {
        self.put_out();
    }
}
