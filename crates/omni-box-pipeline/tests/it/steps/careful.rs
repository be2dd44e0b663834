//! Messages behind a worker that was killed: an attempt is counted before each, and is charged only for what may have ended a process.

use std::time::Duration;

use omni_box_core::EventStatus::{self, Completed, Failed, Pending};

use super::rule::Rule;
use super::side::{LONG, Side};
use super::started;

/// What an attempt is charged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charged {
    /// Nothing: no handler ran, and it comes again.
    Nothing,
    /// What was done or given up.
    Once,
    /// Each time a step was asked.
    Asked,
}
use Charged::{Asked, Nothing, Once};

const TABLE: [(Rule, &[EventStatus], Charged); 8] = [
    (Rule::Next, &[Completed], Once),
    (Rule::Skip, &[Pending], Nothing),
    (Rule::Complete, &[Completed], Once),
    (Rule::Fail, &[Failed], Once),
    (Rule::Stop, &[Pending], Nothing),
    (Rule::StopFor(Duration::from_secs(1)), &[Pending], Nothing),
    (Rule::Panic, &[Pending, Failed], Asked),
    (Rule::Never, &[Pending, Failed], Asked),
];

#[tokio::test]
async fn behind_a_crash_an_attempt_is_charged_only_when_the_handler_runs() {
    for (rule, statuses, charged) in TABLE {
        for side in Side::inboxes() {
            side.killed().await;
            let (ruled, running) = started(&side, rule).await;
            running.stop().await;
            let (status, attempts, _) = side.row("special").unwrap();
            assert!(statuses.contains(&status), "{side:?}, {rule:?}: {status:?}");
            let expected = match charged {
                Nothing => 0,
                Once => 1,
                Asked => ruled.asked() as u32,
            };
            assert_eq!(attempts, expected, "{side:?}, {rule:?}: attempts");
        }
    }
}

/// What a step stops goes alone again when it goes on, however often that was.
#[tokio::test]
async fn what_was_stopped_behind_a_crash_still_goes_alone() {
    for side in Side::inboxes() {
        side.killed().await;
        let (ruled, running) = started(&side, Rule::StopFor(Duration::from_millis(1))).await;
        // more often than so many messages go alone
        omni_box_harness::eventually(LONG, async || ruled.asked() > 70).await;
        super::goes_on(&side, &ruled).await;
        running.stop().await;
        assert_eq!(side.row("special").unwrap().1, 1, "{side:?}: counted before its handler");
    }
}
