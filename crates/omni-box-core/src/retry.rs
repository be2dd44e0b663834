//! When to try again: exponential backoff with jitter.
//!
//! The three kinds of jitter are those of Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

use std::time::Duration;

use crate::error::{Error, Result};

/// How randomness is mixed into a delay, so that many workers do not come back at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jitter {
    /// Between nothing and the full exponential delay.
    Full,
    /// Between half of the exponential delay and all of it.
    #[default]
    Equal,
    /// Between the base and three times the previous delay.
    Decorrelated,
}

/// Exponential backoff: base, factor 2, a longest delay, and jitter.
///
/// By default 10 s to 1 h with equal jitter, compatible with the Python library omni-box. An event's six attempts
/// ([`EventLimits::max_attempts`](crate::EventLimits)) then span 155 to 310 s. What it depends on may be away for so long before the event
/// is failed. An outage of the database or the broker itself costs no attempt. A handler that knows the fault to lie elsewhere returns
/// [`TransientError`](crate::TransientError) or [`HandlerError::transient`](crate::HandlerError::transient). That costs none either, and
/// is tried again for as long as it takes.
///
/// ```
/// use std::time::Duration;
/// use omni_box_core::RetryPolicy;
///
/// let policy = RetryPolicy::default();
/// let horizon: Duration = (1..6).map(|failures| policy.delay(failures)).sum();
/// assert!(horizon >= Duration::from_secs(155) && horizon <= Duration::from_secs(310));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    base: Duration,
    max: Duration,
    jitter: Jitter,
}

impl Default for RetryPolicy {
    /// 10 s to 1 h, equal jitter.
    fn default() -> Self {
        Self { base: Duration::from_secs(10), max: Duration::from_secs(3600), jitter: Jitter::default() }
    }
}

impl RetryPolicy {
    /// A policy from the first delay to the longest one.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when the base is zero or longer than the maximum.
    pub fn new(base: Duration, max: Duration, jitter: Jitter) -> Result<Self> {
        if base.is_zero() || base > max {
            return Err(Error::invalid(format!(
                "retry base {base:?} must be above zero and at most the maximum {max:?}"
            )));
        }
        Ok(Self { base, max, jitter })
    }

    /// The same policy with no delay above `max`, and a base of at most `base`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use omni_box_core::RetryPolicy;
    ///
    /// let sooner = RetryPolicy::default().at_most(Duration::from_secs(1), Duration::from_secs(30));
    /// assert!(sooner.delay(1) <= Duration::from_secs(1));
    /// assert_eq!(sooner.max(), Duration::from_secs(30));
    /// ```
    #[must_use]
    pub fn at_most(mut self, base: Duration, max: Duration) -> Self {
        self.base = self.base.min(base).min(max);
        self.max = self.max.min(max);
        self
    }

    /// The longest delay.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The delay before the attempt that follows `failures` failures (1 or more). Never overflows, never above the maximum.
    ///
    /// The previous delay is not known here, so decorrelated jitter takes the exponential one for it; [`Backoff`] remembers.
    ///
    /// ```
    /// use std::time::Duration;
    /// use omni_box_core::{Jitter, RetryPolicy};
    ///
    /// let policy = RetryPolicy::new(Duration::from_millis(100), Duration::from_secs(30), Jitter::Equal)?;
    /// let third = policy.delay(3); // exponential: 400 ms
    /// assert!(third >= Duration::from_millis(200) && third <= Duration::from_millis(400));
    /// # Ok::<(), omni_box_core::Error>(())
    /// ```
    pub fn delay(&self, failures: u32) -> Duration {
        let ceiling = self.exponential(failures);
        let delay = match self.jitter {
            Jitter::Full => ceiling.mul_f64(fastrand::f64()),
            Jitter::Equal => ceiling / 2 + (ceiling / 2).mul_f64(fastrand::f64()),
            Jitter::Decorrelated => return self.decorrelated(self.exponential(failures.saturating_sub(1))),
        };
        // a very long delay may round up on its way through f64
        delay.min(ceiling)
    }

    fn exponential(&self, failures: u32) -> Duration {
        let factor = 1u32.checked_shl(failures.saturating_sub(1));
        factor.and_then(|factor| self.base.checked_mul(factor)).map_or(self.max, |delay| delay.min(self.max))
    }

    fn decorrelated(&self, previous: Duration) -> Duration {
        let span = previous.saturating_mul(3).min(self.max).saturating_sub(self.base);
        self.base.saturating_add(span.mul_f64(fastrand::f64()).min(span))
    }
}

/// Counts failures in a row and says how long to wait after each.
#[derive(Debug, Clone)]
pub struct Backoff {
    policy: RetryPolicy,
    failures: u32,
    previous: Duration,
}

impl Backoff {
    /// Starts with no failure.
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, failures: 0, previous: policy.base }
    }

    /// Counts a failure and returns the delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.previous = match self.policy.jitter {
            Jitter::Decorrelated => self.policy.decorrelated(self.previous),
            _ => self.policy.delay(self.failures),
        };
        self.previous
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        *self = Self::new(self.policy);
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}
