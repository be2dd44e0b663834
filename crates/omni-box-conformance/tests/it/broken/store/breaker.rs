//! Circuit breakers.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::{BreakerReport, BreakerState, Breakers};
use omni_box_core::{OwnerId, Result, Store};

use super::Broken;
use super::flaw::Flaw;

#[async_trait]
impl<S: Store> Breakers for Broken<S> {
    async fn admit(&self, name: &str, asker: OwnerId, trial: Duration) -> Result<BreakerState> {
        let name = if self.has(Flaw::AllBreakersAreOne) { "one" } else { name };
        let trial = if self.has(Flaw::ATrialNeverEnds) { trial * 1_000 } else { trial };
        let state = self.inner.breakers().unwrap().admit(name, asker, trial).await?;
        Ok(match (self.flaw, state) {
            (Some(Flaw::AllHaveTheTrial), BreakerState::Open { rest }) if rest.is_zero() => {
                BreakerState::Trial
            }
            (_, state) => state,
        })
    }

    async fn report(&self, name: &str, report: &BreakerReport) -> Result<BreakerState> {
        let name = if self.has(Flaw::AllBreakersAreOne) { "one" } else { name };
        let breakers = self.inner.breakers().unwrap();
        let mut report = *report;
        if self.has(Flaw::ABreakerForgetsFailures) {
            report.has_succeeded = true;
        }
        if self.has(Flaw::AnySuccessClosesABreaker) && report.has_succeeded {
            return Ok(BreakerState::Closed { failures: report.failures });
        }
        breakers.report(name, &report).await
    }
}
