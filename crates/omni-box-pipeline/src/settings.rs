//! What the settings of all workers obey.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use omni_box_core::{Error, ErrorKind, Result, RetryPolicy};

/// Longer than any worker waits, and far from where a point in time overflows.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How soon a database or broker is tried again after its first failure. It is sooner than an event that failed, for it may be over in a
/// moment.
const OUTAGE_RETRY_BASE: Duration = Duration::from_millis(100);

/// When a database or broker that is down is tried again.
pub(crate) fn outage_retry(longest: Duration) -> RetryPolicy {
    RetryPolicy::default().at_most(OUTAGE_RETRY_BASE, longest)
}

/// An error about settings.
pub(crate) fn misconfigured(text: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Misconfigured, text)
}

/// Refuses durations that are longer than a year.
pub(crate) fn check_durations<const N: usize>(durations: [(&str, Duration); N]) -> Result<()> {
    match durations.into_iter().find(|(_, duration)| *duration > LONGEST) {
        Some((name, duration)) => {
            Err(misconfigured(format!("{name} {duration:?} is longer than a year, {LONGEST:?}")))
        }
        None => Ok(()),
    }
}

/// Refuses a number outside of a range.
pub(crate) fn check_number<T: PartialOrd + Display>(
    name: &str,
    number: T,
    range: RangeInclusive<T>,
) -> Result<()> {
    if range.contains(&number) {
        return Ok(());
    }
    Err(misconfigured(format!("{name} {number} is outside {} to {}", range.start(), range.end())))
}

/// Refuses a lease that may run out while its owner waits for the lock that all writers of a store share, and `work` behind it.
pub(crate) fn check_lock_wait(
    lease_ttl: Duration,
    work: Duration,
    lock_wait: Option<Duration>,
) -> Result<()> {
    let Some(wait) = lock_wait.filter(|wait| wait.saturating_add(work) >= lease_ttl) else { return Ok(()) };
    let behind = if work.is_zero() { String::new() } else { format!(", and the {work:?} of its handlers") };
    Err(misconfigured(format!(
        "lease_ttl {lease_ttl:?} must be longer than the busy_timeout {wait:?} of the store, for which a transaction may wait to begin{behind}"
    )))
}

/// Parses a name, and refuses one that breaks its rules.
pub(crate) fn named<T, E: Display>(
    name: &str,
    text: &str,
    parse: impl Fn(String) -> Result<T, E>,
) -> Result<T> {
    parse(text.to_owned()).map_err(|error| misconfigured(format!("{name} {text:?}: {error}")))
}
