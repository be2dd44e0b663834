//! Messages behind a worker that was killed: an attempt is counted before each, and is charged only for what may have ended a process.

use std::time::Duration;

use omni_box_core::EventStatus::{self, Completed, Failed, Pending};
use omni_box_core::{BatchSize, Event, InboxContext};
use omni_box_pipeline::{InboxWorker, on};
use omni_box_testkit::{FaultPlan, Faulty, MemoryStore, Operation};

use super::letters::with_a_message;
use super::rule::Rule;
use super::side::{LONG, Side, group};
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

async fn nothing(_cx: InboxContext<'_, Faulty<MemoryStore>>) {}

/// An attempt that is counted ends the claim of its row, and the message is still its worker's.
#[tokio::test(start_paused = true)]
async fn what_is_started_behind_a_crash_is_left_alone_by_others() {
    let (store, size) = (with_a_message().await, BatchSize::new(10).unwrap());
    let worker = |plan: &FaultPlan| {
        InboxWorker::builder(Faulty::new(store.clone(), plan))
            .consumer_group(group())
            .lease_ttl(Duration::from_secs(40))
            .handler(on("order.placed", nothing))
            .build()
            .unwrap()
    };
    let plan = FaultPlan::new();
    plan.on(Operation::Begin).nth(1).freeze_before();
    let gone = worker(&plan);
    tokio::select! {
        _ = gone.process_batch(size) => panic!("it went on"),
        () = plan.until_frozen() => {}
    }
    drop(gone);
    // the claim of the one that is gone has to end
    store.clock().advance(Duration::from_secs(60));

    let plan = FaultPlan::new();
    plan.on(Operation::Commit).nth(1).freeze_after();
    let (careful, other) = (worker(&plan), worker(&FaultPlan::new()));
    let handling = tokio::spawn(async move { careful.process_batch(size).await });
    plan.until_frozen().await;
    assert_eq!(store.inbox_events()[0].lifecycle().attempts_made(), 1, "its attempt is counted");
    assert!(other.process_batch(size).await.unwrap().is_empty(), "another worker takes it");
    plan.release();
    assert_eq!(handling.await.unwrap().unwrap().processed_event_ids.len(), 1);
    let [message] = &store.inbox_events()[..] else { panic!("{:?}", store.inbox_events()) };
    assert_eq!((message.status(), message.lifecycle().attempts_made()), (Completed, 1));
}
