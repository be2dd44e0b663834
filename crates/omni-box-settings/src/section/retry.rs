//! `[retry]`, and other policies.

use omni_box_core::{Jitter, Result, RetryPolicy};

use crate::Settings;
use crate::origin::misconfigured;

impl Settings {
    /// `[retry]`: when an event or message that failed by its own fault is tried again.
    ///
    /// # Errors
    /// [`Misconfigured`](omni_box_core::ErrorKind::Misconfigured) when the base is zero or longer than the maximum.
    pub fn retry(&self) -> Result<RetryPolicy> {
        self.policy("retry", "base", "max", "jitter")
    }

    /// The policy of three keys.
    pub(super) fn policy(
        &self,
        section: &'static str,
        base: &'static str,
        max: &'static str,
        jitter: &'static str,
    ) -> Result<RetryPolicy> {
        let delay = |name| self.duration(section, name).unwrap_or_default();
        let jitter = match self.text(section, jitter)?.as_deref() {
            Some("full") => Jitter::Full,
            Some("decorrelated") => Jitter::Decorrelated,
            _ => Jitter::Equal,
        };
        RetryPolicy::new(delay(base), delay(max), jitter).map_err(|error| {
            let (base, max) = (self.name(section, base), self.name(section, max));
            misconfigured(format!("{base} and {max} disagree: {error}"))
        })
    }
}
