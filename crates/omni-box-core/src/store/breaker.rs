//! Circuit breakers that processes share.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::id::OwnerId;

/// States of circuit breakers, each by its name, for all processes that use the store.
///
/// A store offers it by [`Store::breakers`](super::Store::breakers). A breaker that nothing was reported of is closed. Every call is one short
/// transaction of its own, and may be repeated; times are by the store's clock.
#[async_trait]
pub trait Breakers: Send + Sync {
    /// Says what a breaker lets through.
    ///
    /// - The time of an open breaker that is over leaves one trial. Of all that ask, one is told [`Trial`](BreakerState::Trial), and the others that it is
    ///   open.
    /// - A trial belongs to `asker` until its outcome is [reported](Self::report), or `trial` is over: then the next one that asks has it.
    ///   `asker` is another one each time.
    /// - A closed breaker costs one read.
    ///
    /// # Errors
    /// When the database fails.
    async fn admit(&self, name: &str, asker: OwnerId, trial: Duration) -> Result<BreakerState>;

    /// Notes what became of events, and says what the breaker lets through after that; a trial is never handed out here.
    ///
    /// - Of a closed one, a success ends the failures in a row before it. So many as the limit says open it.
    /// - Of an open one, only what the holder of its trial reports counts. A success closes it, a failure opens it anew, and without an outcome the
    ///   trial is free again.
    /// - Failures that several processes report at once are all counted.
    ///
    /// # Errors
    /// When the database fails.
    async fn report(&self, name: &str, report: &BreakerReport) -> Result<BreakerState>;
}

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything.
    Closed {
        /// Failures in a row so far.
        failures: u32,
    },
    /// Nothing.
    Open {
        /// How long until it is worth to ask again; zero while a trial runs.
        rest: Duration,
    },
    /// One event, of the process that asked.
    Trial,
}

/// What became of events that a breaker let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerReport {
    /// Who asked for the trial, if one of the events was it.
    pub trial: Option<OwnerId>,
    /// Whether one of them has succeeded.
    pub has_succeeded: bool,
    /// How many failed after the last that succeeded.
    pub failures: u32,
    /// How many failures in a row open it.
    pub threshold: u32,
    /// How long it stays open.
    pub recovery: Duration,
}
