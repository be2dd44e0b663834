//! A gate before something that may be down: closes on failure, opens on success, and logs the change once.
//!
//! Delays grow from failure to failure until it opens. So a success is what one came for (something published, or nothing left to
//! publish), never that the broker answers when it is asked how it is.

use std::time::Duration;

use omni_box_core::{Backoff, Error, RetryPolicy};
use tokio::time::Instant;

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

    /// How long it has been closed.
    pub(crate) fn closed_for(&self) -> Option<Duration> {
        self.closed_at.map(|since| since.elapsed())
    }
}
