//! A gate before something that may be down: closes on failure, opens on success, and logs the change once.
//!
//! Delays grow from failure to failure until it opens. So a success is what one came for (something published, or nothing left to
//! publish), never that the broker answers when it is asked how it is.

use std::time::Duration;

use omni_box_core::{Backoff, Error, RetryPolicy};
use tokio::time::Instant;

/// A gate's state when its worker was asked for its status.
///
/// A worker has a gate before each database and broker that may be down. While a gate is closed, the worker waits and tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GateStatus {
    /// What the gate stands before: `database` or `broker`.
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
    backoff: Backoff,
    closed_at: Option<Instant>,
}

impl Gate {
    /// An open gate before `what` (`database`, `broker`).
    pub(crate) fn new(what: &'static str, policy: RetryPolicy) -> Self {
        Self { what, backoff: Backoff::new(policy), closed_at: None }
    }

    /// Notes a failure and says how long to wait before the next try.
    pub(crate) fn close(&mut self, error: &Error) -> Duration {
        if self.closed_at.is_none() {
            self.closed_at = Some(Instant::now());
            tracing::warn!(gate = self.what, kind = ?error.kind(), error = %error.chain(), "unavailable, waiting");
        }
        self.backoff.next_delay()
    }

    /// Notes a success.
    pub(crate) fn open(&mut self) {
        if let Some(since) = self.closed_at.take() {
            tracing::info!(gate = self.what, after = ?since.elapsed(), "available again");
            self.backoff.reset();
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
