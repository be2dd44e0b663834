//! Numbers for statements.

use std::collections::BTreeMap;
use std::time::Duration;

use omni_box_core::{Attempt, Event, EventStatus, Failure, NewOutboxEvent, OmniBoxDomainService, Retry};
use omni_box_sql::{Outcome, fair_share, micros, moment, stored};

#[test]
fn a_failure_is_three_numbers() {
    let second = Duration::from_secs(1);
    for (attempt, retry, outcome) in [
        (Attempt::Counted, Retry::After(second), Outcome { charge: 1, kind: 0, delay: second }),
        (Attempt::Free, Retry::OnRequest, Outcome { charge: 0, kind: 1, delay: Duration::ZERO }),
        (Attempt::Counted, Retry::Never, Outcome { charge: 1, kind: 2, delay: Duration::ZERO }),
    ] {
        assert_eq!(Outcome::from(&Failure::new("it broke", attempt, retry)), outcome);
    }
}

#[test]
fn no_length_of_time_is_too_long() {
    assert_eq!(micros(Duration::from_millis(7)), 7000);
    let century = micros(Duration::from_secs(100 * 365 * 24 * 60 * 60));
    assert_eq!(micros(Duration::MAX), century);
    assert_eq!(moment(century).timestamp_micros(), century);
}

#[test]
fn lanes_are_shared_so_that_none_is_left() {
    assert_eq!([1, 3, 5, 16, 17].map(|alive| fair_share(16, alive)), [16, 6, 4, 1, 1]);
    assert_eq!((fair_share(16, 0), fair_share(0, 3), fair_share(-1, -1)), (16, 0, 0));
}

#[test]
fn what_is_stored_has_the_times_of_the_database() {
    let new = NewOutboxEvent::new("order.placed", "orders", &BTreeMap::from([("id", 7)]));
    let event = OmniBoxDomainService::default().create_outbox_event(new).unwrap();
    let stored = stored(&event, moment(5), moment(9));
    assert_eq!(stored.record(), event.record());
    let life = stored.lifecycle();
    assert_eq!((life.status(), life.scheduled_at()), (EventStatus::Pending, Some(moment(5))));
    assert_eq!((life.created_at(), life.updated_at()), (moment(9), moment(9)));
}
