//! A clock that tests move.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use omni_box_core::Clock;
use tokio::time::Instant;

/// A clock that runs with tokio's time (paused where that is paused), ahead of it by what tests have added. Cloning shares it.
///
/// ```
/// use std::time::Duration;
///
/// use omni_box_core::Clock;
/// use omni_box_testkit::TestClock;
///
/// let clock = TestClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(3600));
/// assert!(clock.now() - before >= chrono::TimeDelta::hours(1));
/// ```
#[derive(Debug, Clone)]
pub struct TestClock {
    origin: (DateTime<Utc>, Instant),
    /// Microseconds.
    ahead: Arc<AtomicU64>,
}

impl TestClock {
    /// A clock that starts at the machine's time.
    pub fn new() -> Self {
        Self { origin: (Utc::now(), Instant::now()), ahead: Arc::default() }
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_micros()).expect("a test's steps are shorter than 500,000 years");
        self.ahead.fetch_add(by, Ordering::SeqCst);
    }

    /// How far it was moved.
    pub fn ahead(&self) -> Duration {
        Duration::from_micros(self.ahead.load(Ordering::SeqCst))
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        let (at, instant) = self.origin;
        let since = TimeDelta::from_std(instant.elapsed() + self.ahead()).unwrap_or(TimeDelta::MAX);
        at.checked_add_signed(since).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}
