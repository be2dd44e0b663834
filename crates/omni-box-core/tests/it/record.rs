//! Records as stores without columns keep them.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use omni_box_core::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{create, group, new_event, new_inbox};

fn again<T: Serialize + DeserializeOwned>(value: &T) -> T {
    serde_json::from_slice(&serde_json::to_vec(value).unwrap()).unwrap()
}

fn life(max_attempts: u32) -> LifecycleRecord {
    let event = create(new_event().max_attempts(max_attempts)).unwrap();
    LifecycleRecord::stored(event.lifecycle(), Utc::now())
}

fn token() -> ClaimToken {
    ClaimToken::new(&WorkerId::new("w".repeat(255)).unwrap(), OwnerId::generate())
}

#[test]
fn a_record_comes_back_as_it_was_serialized() {
    let awkward = r#"{"z":12345678901234567890,  "a":"\u00e9","f":1.10}"#;
    let event = NewOutboxEvent::from_json("order.placed", "orders", awkward)
        .partition_key("key 7 \u{1f511}")
        .aggregate("order", Uuid::now_v7())
        .header("Tenant", "blue \"quoted\"")
        .trace_id("trace");
    let event = create(event).unwrap();
    assert_eq!(again(event.record()), *event.record());
    assert_eq!(again(event.record()).content.payload.as_str(), awkward, "the payload to the byte");

    let mut life = life(6);
    life.claim(&token(), Utc::now());
    life.last_error = Some("no stock".into());
    assert_eq!(again(&life), life, "times to the nanosecond");
    life.complete(Utc::now());
    assert_eq!(again(&life), life);

    let message = new_inbox(awkward)
        .partition_key(vec![0xff, 0])
        .position(SourcePosition { topic: "orders".into(), partition: 3, offset: 1 << 40 })
        .produced_at(Utc::now())
        .digest((0..32).collect());
    let message = OmniBoxDomainService::default().create_inbox_event(message).unwrap();
    assert_eq!(again(message.record()), *message.record());
}

