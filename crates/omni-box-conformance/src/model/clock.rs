//! Time as the model counts it.
//!
//! The store's clock is moved by whole minutes. Every length of time that a store compares with it is so many minutes and a half. What a
//! case takes by itself (less than [`SLOW`]) changes no comparison.

use std::time::Duration;

/// Minutes since the case began.
pub(super) type Minute = u64;

pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// A case that takes longer proves nothing.
pub(super) const SLOW: Duration = Duration::from_secs(25);

/// So many minutes and a half.
pub(super) fn span(minutes: u8) -> Duration {
    MINUTE * u32::from(minutes) + MINUTE / 2
}

/// The first minute at which a [`span`] that began at `start` is over.
pub(super) fn end(start: Minute, minutes: u8) -> Minute {
    start + u64::from(minutes) + 1
}
