//! A gate before something that may be down: closes on failure, opens on success, and logs the change once.
//!
//! Delays grow from failure to failure until it opens. So a success is what one came for: something published, or nothing left to publish.
//! That the broker answers when it is asked how it is, is not a success.
//!
//! Calls that go different ways have names. A call that fails while others succeed keeps the gate closed, and its delays grow, until that
//! call succeeds. So a gate tells one outage, however many heartbeats come through.

use std::time::Duration;

use omni_box_core::{Backoff, Error, RetryPolicy};
use tokio::time::Instant;

use crate::lamps::Lamp;

/// The name of a gate's call if all its calls go the same way.
const ANY: &str = "any";
/// A call that failed and is not tried again for this long after its time is not wanted any more.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gate's state when its worker was asked for its status.
///
/// A worker has a gate before each database and broker that may be down. While a gate is closed, the worker waits and tries again.
///
/// ```
/// use omni_box_pipeline::{GateStatus, RelayStatus};
///
/// fn outage(status: &RelayStatus) -> Option<String> {
///     let gates = status.now().gates;
///     let closed: &GateStatus = gates.iter().find(|gate| !gate.is_open())?;
///     Some(format!("{} is down for {:?}", closed.name, closed.closed_since?.elapsed()))
/// }
/// assert_eq!(outage(&RelayStatus::default()), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GateStatus {
    /// What the gate stands before: `database` or `broker`; of an inbox `database`, `offset commit` or `step`.
    pub name: &'static str,
    /// When the outage began; `None` while the gate is open.
    pub closed_since: Option<Instant>,
}

impl GateStatus {
    /// Whether what stands behind the gate can be used, as far as the worker knows.
    pub fn is_open(&self) -> bool {
        self.closed_since.is_none()
    }
}

/// The state of one database or broker, as one worker sees it.
#[derive(Debug)]
pub(crate) struct Gate {
    what: &'static str,
    policy: RetryPolicy,
    patience: Duration,
    closed_at: Option<Instant>,
    failing: Vec<Failing>,
    /// Lit while it is closed.
    lamp: Option<Lamp>,
}

/// A call that failed at its last try.
#[derive(Debug)]
struct Failing {
    call: &'static str,
    backoff: Backoff,
    retry_at: Instant,
    wanted_until: Instant,
}

impl Gate {
    /// An open gate before `what` (`database`, `broker`).
    pub(crate) fn new(what: &'static str, policy: RetryPolicy) -> Self {
        Self { what, policy, patience: PATIENCE, closed_at: None, failing: Vec::new(), lamp: None }
    }

    /// Bears in mind how long a call may take: one that is wanted still is tried again, and has failed, within that time.
    pub(crate) fn calls_take(mut self, deadline: Duration) -> Self {
        self.patience = self.patience.max(deadline * 2);
        self
    }

    /// Shows by a lamp whether it is closed.
    pub(crate) fn shown_by(mut self, lamp: Lamp) -> Self {
        self.lamp = Some(lamp);
        self
    }

    /// Notes a failure and says how long to wait before the next try.
    pub(crate) fn close(&mut self, error: &Error) -> Duration {
        self.close_for(ANY, error)
    }

    /// Notes a success: everything behind the gate can be used.
    pub(crate) fn open(&mut self) {
        self.failing.clear();
        self.open_if_well();
    }

    /// Notes the failure of one call and says how long to wait before that call is made again.
    pub(crate) fn close_for(&mut self, call: &'static str, error: &Error) -> Duration {
        let now = Instant::now();
        if self.closed_at.is_none() {
            self.closed_at = Some(now);
            self.lamp.iter().for_each(|lamp| lamp.light(now));
            tracing::warn!(gate = self.what, call, kind = ?error.kind(), error = %error.chain(), "unavailable, waiting");
        }
        let index = self.failing.iter().position(|failing| failing.call == call).unwrap_or_else(|| {
            let backoff = Backoff::new(self.policy);
            self.failing.push(Failing { call, backoff, retry_at: now, wanted_until: now });
            self.failing.len() - 1
        });
        let failing = &mut self.failing[index];
        let delay = failing.backoff.next_delay();
        failing.retry_at = now + delay;
        failing.wanted_until = failing.retry_at + self.patience;
        delay
    }

    /// Notes the success of one call. The gate opens if no other call fails.
    pub(crate) fn open_for(&mut self, call: &'static str) {
        if self.closed_at.is_none() {
            return;
        }
        let now = Instant::now();
        let before = self.failing.len();
        self.failing.retain(|failing| failing.call != call);
        if self.failing.len() < before {
            // what has just come back for one call may have come back for all
            self.failing.iter_mut().for_each(|failing| failing.retry_at = failing.retry_at.min(now));
        }
        self.failing.retain(|failing| now < failing.wanted_until);
        self.open_if_well();
    }

    /// When a call that failed may be made again; `None` if it did not fail at its last try.
    pub(crate) fn retry_at(&self, call: &'static str) -> Option<Instant> {
        self.failing.iter().find(|failing| failing.call == call).map(|failing| failing.retry_at)
    }

    fn open_if_well(&mut self) {
        if !self.failing.is_empty() {
            return;
        }
        if let Some(since) = self.closed_at.take() {
            self.lamp.iter().for_each(Lamp::put_out);
            tracing::info!(gate = self.what, after = ?since.elapsed(), "available again");
        }
    }

    /// Its state now.
    pub(crate) fn status(&self) -> GateStatus {
        GateStatus { name: self.what, closed_since: self.closed_at }
    }

    /// How long it has been closed.
    pub(crate) fn closed_for(&self) -> Option<Duration> {
        self.closed_at.map(|since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use omni_box_core::{ErrorKind, Jitter};
    use tokio::time::advance;

    use super::*;

    fn gate() -> Gate {
        let policy = RetryPolicy::new(Duration::from_secs(1), Duration::from_secs(8), Jitter::Equal).unwrap();
        Gate::new("database", policy)
    }

    fn error() -> Error {
        Error::new(ErrorKind::Unavailable, "down")
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_fails_alone_keeps_it_closed_and_waits_longer_and_longer() {
        let mut gate = gate();
        let mut delays = Vec::new();
        for _ in 0..5 {
            delays.push(gate.close_for("fetch", &error()));
            gate.open_for("lease");
            assert!(!gate.status().is_open());
        }
        // half of each delay is random
        let seconds = |seconds| Duration::from_secs(seconds);
        assert!(delays[0] <= seconds(1) && delays[3] >= seconds(4) && delays[4] <= seconds(8), "{delays:?}");
        gate.open_for("fetch");
        assert!(gate.status().is_open());
        assert!(gate.close_for("fetch", &error()) <= seconds(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_comes_back_lets_the_others_try_at_once() {
        let mut gate = gate();
        gate.close_for("lease", &error());
        gate.close_for("fetch", &error());
        gate.open_for("settle");
        assert!(gate.retry_at("fetch") > Some(Instant::now()));
        gate.open_for("lease");
        assert_eq!((gate.retry_at("lease"), gate.retry_at("fetch")), (None, Some(Instant::now())));
        assert!(!gate.status().is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_wanted_no_more_is_forgotten() {
        let mut gate = gate();
        gate.close_for("announce", &error());
        advance(PATIENCE).await;
        gate.open_for("lease");
        assert!(!gate.status().is_open(), "it may be tried yet");
        advance(Duration::from_secs(1)).await;
        gate.open_for("lease");
        assert!(gate.status().is_open());
    }
}