#[test]
fn what_breaks_a_rule_is_not_read() {
    assert!(serde_json::from_str::<WorkerId>(r#""""#).is_err(), "an empty name");
    assert!(serde_json::from_str::<Payload>(r#"{"a":"\u0000"}"#).is_err(), "what no database stores");
    assert!(serde_json::from_str::<EventStatus>(r#""Pending""#).is_err());
    for status in [EventStatus::Pending, EventStatus::Completed, EventStatus::Failed] {
        assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{}\"", status.as_str()));
    }
}

#[test]
fn a_failure_is_recorded_as_it_says() {
    let now = Utc::now();
    let mut life = life(2);
    let hour = Retry::After(Duration::from_secs(3600));
    for (attempt, expected) in [
        (Attempt::Refunded, 0),
        (Attempt::Counted, 1),
        (Attempt::Free, 1),
        (Attempt::Counted, 2),
        (Attempt::Counted, 2),
    ] {
        let mine = token();
        life.claim(&mine, now);
        assert!(life.is_claimed_by(&mine) && !life.is_claimed_by(&token()));
        life.fail(&Failure::new("no stock", attempt, hour), now);
        assert_eq!(life.attempts_made, expected, "after {attempt:?}");
        assert_eq!((life.status, &life.lock), (EventStatus::Pending, &None));
        assert_eq!(life.scheduled_at, Some(now + TimeDelta::hours(1)));
    }
    let far = [Retry::OnRequest, Retry::After(Duration::MAX)];
    for retry in far {
        life.fail(&Failure::new("no stock", Attempt::Free, retry), now);
        let due: DateTime<Utc> = life.scheduled_at.unwrap();
        assert!(due - now > TimeDelta::days(365 * 1000), "{retry:?}: a time that no clock reaches");
        assert_eq!(again(&life), life, "and that can be written");
    }
    life.fail(&Failure::new("never", Attempt::Free, Retry::Never), now);
    assert_eq!((life.status, life.last_error.as_deref()), (EventStatus::Failed, Some("never")));
}

#[test]
fn filters_let_through_what_they_name() {
    let id = Uuid::now_v7();
    let order = create(new_event().aggregate("order", id)).unwrap();
    let bare = create(new_event()).unwrap();
    let all = FetchFilters::new().topic("users").topic("orders").aggregate_type("order").aggregate_id(id);
    for (filters, passes) in [
        (FetchFilters::new(), [true, true]),
        (FetchFilters::new().topic("orders"), [true, true]),
        (FetchFilters::new().topic("users"), [false, false]),
        (all.clone(), [true, false]),
        (all.aggregate_type("user"), [true, false]),
        (FetchFilters::new().aggregate_id(Uuid::now_v7()), [false, false]),
    ] {
        assert_eq!([&order, &bare].map(|event| event.passes(&filters)), passes, "{filters:?}");
        OutboxEvent::check_filters(&filters).unwrap();
        let is_refused = InboxEvent::check_filters(&filters).is_err_and(|e| e.kind() == ErrorKind::Invalid);
        assert_eq!(is_refused, !filters.is_empty(), "{filters:?} for inbox events");
    }
    let message = OmniBoxDomainService::default().create_inbox_event(new_inbox("1")).unwrap();
    let shop = FetchFilters::new().source("shop");
    InboxEvent::check_filters(&shop).unwrap();
    assert!(!message.passes(&shop) && message.passes(&shop.clone().source("orders")));
    assert_eq!(OutboxEvent::check_filters(&shop).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn nothing_tells_a_message_without_a_digest_from_another() {
    let domain = OmniBoxDomainService::default();
    let message = |source: &str, digest: Option<u8>| {
        let content = EventContent::new("order.placed", Payload::from_text("1").unwrap());
        let event = NewInboxEvent::new("message-1", group(), source, content);
        let event = match digest {
            Some(byte) => event.digest(vec![byte; 32]),
            None => event,
        };
        domain.create_inbox_event(event).unwrap()
    };
    let stored = message("shop", Some(1));
    assert!(!stored.conflicts_with(&message("shop", Some(1))));
    assert!(stored.conflicts_with(&message("shop", Some(2))));
    assert!(stored.conflicts_with(&message("bank", Some(1))));
    assert!(!stored.conflicts_with(&message("bank", None)));
    assert!(!message("bank", None).conflicts_with(&stored));
    let (other, unknown) = (message("shop", Some(2)), message("bank", None));
    assert_eq!(Received::of(stored.clone(), &other, Duration::ZERO), Received::Conflict(stored.clone()));
    let pending = Received::Pending { event: stored.clone(), wait: Duration::ZERO };
    assert_eq!(Received::of(stored, &unknown, Duration::ZERO), pending);
}

/// Two libraries publish one event with other spaces, escapes and metadata.
#[test]
fn a_value_that_is_written_otherwise_is_the_same_if_its_payload_is() {
    let message = |payload: &str| {
        let content = EventContent::new("order.placed", Payload::from_stored(payload));
        let event = NewInboxEvent::new("message-1", group(), "shop", content).digest(payload.into());
        OmniBoxDomainService::default().create_inbox_event(event).unwrap()
    };
    let conflict = |one: &str, two: &str| message(one).conflicts_with(&message(two));
    for (one, two) in [
        (r#"{"a": 1, "b": ["é", null, 1.10]}"#, r#"{"b":["\u00e9",null,1.1],"a":1}"#),
        ("[18446744073709551615]", "[ 18446744073709551615 ]"),
    ] {
        assert!(!conflict(one, two), "{one} {two}");
    }
    let deep = |space: &str| format!("{}{space}{}", "[".repeat(5_000), "]".repeat(5_000));
    for (one, two) in [
        (r#"{"a": 1}"#, r#"{"a": 2}"#),
        (r#"{"a": 1}"#, r#"{"a": "1"}"#),
        // each is read as the same float
        (r#"{"a": 18446744073709551616}"#, r#"{"a": 18446744073709551617}"#),
        (&deep("1"), &deep("1 ")),
    ] {
        assert!(conflict(one, two), "{one} {two}");
    }
}

#[test]
fn what_a_foreign_writer_stored_is_read() {
    let long = "g".repeat(300);
    for (stored, read) in
        [("shipping", "shipping"), ("", "\u{fffd}"), ("\0", "\u{fffd}"), (&long, &long[..255])]
    {
        assert_eq!(ConsumerGroup::from_stored(stored).as_str(), read);
    }
    for (stored, read) in [(" {\"a\": 1E400} ", "{\"a\": 1E400}"), ("{\"a\"", r#""{\"a\"""#), ("", r#""""#)] {
        assert_eq!(Payload::from_stored(stored).as_str(), read);
    }
    for bad in ["", "null", "7", "[\"a\"]", "{\"a\": "] {
        assert!(Headers::from_stored(bad).is_empty(), "{bad}");
    }
}
