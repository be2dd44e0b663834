//! How often a relay looks when no wake-up comes.

use std::time::Duration;

use omni_box_core::Activity;
use tokio::time::Instant;

/// Quiet or activity of this length is announced to writers.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// Decides when to fetch next, and what writers are told.
///
/// While events flow, a fetch follows the last one at once if that was full, else after the shortest interval. When nothing
/// is found the interval doubles up to the longest. So events of transactions that were open when "idle" was announced, and
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
    /// What all lanes say; `None` while some may say another thing than others.
    announced: Option<Activity>,
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
            announced: Some(Activity::Busy),
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
        (self.announced != Some(activity) && now - self.since >= SETTLED_AFTER).then_some(activity)
    }

    /// Notes what writers were told; the events of a transaction that did not see it are found by the polls that follow.
    pub(crate) fn announced(&mut self, activity: Activity, now: Instant) {
        self.announced = Some(activity);
        if activity == Activity::Idle {
            self.woken(now);
        }
    }

    /// Notes that there are new leases. They start out with writers believing that their owner is busy, while those that were kept say what
    /// was announced last.
    pub(crate) fn leases_changed(&mut self, now: Instant) {
        self.announced = self.announced.filter(|activity| *activity == Activity::Busy);
        self.woken(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lanes_that_were_kept_hear_that_their_owner_is_busy_after_it_took_others() {
        let mut now = Instant::now();
        let mut polling = Polling::new(Duration::from_millis(5), Duration::from_secs(1), now);
        polling.fetched(0, false, now);
        now += SETTLED_AFTER;
        assert_eq!(polling.announcement(now), Some(Activity::Idle));
        polling.announced(Activity::Idle, now);
        polling.leases_changed(now);
        polling.fetched(1, false, now);
        now += SETTLED_AFTER;
        assert_eq!(
            polling.announcement(now),
            Some(Activity::Busy),
            "writers would notify the kept lanes for each commit"
        );
        polling.announced(Activity::Busy, now);
        polling.leases_changed(now);
        assert_eq!(polling.announcement(now), None, "all say so");
    }
}
