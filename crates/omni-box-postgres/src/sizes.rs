//! How large payloads are, as far as is known.

use std::sync::atomic::{AtomicU64, Ordering};

/// How large payloads have been: bytes an event, a mean that rises at once and falls slowly. A 0 is not known, which counts as small: a
/// plain statement is not read further than fits.
#[derive(Debug, Default)]
pub(crate) struct Sizes(AtomicU64);

impl Sizes {
    /// Whether so many events can be expected to fit.
    pub(crate) fn fit(&self, events: u64, max_bytes: u64) -> bool {
        let mean = self.0.load(Ordering::Relaxed);
        mean.saturating_mul(events).saturating_mul(2) <= max_bytes
    }

    pub(crate) fn note(&self, events: u64, bytes: u64) {
        if let Some(mean) = bytes.checked_div(events) {
            let before = self.0.load(Ordering::Relaxed);
            self.0.store(mean.max((before * 7 + mean) / 8).max(1), Ordering::Relaxed);
        }
    }
}
