//! Delays stay within their bounds and never overflow.

use std::time::Duration;

use omni_box_core::{Backoff, ErrorKind, EventLimits, Jitter, RetryPolicy};
use proptest::prelude::*;

const JITTERS: [Jitter; 3] = [Jitter::Full, Jitter::Equal, Jitter::Decorrelated];

fn policy(base: u64, max: u64, jitter: Jitter) -> RetryPolicy {
    RetryPolicy::new(Duration::from_millis(base), Duration::from_millis(max), jitter).unwrap()
}

/// Runs `delay` often and returns the shortest and longest.
fn spread(delay: impl FnMut() -> Duration) -> (Duration, Duration) {
    let delays: Vec<_> = std::iter::repeat_with(delay).take(2_000).collect();
    (*delays.iter().min().unwrap(), *delays.iter().max().unwrap())
}

#[test]
fn each_jitter_fills_its_range() {
    let ms = Duration::from_millis;
    for (jitter, failures, low, high) in [
        (Jitter::Full, 1, 0, 1_000),
        (Jitter::Full, 4, 0, 8_000),
        (Jitter::Full, 20, 0, 60_000),
        (Jitter::Equal, 1, 500, 1_000),
        (Jitter::Equal, 4, 4_000, 8_000),
        (Jitter::Equal, 20, 30_000, 60_000),
        (Jitter::Decorrelated, 1, 1_000, 3_000),
        (Jitter::Decorrelated, 2, 1_000, 3_000),
        (Jitter::Decorrelated, 4, 1_000, 12_000),
        (Jitter::Decorrelated, 20, 1_000, 60_000),
    ] {
        let policy = policy(1_000, 60_000, jitter);
        let (shortest, longest) = spread(|| policy.delay(failures));
        assert!(
            shortest >= ms(low) && longest <= ms(high),
            "{jitter:?} {failures}: {shortest:?} {longest:?}"
        );
        let slack = ms((high - low) / 20);
        assert!(
            shortest <= ms(low) + slack && longest >= ms(high) - slack,
            "{jitter:?} {failures} leaves out part of its range: {shortest:?} {longest:?}"
        );
    }
}

#[test]
fn many_failures_reach_the_maximum_whatever_the_base() {
    // a base so short that no 32-bit factor reaches the maximum
    let policy = RetryPolicy::new(Duration::from_nanos(1), Duration::from_secs(30), Jitter::Equal).unwrap();
    for failures in [40, 1_000, u32::MAX] {
        assert!(policy.delay(failures) >= Duration::from_secs(15));
    }
}

#[test]
fn bounds_are_checked() {
    for (base, max) in [(0, 1), (2, 1), (0, 0)] {
        let policy = RetryPolicy::new(Duration::from_secs(base), Duration::from_secs(max), Jitter::Full);
        assert_eq!(policy.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(policy(1, 1, Jitter::Full).max(), Duration::from_millis(1));
}

#[test]
fn backoff_counts_and_starts_over() {
    let mut backoff = Backoff::new(policy(10, 1_000_000, Jitter::Equal));
    for failure in 1..=8u32 {
        let ceiling = Duration::from_millis(10 << (failure - 1));
        let delay = backoff.next_delay();
        assert!(delay >= ceiling / 2 && delay <= ceiling, "{failure}: {delay:?}");
        assert_eq!(backoff.failures(), failure);
    }
    backoff.reset();
    assert_eq!(backoff.failures(), 0);
    assert!(backoff.next_delay() <= Duration::from_millis(10));
}

#[test]
fn by_default_an_event_outlasts_a_short_outage_of_what_it_depends_on() {
    let policy = RetryPolicy::default();
    let failures = EventLimits::default().max_attempts;
    let (shortest, longest) = spread(|| (1..failures).map(|failures| policy.delay(failures)).sum());
    assert!(shortest >= Duration::from_secs(155) && longest <= Duration::from_secs(310));
    assert_eq!(policy.max(), Duration::from_secs(3600));
}

proptest! {
    #[test]
    fn a_delay_is_never_above_the_maximum(
        base in 1u64..=u64::MAX, above in 0u64..=u64::MAX, failures in any::<u32>(), jitter in prop::sample::select(&JITTERS[..]),
    ) {
        let (base, max) = (Duration::from_nanos(base), Duration::from_nanos(base).saturating_add(Duration::from_secs(above)));
        let policy = RetryPolicy::new(base, max, jitter).unwrap();
        for failures in [0, 1, failures, u32::MAX] {
            prop_assert!(policy.delay(failures) <= max);
        }
    }

    #[test]
    fn decorrelated_is_between_base_and_thrice_the_previous(base in 1u64..10_000, factor in 1u64..10_000) {
        let (base, max) = (Duration::from_millis(base), Duration::from_millis(base * factor));
        let mut backoff = Backoff::new(RetryPolicy::new(base, max, Jitter::Decorrelated).unwrap());
        let mut previous = base;
        for _ in 0..50 {
            let delay = backoff.next_delay();
            prop_assert!(delay >= base && delay <= (previous * 3).min(max), "{delay:?} after {previous:?}");
            previous = delay;
        }
    }
}

#[test]
fn the_longest_durations_do_not_overflow() {
    for jitter in JITTERS {
        let policy = RetryPolicy::new(Duration::MAX, Duration::MAX, jitter).unwrap();
        let mut backoff = Backoff::new(policy);
        for failures in [0, 1, 2, u32::MAX] {
            let _ = policy.delay(failures);
            let _ = backoff.next_delay();
        }
    }
}
