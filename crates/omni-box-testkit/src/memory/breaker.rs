//! Circuit breakers that processes share.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use omni_box_core::store::{BreakerReport, BreakerState, Breakers};
use omni_box_core::{OwnerId, Result};

use super::MemoryStore;

/// A breaker as it is stored.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    open_until: Option<DateTime<Utc>>,
    /// Whose trial it is, and until when.
    trial: Option<(OwnerId, DateTime<Utc>)>,
}

impl Breaker {
    fn state(&self, now: DateTime<Utc>) -> BreakerState {
        match self.open_until {
            Some(until) => BreakerState::Open { rest: (until - now).to_std().unwrap_or_default() },
            None => BreakerState::Closed { failures: self.failures },
        }
    }

    fn hear(&mut self, report: &BreakerReport, now: DateTime<Utc>) {
        let was_open = self.open_until.is_some();
        let is_trial = report.trial.is_some() && self.trial.map(|(owner, _)| owner) == report.trial;
        if was_open && !is_trial {
            return;
        }
        self.trial.take_if(|_| is_trial);
        if was_open && report.has_succeeded {
            self.open_until = None;
        }
        let before = if report.has_succeeded { 0 } else { self.failures };
        self.failures = before.saturating_add(report.failures);
        let is_enough = if was_open { report.failures > 0 } else { self.failures >= report.threshold };
        if is_enough {
            self.open_until = Some(now + report.recovery);
        }
    }
}

#[async_trait]
impl Breakers for MemoryStore {
    async fn admit(&self, name: &str, asker: OwnerId, trial: Duration) -> Result<BreakerState> {
        let now = self.shared.now();
        let mut state = self.shared.state();
        let Some(breaker) = state.breakers.get_mut(name) else {
            return Ok(BreakerState::Closed { failures: 0 });
        };
        let is_over = breaker.open_until.is_some_and(|until| until <= now);
        let is_free = breaker.trial.is_none_or(|(_, until)| until <= now);
        if is_over && is_free {
            breaker.trial = Some((asker, now + trial));
            return Ok(BreakerState::Trial);
        }
        Ok(breaker.state(now))
    }

    async fn report(&self, name: &str, report: &BreakerReport) -> Result<BreakerState> {
        let now = self.shared.now();
        let mut state = self.shared.state();
        let breaker = state.breakers.entry(name.to_owned()).or_default();
        breaker.hear(report, now);
        Ok(breaker.state(now))
    }
}
