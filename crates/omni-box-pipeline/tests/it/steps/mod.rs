//! Steps on every side: what each decision makes of its event, of those behind it, and of their attempts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod breaker;
mod careful;
mod copies;
mod copy_turns;
mod dry_run;
mod letters;
mod log;
mod processor;
mod ready;
mod rule;
mod side;
mod untouched;

use std::time::Duration;

use omni_box_core::EventStatus;
use omni_box_harness::eventually;
use omni_box_pipeline::Outcome;

use rule::{Rule, Ruled};
use side::{LONG, Side};

/// The event that the rule is for, one of its key behind it, and one of another key.
const EVENTS: [(&str, &str); 3] = [("special", "a"), ("follower", "a"), ("other", "b")];

/// Starts a side with a rule for the special event, and waits until the rule was asked about it.
async fn started(side: &Side, rule: Rule) -> (Ruled, side::Running) {
    let ruled = Ruled::new(rule);
    for (name, key) in EVENTS {
        side.add(name, key).await;
    }
    let running = side.start(ruled.clone()).await;
    eventually(LONG, async || ruled.asked() > 0).await;
    (ruled, running)
}

async fn done(side: &Side, names: &[&str]) {
    eventually(LONG, async || names.iter().all(|name| side.done().contains(&(*name).to_owned()))).await;
}

/// The event is handled or sent once the rule is over, and its key was in order.
async fn goes_on(side: &Side, ruled: &Ruled) {
    ruled.over();
    done(side, &["special", "follower", "other"]).await;
    let order: Vec<String> = side.done().into_iter().filter(|name| name != "other").collect();
    assert_eq!(order, ["special", "follower"], "{side:?}: the order of the key");
    eventually(LONG, async || side.row("special").map(|row| row.0) == Some(EventStatus::Completed)).await;
}

#[tokio::test]
async fn next_lets_an_event_through() {
    for side in Side::all() {
        let (ruled, running) = started(&side, Rule::Next).await;
        goes_on(&side, &ruled).await;
        running.stop().await;
        let outcome = if side.is_outbox() { Outcome::Published } else { Outcome::Completed };
        for (name, _) in EVENTS {
            assert_eq!(ruled.ends(name), [outcome], "{side:?}: {name} ends once");
            assert_eq!(side.row(name).unwrap().1, 0, "{side:?}: attempts of {name}");
        }
        eventually(LONG, async || ruled.batch_ends() == 3).await;
        assert!(ruled.batch_starts() > 0, "{side:?}");
    }
}

#[tokio::test]
async fn skip_holds_the_key_at_no_cost() {
    for side in Side::all() {
        let (ruled, running) = started(&side, Rule::Skip).await;
        done(&side, &["other"]).await;
        eventually(LONG, async || ruled.asked() > 1).await;
        assert_eq!(side.done(), ["other"], "{side:?}: the follower waits");
        let (status, attempts, error) = side.row("special").unwrap();
        assert_eq!((status, attempts), (EventStatus::Pending, 0), "{side:?}");
        assert!(error.unwrap().contains("put off by step Ruled"), "{side:?}");
        goes_on(&side, &ruled).await;
        running.stop().await;
        assert!(ruled.ends("special").starts_with(&[Outcome::Retried]), "{side:?}");
        assert_eq!(side.row("special").unwrap().1, 0, "{side:?}");
    }
}

#[tokio::test]
async fn complete_neither_handles_nor_sends() {
    for side in Side::all() {
        let (ruled, running) = started(&side, Rule::Complete).await;
        done(&side, &["follower", "other"]).await;
        eventually(LONG, async || side.row("special").unwrap().0 == EventStatus::Completed).await;
        running.stop().await;
        assert!(!side.done().contains(&"special".to_owned()), "{side:?}");
        assert_eq!(ruled.ends("special"), [Outcome::Skipped], "{side:?}");
    }
}

#[tokio::test]
async fn fail_gives_up_with_the_reason() {
    for side in Side::all() {
        let (ruled, running) = started(&side, Rule::Fail).await;
        done(&side, &["follower", "other"]).await;
        eventually(LONG, async || side.row("special").unwrap().0 == EventStatus::Failed).await;
        running.stop().await;
        assert!(!side.done().contains(&"special".to_owned()), "{side:?}");
        assert!(side.row("special").unwrap().2.unwrap().contains("step Ruled: unwanted"), "{side:?}");
        assert_eq!(ruled.ends("special"), [Outcome::Failed], "{side:?}");
    }
}

#[tokio::test]
async fn stop_lets_nothing_through_and_charges_nothing() {
    for side in Side::all() {
        for rule in [Rule::Stop, Rule::StopFor(Duration::from_millis(20))] {
            let side = side.anew();
            let (ruled, running) = started(&side, rule).await;
            // an outbox is stopped more often than an event's own fault takes to show; an inbox waits longer from stop to stop
            let stops = if side.is_outbox() { 7 } else { 3 };
            eventually(LONG, async || ruled.asked() > stops).await;
            // claims of rows have no order among keys, so what is of another key may have come before
            let after: Vec<String> =
                side.done().into_iter().filter(|name| !(side.is_rows() && name == "other")).collect();
            assert_eq!(after, Vec::<String>::new(), "{side:?}: nothing behind it goes on");
            goes_on(&side, &ruled).await;
            running.stop().await;
            for (name, _) in EVENTS {
                assert_eq!(side.row(name).unwrap().1, 0, "{side:?}: attempts of {name}");
            }
        }
    }
}

#[tokio::test]
async fn a_step_that_panics_fails_the_event() {
    for side in Side::all() {
        let (ruled, running) = started(&side, Rule::Panic).await;
        eventually(LONG, async || side.row("special").is_some_and(|row| row.1 > 0)).await;
        assert!(side.row("special").unwrap().2.unwrap().contains("step Ruled panicked"), "{side:?}");
        goes_on(&side, &ruled).await;
        running.stop().await;
        assert!(ruled.ends("special").starts_with(&[Outcome::Retried]), "{side:?}");
    }
}

#[tokio::test]
async fn a_step_that_does_not_return_fails_the_event() {
    for side in Side::all() {
        let (ruled, running) = started(&side, Rule::Never).await;
        eventually(LONG, async || side.row("special").is_some_and(|row| row.1 > 0)).await;
        assert!(side.row("special").unwrap().2.unwrap().contains("step Ruled took longer"), "{side:?}");
        goes_on(&side, &ruled).await;
        running.stop().await;
    }
}
