//! How often a relay looks when nobody wakes it.

use std::time::Duration;

use omni_box_core::Activity;
use tokio::time::Instant;

/// Quiet or activity of this length is announced to writers.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// Decides when to fetch next, and what writers are told.
///
/// While events flow, a fetch follows the last one at once if that was full, else after the shortest interval. When nothing
/// is found the interval doubles up to the longest; so events of transactions that were open when "idle" was announced, and
/// those of foreign writers, are found soon.
#[derive(Debug)]
pub(crate) struct Polling {
    shortest: Duration,
    longest: Duration,
    interval: Duration,
    next: Instant,
    /// Since when fetches found nothing, or found something.
    since: Instant,
    quiet: bool,
    announced: Activity,
}

impl Polling {
    pub(crate) fn new(shortest: Duration, longest: Duration, now: Instant) -> Self {
        Self {
            shortest,
            longest,
            interval: shortest,
            next: now,
            since: now,
            quiet: false,
            announced: Activity::Busy,
        }
    }

    /// When to fetch next.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Notes what a fetch found.
    pub(crate) fn fetched(&mut self, found: usize, was_full: bool, now: Instant) {
        let quiet = found == 0;
        if quiet != self.quiet {
            self.quiet = quiet;
            self.since = now;
        }
        self.interval = if quiet { (self.interval * 2).min(self.longest) } else { self.shortest };
        self.next = if was_full { now } else { now + self.interval };
    }

    /// Whether the last fetch found nothing.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Notes that everything in flight is done: what was enqueued meanwhile need not wait longer than the shortest interval.
    pub(crate) fn freed(&mut self, now: Instant) {
        self.next = self.next.min(now + self.shortest);
    }

    /// Notes a wake-up.
    pub(crate) fn woken(&mut self, now: Instant) {
        self.interval = self.shortest;
        self.next = now;
    }

    /// What writers have to be told now, if anything has changed for long enough.
    pub(crate) fn announcement(&self, now: Instant) -> Option<Activity> {
        let activity = if self.quiet { Activity::Idle } else { Activity::Busy };
        (activity != self.announced && now - self.since >= SETTLED_AFTER).then_some(activity)
    }

    /// Notes what writers were told; the events of a transaction that did not see it are found by the polls that follow.
    pub(crate) fn announced(&mut self, activity: Activity, now: Instant) {
        self.announced = activity;
        if activity == Activity::Idle {
            self.woken(now);
        }
    }

    /// Notes that new leases start out with writers believing their owner is busy.
    pub(crate) fn leases_changed(&mut self, now: Instant) {
        self.announced = Activity::Busy;
        self.woken(now);
    }
}
