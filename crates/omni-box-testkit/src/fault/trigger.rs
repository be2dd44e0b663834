//! Which calls a fault is planned for.

use std::time::Duration;

use omni_box_core::ErrorKind;

use super::plan::Fault;
use super::{FaultPlan, Operation};

/// Chosen calls; say what happens to them.
#[derive(Debug)]
#[must_use = "say what happens, such as `.fail_before(kind)`"]
pub struct FaultTrigger<'a> {
    plan: &'a FaultPlan,
    operation: Operation,
    skip: u64,
    times: u64,
}

impl<'a> FaultTrigger<'a> {
    pub(super) fn new(plan: &'a FaultPlan, operation: Operation) -> Self {
        Self { plan, operation, skip: 0, times: 1 }
    }

    /// The `n`th call from now on; the first is the next one.
    ///
    /// # Panics
    /// When `n` is 0.
    pub fn nth(mut self, n: u64) -> Self {
        assert!(n > 0, "calls are counted from 1");
        self.skip = n - 1;
        self
    }

    /// So many calls, one after the other.
    pub fn times(mut self, calls: u64) -> Self {
        self.times = calls;
        self
    }

    /// That call and all that follow, until [`FaultPlan::clear`].
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    /// Fails before it takes effect.
    pub fn fail_before(self, kind: ErrorKind) {
        self.plan(Fault::FailBefore(kind));
    }

    /// Takes effect, then fails: its answer was lost.
    pub fn fail_after(self, kind: ErrorKind) {
        self.plan(Fault::FailAfter(kind));
    }

    /// Takes effect after this long.
    pub fn delay(self, delay: Duration) {
        self.plan(Fault::Delay(delay));
    }

    /// Stands still before it takes effect, until [`FaultPlan::release`]; see also [`FaultPlan::until_frozen`].
    pub fn freeze_before(self) {
        self.plan(Fault::FreezeBefore);
    }

    /// Takes effect, but does not return, until [`FaultPlan::release`].
    pub fn freeze_after(self) {
        self.plan(Fault::FreezeAfter);
    }

    fn plan(self, fault: Fault) {
        self.plan.plan(self.operation, self.skip, self.times, fault);
    }
}
