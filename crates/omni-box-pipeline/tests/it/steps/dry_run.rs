//! Steps without a worker: they hear what they hear from one.

use std::time::Duration;

use omni_box_core::{Event, NewOutboxEvent, OmniBoxDomainService, OutboxEvent};
use omni_box_pipeline::{CircuitBreakerStep, DryRun, Outcome};

use super::rule::{Rule, Ruled};

fn events(names: &[&str]) -> Vec<OutboxEvent> {
    let event = |name: &&str| {
        let event = NewOutboxEvent::new(*name, "events", &serde_json::json!({"a": 1}));
        OmniBoxDomainService::default().create_outbox_event(event).unwrap()
    };
    names.iter().map(event).collect()
}

const EVENTS: [&str; 3] = ["before", "special", "behind"];

#[tokio::test(start_paused = true)]
async fn each_decision_is_what_a_worker_makes_of_it() {
    let table = [
        (Rule::Next, Some(Outcome::Published), false, None),
        (Rule::Skip, Some(Outcome::Retried), true, Some("put off by step Ruled")),
        (Rule::Complete, Some(Outcome::Skipped), false, None),
        (Rule::Fail, Some(Outcome::Failed), false, Some("step Ruled: unwanted")),
        (Rule::Stop, None, false, Some("stopped by step Ruled")),
        (Rule::StopFor(Duration::from_secs(1)), None, false, Some("stopped by step Ruled")),
        (Rule::Panic, Some(Outcome::Retried), false, Some("step Ruled panicked")),
        (Rule::Never, Some(Outcome::Retried), false, Some("step Ruled took longer than its 30s")),
    ];
    for (rule, outcome, is_free, error) in table {
        let (ruled, mut worked) = (Ruled::new(rule), Vec::new());
        let dry_run = DryRun::new().step(ruled.clone());
        let batch = events(&EVENTS);
        let results = dry_run.batch(&batch, async |event| {
            worked.push(event.event_type().to_owned());
            Outcome::Published
        });
        let results = results.await;
        let special = &results[1];
        assert_eq!(
            (special.outcome, special.is_free, special.error.as_deref()),
            (outcome, is_free, error),
            "{rule:?}"
        );
        assert_eq!(ruled.ends("special"), Vec::from_iter(outcome), "{rule:?}: it ends once, if it does");
        let is_stopped = outcome.is_none();
        let expected: &[&str] = match rule {
            Rule::Next => &EVENTS,
            _ if is_stopped => &["before"],
            _ => &["before", "behind"],
        };
        assert_eq!(worked, expected, "{rule:?}: what was let through");
        assert_eq!(results[2].outcome, (!is_stopped).then_some(Outcome::Published), "{rule:?}");
        assert_eq!(ruled.batch_starts(), 1, "{rule:?}");
        assert_eq!(
            ruled.batch_ends(),
            results.iter().filter(|end| end.outcome.is_some()).count(),
            "{rule:?}"
        );
    }
}

/// Its state lasts from batch to batch.
#[tokio::test(start_paused = true)]
async fn a_breaker_opens_and_closes_without_a_worker() {
    let minute = Duration::from_secs(60);
    let dry_run = DryRun::new().step(CircuitBreakerStep::new().failure_threshold(2).recovery_timeout(minute));
    let batch = events(&["one", "two"]);
    let outcomes = async |outcome: Outcome| -> Vec<Option<Outcome>> {
        dry_run.batch(&batch, async |_| outcome).await.iter().map(|end| end.outcome).collect()
    };
    assert_eq!(outcomes(Outcome::Failed).await, [Some(Outcome::Failed); 2]);
    assert_eq!(outcomes(Outcome::Published).await, [None; 2], "it is open");
    tokio::time::advance(minute).await;
    assert_eq!(outcomes(Outcome::Published).await, [Some(Outcome::Published), None], "one is tried");
    assert_eq!(outcomes(Outcome::Published).await, [Some(Outcome::Published); 2], "it is closed");
}
