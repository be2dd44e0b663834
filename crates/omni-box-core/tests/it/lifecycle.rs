//! No sequence of calls breaks an invariant of an event's life.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use omni_box_core::{
    Event, EventStatus, InboxEvent, Lifecycle, LifecycleRecord, Lock, OmniBoxDomainService, OutboxEvent,
    OutboxRecord, WorkerId,
};
use proptest::prelude::*;

use crate::{create, inbox_event, new_event};

const HOUR: Duration = Duration::from_secs(3_600);

#[derive(Debug, Clone)]
enum Call {
    Lock(usize, Duration),
    Refresh(usize),
    Unlock(usize),
    ForceUnlock,
    Complete,
    Fail,
    FailForGood,
}

fn call() -> impl Strategy<Value = Call> {
    let ttl = prop::sample::select(vec![Duration::ZERO, HOUR]);
    prop_oneof![
        4 => (0..2usize, ttl).prop_map(|(worker, ttl)| Call::Lock(worker, ttl)),
        2 => (0..2usize).prop_map(Call::Refresh),
        2 => (0..2usize).prop_map(Call::Unlock),
        1 => Just(Call::ForceUnlock),
        1 => Just(Call::Complete),
        4 => Just(Call::Fail),
        1 => Just(Call::FailForGood),
    ]
}

fn workers() -> [WorkerId; 2] {
    ["a", "b"].map(|name| WorkerId::new(name).unwrap())
}

fn apply<E: Event>(domain: &OmniBoxDomainService, event: &mut E, call: &Call) -> bool {
    let workers = workers();
    match call {
        Call::Lock(worker, ttl) => domain.lock_event(event, &workers[*worker], *ttl),
        Call::Refresh(worker) => domain.refresh_lock(event, &workers[*worker]),
        Call::Unlock(worker) => domain.unlock_event(event, &workers[*worker]),
        Call::ForceUnlock => domain.force_unlock(event, "operator"),
        Call::Complete => domain.mark_completed(event),
        Call::Fail => domain.mark_failed(event, "no"),
        Call::FailForGood => domain.mark_failed_permanently(event, "never"),
    }
    .is_ok()
}

fn check_invariants<E: Event>(domain: &OmniBoxDomainService, event: &E) {
    let life = event.lifecycle();
    assert_eq!(event.status() == EventStatus::Completed, life.completed_at().is_some());
    assert!(life.lock().is_none() || event.status() == EventStatus::Pending);
    assert!(life.attempts_made() <= life.max_attempts());
    assert_eq!(life.attempts_left(), life.max_attempts() - life.attempts_made());
    assert_eq!(domain.attempts_left(event), life.attempts_left());
    assert_eq!(domain.can_retry(event), event.status() == EventStatus::Pending && life.attempts_left() > 0);
    assert!(!domain.is_lock_stale(event, HOUR) || life.lock().is_some());
    assert!(life.updated_at() >= life.created_at());
}

/// Runs calls, and compares what happened with what the rules of each call say.
fn check_calls<E: Event + PartialEq + std::fmt::Debug>(mut event: E, calls: &[Call]) {
    let domain = OmniBoxDomainService::default();
    check_invariants(&domain, &event);
    for call in calls {
        let before = event.clone();
        let life = before.lifecycle();
        let pending = before.status() == EventStatus::Pending;
        let holder = life.lock().map(|lock| lock.by.clone());
        let held_by = |worker: &usize| holder.as_ref() == Some(&workers()[*worker]);

        let done = apply(&domain, &mut event, call);
        check_invariants(&domain, &event);
        assert_eq!(event.id(), before.id());
        match call {
            // with a TTL of zero every older lock is stale, but the clock may not have moved
            Call::Lock(worker, ttl) if pending && holder.is_some() && !held_by(worker) && ttl.is_zero() => {}
            Call::Lock(worker, _) => assert_eq!(done, pending && (holder.is_none() || held_by(worker))),
            Call::Refresh(worker) | Call::Unlock(worker) => assert_eq!(done, held_by(worker)),
            _ => assert_eq!(done, pending),
        }
        if !done {
            assert_eq!(event, before, "a refused call changes nothing");
            continue;
        }
        let after = event.lifecycle();
        assert_eq!(
            after.attempts_made() - life.attempts_made(),
            u32::from(matches!(call, Call::Fail)),
            "only a counted failure costs an attempt"
        );
        match call {
            Call::Lock(worker, _) | Call::Refresh(worker) => {
                assert_eq!(after.lock().unwrap().by, workers()[*worker]);
            }
            Call::Unlock(_) => assert!(after.lock().is_none() && event.status() == EventStatus::Pending),
            Call::ForceUnlock => {
                assert!(after.lock().is_none() && event.status() == EventStatus::Pending);
                assert_eq!(after.last_error(), Some("operator"));
            }
            Call::Complete => assert_eq!(event.status(), EventStatus::Completed),
            Call::Fail => {
                let given_up = after.attempts_left() == 0;
                assert_eq!(event.status() == EventStatus::Failed, given_up);
                assert!(after.lock().is_none());
                assert_eq!(after.last_error(), Some("no"));
            }
            Call::FailForGood => assert_eq!(event.status(), EventStatus::Failed),
        }
    }
}

