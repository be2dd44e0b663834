//! What is logged of what steps decide, on every side.

use std::time::Duration;

use omni_box_core::EventStatus;
use omni_box_harness::{Log, eventually};

use super::rule::Rule;
use super::side::{LONG, Side};
use super::{goes_on, started};

/// How often the special event was said to be given up, how often the step was said to stop all, and how often that was said to be over.
fn told(log: &Log) -> (usize, usize, usize) {
    let lines = log.events();
    let count = |text: &str, fields: &[(&str, &str)]| {
        let has = |line: &&std::collections::BTreeMap<&'static str, String>| {
            let is = |field: &str, value: &str| line.get(field).is_some_and(|found| found.as_str() == value);
            is("message", text) && fields.iter().all(|(field, value)| is(field, value))
        };
        lines.iter().filter(has).count()
    };
    let special = ("event_type", "special");
    (
        count("message was given up and is kept", &[special])
            + count("event was not published", &[special, ("retry", "Never")]),
        count("unavailable, waiting", &[("gate", "step"), ("call", "Ruled")]),
        count("available again", &[("gate", "step")]),
    )
}

#[tokio::test]
async fn only_what_is_given_up_and_what_stops_is_logged_once() {
    let rules = [
        (Rule::Next, (0, 0, 0)),
        (Rule::Skip, (0, 0, 0)),
        (Rule::Complete, (0, 0, 0)),
        (Rule::Fail, (1, 0, 0)),
        (Rule::Stop, (0, 1, 1)),
        (Rule::StopFor(Duration::from_millis(20)), (0, 1, 1)),
        (Rule::Panic, (0, 0, 0)),
        (Rule::Never, (0, 0, 0)),
    ];
    for side in Side::all() {
        for (rule, expected) in rules {
            let (side, log) = (side.anew(), Log::listen());
            let (ruled, running) = started(&side, rule).await;
            match rule {
                Rule::Complete => {
                    eventually(LONG, async || side.row("special").unwrap().0 == EventStatus::Completed).await;
                }
                Rule::Fail => {
                    eventually(LONG, async || side.row("special").unwrap().0 == EventStatus::Failed).await;
                }
                Rule::Next => goes_on(&side, &ruled).await,
                _ => {
                    eventually(LONG, async || ruled.asked() > 2).await;
                    goes_on(&side, &ruled).await;
                }
            }
            running.stop().await;
            let secrets = log.events().iter().flat_map(|line| line.values().cloned()).collect::<Vec<_>>();
            assert!(!secrets.iter().any(|text| text.contains(r#""name""#)), "{side:?}, {rule:?}: a payload");
            assert_eq!(told(&log), expected, "{side:?}, {rule:?}: given up, stopped, over");
        }
    }
}
