//! [`Breakers`](omni_box_core::store::Breakers): processes share the state of a circuit breaker.

use std::time::Duration;

use omni_box_core::store::{BreakerReport, BreakerState, Breakers};
use omni_box_core::{OwnerId, Store};

use super::StoreFixture;
use super::table::{HOUR, MINUTE};
use super::transaction::retried;

const NAME: &str = "payments";
const THRESHOLD: u32 = 3;

/// A breaker as one process sees it.
struct Seen<S>(S);

impl<S: Store> Seen<S> {
    async fn by<F: StoreFixture<Store = S>>(fixture: &F) -> Self {
        Self(fixture.open().await)
    }

    fn breakers(&self) -> &dyn Breakers {
        self.0.breakers().expect("a store that is tested for breakers has them")
    }

    /// Asks with a trial of a minute.
    async fn admit(&self, asker: OwnerId) -> BreakerState {
        self.admit_by(NAME, asker).await
    }

    async fn admit_by(&self, name: &str, asker: OwnerId) -> BreakerState {
        retried("ask a breaker", async || self.breakers().admit(name, asker, MINUTE).await).await
    }

    /// Reports with a recovery of an hour.
    async fn report(&self, trial: Option<OwnerId>, has_succeeded: bool, failures: u32) -> BreakerState {
        let report = BreakerReport { trial, has_succeeded, failures, threshold: THRESHOLD, recovery: HOUR };
        retried("report to a breaker", async || self.breakers().report(NAME, &report).await).await
    }
}

fn closed(failures: u32) -> BreakerState {
    BreakerState::Closed { failures }
}

/// Whether it is open for about so long.
fn is_open(state: BreakerState, expected: Duration) -> bool {
    match state {
        BreakerState::Open { rest } => rest <= expected && rest + MINUTE > expected,
        _ => false,
    }
}

/// `report`: failures in a row of all processes open a breaker for all of them; a success begins the row anew.
pub async fn failures_of_all_open_a_breaker<F: StoreFixture>(fixture: F) {
    let (one, other) = (Seen::by(&fixture).await, Seen::by(&fixture).await);
    let asker = OwnerId::generate();
    assert_eq!(one.admit(asker).await, closed(0), "a breaker that nothing was reported of is closed");
    assert_eq!(one.report(None, false, 2).await, closed(2), "two failures are below three");
    assert_eq!(other.admit(asker).await, closed(2), "another process sees the failures");
    assert_eq!(other.report(None, true, 1).await, closed(1), "a success ends the row, one failed after it");
    assert_eq!(one.report(None, false, 1).await, closed(2), "another process's failure is added");
    let opened = one.report(None, false, 1).await;
    assert!(is_open(opened, HOUR), "the third in a row opens it for an hour: {opened:?}");
    let seen = other.admit(OwnerId::generate()).await;
    assert!(is_open(seen, HOUR), "the other process sees it open: {seen:?}");
    assert_eq!(other.admit_by("mail", asker).await, closed(0), "a breaker of another name is another one");
}

/// `admit`: of all that ask when the time is over, one has the trial, until that is over.
pub async fn one_of_all_has_the_trial<F: StoreFixture>(fixture: F) {
    let (one, other) = (Seen::by(&fixture).await, Seen::by(&fixture).await);
    one.report(None, false, THRESHOLD).await;
    fixture.advance(HOUR + MINUTE).await;
    let [a, b, c, d] = [0; 4].map(|_| OwnerId::generate());
    let states = tokio::join!(one.admit(a), other.admit(b), one.admit(c), other.admit(d));
    let states = [states.0, states.1, states.2, states.3];
    let trials = states.iter().filter(|state| **state == BreakerState::Trial).count();
    assert_eq!(trials, 1, "one of those that ask at once has the trial: {states:?}");
    for state in states.into_iter().filter(|state| *state != BreakerState::Trial) {
        assert!(is_open(state, Duration::ZERO), "to the others it is open: {state:?}");
    }
    fixture.advance(2 * MINUTE).await;
    let later = other.admit(OwnerId::generate()).await;
    assert_eq!(later, BreakerState::Trial, "a trial whose holder is gone is another one's when it is over");
}

/// `report`: of an open breaker only the holder of its trial is heard.
pub async fn an_open_breaker_hears_its_trial_alone<F: StoreFixture>(fixture: F) {
    let (one, other) = (Seen::by(&fixture).await, Seen::by(&fixture).await);
    one.report(None, false, THRESHOLD).await;
    let late = other.report(None, true, 0).await;
    assert!(is_open(late, HOUR), "a success that began before does not close it: {late:?}");
    fixture.advance(HOUR + MINUTE).await;
    let [first, second, third] = [0; 3].map(|_| OwnerId::generate());
    assert_eq!(one.admit(first).await, BreakerState::Trial, "its time is over");
    let stranger = other.report(Some(OwnerId::generate()), true, 0).await;
    assert!(is_open(stranger, Duration::ZERO), "another one's trial closes nothing: {stranger:?}");
    one.report(Some(first), false, 0).await;
    assert_eq!(other.admit(second).await, BreakerState::Trial, "a trial without an outcome is free at once");
    let failed = other.report(Some(second), false, 1).await;
    assert!(is_open(failed, HOUR), "a trial that failed opens it anew: {failed:?}");
    fixture.advance(HOUR + MINUTE).await;
    assert_eq!(one.admit(third).await, BreakerState::Trial, "its time is over again");
    assert_eq!(one.report(Some(third), true, 0).await, closed(0), "a trial that succeeded closes it");
    assert_eq!(other.admit(first).await, closed(0), "for all");
}
