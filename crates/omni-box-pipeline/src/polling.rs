//! How often a relay looks when no wake-up comes.

use std::time::Duration;

use omni_box_core::Activity;
use tokio::time::Instant;

/// Quiet or activity of this length is announced to writers.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// For how long a store is not trusted again that broke its promise.
const DISTRUST: Duration = Duration::from_secs(600);

/// Decides when to fetch next, and what writers are told.
///
/// While events flow, a fetch follows the last one at once if that was full, else after the shortest interval. When nothing
/// is found the interval doubles up to the longest. So events of transactions that were open when "idle" was announced, and
/// those of foreign writers, are found soon.
#[derive(Debug)]
pub(crate) struct Polling {
    shortest: Duration,
    longest: Duration,
    /// The longest while the store promises quiet.
    rest: Duration,
    /// Until when the store has promised quiet.
    promised_until: Option<Instant>,
    /// From when on its promises count: a writer may be at work that wakes no relay.
    trusts_from: Instant,
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
            rest: longest,
            promised_until: None,
            trusts_from: now,
            interval: shortest,
            next: now,
            since: now,
            quiet: false,
            announced: Some(Activity::Busy),
        }
    }

    /// Waits for up to `rest` while the store promises that nothing becomes due without a wake-up.
    pub(crate) fn resting(self, rest: Duration) -> Self {
        Self { rest, ..self }
    }

    /// When to fetch next.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Notes what a fetch found.
    pub(crate) fn fetched(&mut self, found: usize, was_full: bool, now: Instant) {
        self.fetched_with(found, was_full, None, now);
    }

    /// The same, with the store's promise for how long nothing becomes due unless a writer wakes.
    pub(crate) fn fetched_with(
        &mut self,
        found: usize,
        was_full: bool,
        quiet_for: Option<Duration>,
        now: Instant,
    ) {
        let quiet = found == 0;
        if quiet != self.quiet {
            self.quiet = quiet;
            self.since = now;
        }
        if !quiet && self.promised_until.is_some_and(|until| now < until) {
            self.trusts_from = now + DISTRUST;
        }
        let quiet_for = quiet_for.filter(|_| now >= self.trusts_from);
        self.promised_until = quiet_for.map(|quiet_for| now + quiet_for);
        let longest = quiet_for.map_or(self.longest, |_| self.rest);
        self.interval = if quiet { (self.interval * 2).min(longest) } else { self.shortest };
        let wait = self.interval.min(quiet_for.unwrap_or(longest)).max(self.shortest);
        self.next = if was_full { now } else { now + wait };
    }

    /// Whether the last fetch found nothing.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Notes that everything in flight is done: what was enqueued meanwhile need not wait longer than the shortest interval.
    pub(crate) fn freed(&mut self, now: Instant) {
        self.promised_until = None;
        self.next = self.next.min(now + self.shortest);
    }

    /// Notes a wake-up.
    pub(crate) fn woken(&mut self, now: Instant) {
        self.promised_until = None;
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
    async fn polls_are_rare_while_the_store_promises_quiet_and_in_time_for_what_becomes_due() {
        const SECOND: Duration = Duration::from_secs(1);
        let now = Instant::now();
        let mut polling = Polling::new(Duration::from_millis(5), SECOND, now).resting(4 * SECOND);
        let mut settle = |quiet_for| {
            for _ in 0..20 {
                polling.fetched_with(0, false, quiet_for, now);
            }
            polling.next() - now
        };
        assert_eq!(settle(None), SECOND, "nothing is promised");
        assert_eq!(settle(Some(60 * SECOND)), 4 * SECOND);
        assert_eq!(settle(Some(3 * SECOND)), 3 * SECOND, "something becomes due");
        assert_eq!(settle(Some(Duration::ZERO)), Duration::from_millis(5), "at once");
        assert_eq!(settle(None), SECOND, "what was promised does not last");
    }

    #[tokio::test(start_paused = true)]
    async fn a_promise_that_was_broken_is_not_trusted_for_a_while() {
        const SECOND: Duration = Duration::from_secs(1);
        let mut now = Instant::now();
        let mut polling = Polling::new(Duration::from_millis(5), SECOND, now).resting(4 * SECOND);
        let settle = |polling: &mut Polling, now| {
            for _ in 0..20 {
                polling.fetched_with(0, false, Some(60 * SECOND), now);
            }
            polling.next() - now
        };
        settle(&mut polling, now);
        polling.woken(now);
        polling.fetched_with(1, false, None, now);
        assert_eq!(settle(&mut polling, now), 4 * SECOND, "a wake-up came before the event");
        polling.fetched_with(1, false, None, now + 60 * SECOND);
        assert_eq!(settle(&mut polling, now), 4 * SECOND, "the event was due as promised");
        polling.fetched_with(1, false, None, now);
        assert_eq!(settle(&mut polling, now), SECOND, "a writer wakes no relay");
        now += DISTRUST;
        assert_eq!(settle(&mut polling, now), 4 * SECOND);
    }

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
