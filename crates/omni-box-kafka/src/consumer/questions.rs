//! How often a broker is asked on the thread that also feeds the partitions.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long one question to a broker may take.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Shortest time between two questions; nothing is fed while one is asked.
const ASK_PAUSE: Duration = Duration::from_millis(500);

/// When a broker may be asked again.
pub(super) struct Questions(Mutex<Instant>);

impl Questions {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// When the question begins; `None` if it is too early for one.
    pub(super) fn may_ask(&self) -> Option<Instant> {
        let now = Instant::now();
        (now >= *self.next()).then_some(now)
    }

    /// Sets the next question's time. A broker that takes long is asked at most half of the time.
    pub(super) fn asked(&self, began: Instant) {
        *self.next() = Instant::now() + began.elapsed().max(ASK_PAUSE);
    }

    fn next(&self) -> MutexGuard<'_, Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