fn record(status: EventStatus, attempts_made: u32, max_attempts: u32) -> LifecycleRecord {
    let now = Utc::now();
    LifecycleRecord {
        status,
        attempts_made,
        max_attempts,
        last_error: None,
        scheduled_at: None,
        completed_at: None,
        lock: None,
        created_at: now,
        updated_at: now,
    }
}

fn restored(life: LifecycleRecord) -> OutboxEvent {
    let event = create(new_event()).unwrap();
    let record = OutboxRecord {
        id: event.id(),
        content: event.content().clone(),
        aggregate_type: None,
        aggregate_id: None,
        topic: event.topic().into(),
        partition_key: None,
    };
    OutboxEvent::restore(record, Lifecycle::from(life))
}

proptest! {
    #[test]
    fn outbox(calls in prop::collection::vec(call(), 0..40), max_attempts in 1..5u32) {
        check_calls(create(new_event().max_attempts(max_attempts)).unwrap(), &calls);
    }

    #[test]
    fn inbox(calls in prop::collection::vec(call(), 0..40)) {
        let event: InboxEvent = inbox_event("null");
        check_calls(event, &calls);
    }

    /// Whatever columns a foreign writer leaves, the event read from them keeps the invariants.
    #[test]
    fn any_row(
        status in prop::sample::select(vec![EventStatus::Pending, EventStatus::Completed, EventStatus::Failed]),
        attempts in prop::sample::select(vec![0, 1, 5, u32::MAX]),
        max in prop::sample::select(vec![0, 1, 5, u32::MAX]),
        completed in any::<bool>(),
        locked in any::<bool>(),
        calls in prop::collection::vec(call(), 0..20),
    ) {
        let mut row = record(status, attempts, max);
        row.completed_at = completed.then_some(row.created_at);
        row.lock = locked.then(|| Lock { by: workers()[0].clone(), at: row.created_at });
        let domain = OmniBoxDomainService::default();
        let mut event = restored(row);
        prop_assert_eq!(event.status(), status);
        check_invariants(&domain, &event);
        for call in &calls {
            apply(&domain, &mut event, call);
            check_invariants(&domain, &event);
        }
    }
}

#[test]
fn a_stale_lock_is_taken_over() {
    let domain = OmniBoxDomainService::default();
    let [a, b] = workers();
    let locked = |at: DateTime<Utc>| {
        let mut row = record(EventStatus::Pending, 0, 6);
        row.lock = Some(Lock { by: a.clone(), at });
        restored(row)
    };
    let mut stale = locked(Utc::now() - TimeDelta::minutes(61));
    assert!(domain.is_lock_stale(&stale, HOUR));
    domain.lock_event(&mut stale, &b, HOUR).unwrap();
    assert_eq!(stale.lifecycle().lock().unwrap().by, b);
    assert_eq!(
        domain.refresh_lock(&mut stale, &a).unwrap_err().to_string(),
        "event is locked by b, not by a"
    );

    // of another worker's clock that is ahead, nothing is stale
    for at in [Utc::now() - TimeDelta::minutes(59), Utc::now() + TimeDelta::hours(5)] {
        let mut fresh = locked(at);
        assert!(!domain.is_lock_stale(&fresh, HOUR));
        assert_eq!(domain.lock_event(&mut fresh, &b, HOUR).unwrap_err().to_string(), "event is locked by a");
    }
}

#[test]
fn a_refusal_says_why() {
    let domain = OmniBoxDomainService::default();
    let mut event = create(new_event()).unwrap();
    let [a, _] = workers();
    assert_eq!(domain.unlock_event(&mut event, &a).unwrap_err().to_string(), "event is not locked by a");
    domain.mark_completed(&mut event).unwrap();
    for (refused, text) in [
        (domain.mark_completed(&mut event), "event is completed, only a pending event can be completed"),
        (domain.mark_failed(&mut event, "no"), "event is completed, only a pending event can be failed"),
        (domain.lock_event(&mut event, &a, HOUR), "event is completed, only a pending event can be locked"),
        (domain.force_unlock(&mut event, "no"), "event is completed, only a pending event can be unlocked"),
    ] {
        assert_eq!(refused.unwrap_err().to_string(), text);
    }
}

#[test]
fn status_is_read_from_its_text() {
    for status in [EventStatus::Pending, EventStatus::Completed, EventStatus::Failed] {
        assert_eq!(status.as_str().parse::<EventStatus>().unwrap(), status);
    }
    "Pending".parse::<EventStatus>().unwrap_err();
}
