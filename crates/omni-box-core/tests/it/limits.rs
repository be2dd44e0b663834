//! Every limit at its edge, one below and one above.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use omni_box_core::{
    BatchSize, ClaimToken, ConsumerGroup, ErrorKind, Event, EventContent, EventLimits, Headers,
    NewInboxEvent, NewOutboxEvent, OmniBoxDomainService, OwnerId, WorkerId,
};
use uuid::Uuid;

use crate::{create, new_event, new_inbox};

/// `build` sets one text field. Limits are in characters, so the edge is tried with characters of one to four bytes.
fn check_field(field: &str, limit: usize, build: impl Fn(String) -> NewOutboxEvent) {
    for character in ["x", "é", "€", "🦀"] {
        for length in [1, limit - 1, limit] {
            create(build(character.repeat(length))).unwrap();
        }
        check_refused(build(character.repeat(limit + 1)), &format!("{field} has {} characters", limit + 1));
    }
    check_refused(build(String::new()), &format!("{field} is empty"));
    check_refused(build("a\0b".into()), &format!("{field} contains a NUL"));
}

fn check_refused(event: NewOutboxEvent, start: &str) {
    let error = create(event).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().starts_with(start), "{error} does not start with {start}");
}

fn with_type(event_type: String) -> NewOutboxEvent {
    NewOutboxEvent::from_json(event_type, "orders", r#"{"a":1}"#)
}

#[test]
fn text_fields() {
    check_field("event_type", 100, with_type);
    check_field("topic", 255, |text| NewOutboxEvent::from_json("t", text, r#"{"a":1}"#));
    check_field("partition_key", 255, |text| new_event().partition_key(text));
    check_field("aggregate_type", 50, |text| new_event().aggregate(text, Uuid::nil()));
    check_field("idempotency_key", 128, |text| new_event().idempotency_key(text));
    check_field("schema_version", 50, |text| new_event().schema_version(text));
}

/// A caller often has such an id from a request of a stranger's.
#[test]
fn an_id_that_does_not_fit_is_left_out_and_costs_no_event() {
    type Set = fn(NewOutboxEvent, String) -> NewOutboxEvent;
    type Get = fn(&EventContent) -> Option<&str>;
    let ids: [(Set, Get); 3] = [
        (|event, id| event.trace_id(id), |content| content.trace_id.as_deref()),
        (|event, id| event.correlation_id(id), |content| content.correlation_id.as_deref()),
        (|event, id| event.causation_id(id), |content| content.causation_id.as_deref()),
    ];
    for (set, get) in ids {
        for character in ["x", "é", "€", "🦀"] {
            for length in [1, 63, 64] {
                let id = character.repeat(length);
                let event = create(set(new_event(), id.clone())).unwrap();
                assert_eq!(get(event.content()), Some(id.as_str()));
            }
            let event = create(set(new_event(), character.repeat(65))).unwrap();
            assert_eq!(get(event.content()), None);
        }
        for unfit in ["", "a\0b"] {
            let event = create(set(new_event(), unfit.to_owned())).unwrap();
            assert_eq!(get(event.content()), None);
        }
    }
}

/// Then the conversation of the message that caused the event goes on.
#[test]
fn an_id_that_does_not_fit_is_as_one_that_is_not_set() {
    let mut content = EventContent::new("order.placed", omni_box_core::Payload::null());
    content.correlation_id = Some("conversation".to_owned());
    let group = ConsumerGroup::new("g").unwrap();
    let cause = OmniBoxDomainService::default()
        .create_inbox_event(NewInboxEvent::new("m", group, "s", content))
        .unwrap();
    let event = create(new_event().correlation_id("").caused_by(&cause)).unwrap();
    assert_eq!(event.content().correlation_id.as_deref(), Some("conversation"));
}

#[test]
fn limits_are_configurable() {
    let mut limits = EventLimits::default();
    limits.event_type = 3;
    limits.payload_bytes = 9;
    limits.max_attempts = 2;
    let domain = OmniBoxDomainService::new(limits);
    let event = domain.create_outbox_event(with_type("abc".into()).max_attempts(9)).unwrap();
    assert_eq!(event.lifecycle().max_attempts(), 9);
    domain.create_outbox_event(with_type("abcd".into())).unwrap_err();
    domain.create_outbox_event(NewOutboxEvent::from_json("abc", "t", r#"{"abc":1}"#)).unwrap();
    domain.create_outbox_event(NewOutboxEvent::from_json("abc", "t", r#"{"abcd":1}"#)).unwrap_err();
}

#[test]
fn max_attempts() {
    for attempts in [1, i32::MAX as u32] {
        assert_eq!(create(new_event().max_attempts(attempts)).unwrap().lifecycle().max_attempts(), attempts);
    }
    assert_eq!(create(new_event()).unwrap().lifecycle().max_attempts(), 6);
    let domain = OmniBoxDomainService::default();
    for attempts in [0, i32::MAX as u32 + 1, u32::MAX] {
        check_refused(new_event().max_attempts(attempts), "max_attempts is ");
        domain.create_inbox_event(new_inbox("{}").max_attempts(attempts)).unwrap_err();
    }

    let mut limits = EventLimits::default();
    limits.max_attempts = 0;
    let domain = OmniBoxDomainService::new(limits);
    assert_eq!(domain.create_outbox_event(new_event()).unwrap().lifecycle().max_attempts(), 1);
    assert_eq!(domain.create_inbox_event(new_inbox("{}")).unwrap().lifecycle().max_attempts(), 1);
}

/// The exact edges are tested beside the code, where the clock can be stopped.
#[test]
fn schedule() {
    for seconds in [-59, 0, 365 * 24 * 3600] {
        let at = Utc::now() + TimeDelta::seconds(seconds);
        assert_eq!(create(new_event().scheduled_at(at)).unwrap().lifecycle().scheduled_at(), Some(at));
    }
    for seconds in [-61, 365 * 24 * 3600 + 60] {
        check_refused(new_event().scheduled_at(Utc::now() + TimeDelta::seconds(seconds)), "scheduled_at ");
    }
    assert_eq!(create(new_event()).unwrap().lifecycle().scheduled_at(), None);
}

fn with_header(key: &str, value: &str) -> NewOutboxEvent {
    new_event().header(key, value)
}

#[test]
fn headers() {
    let many = |count| (0..count).map(|n| (format!("h{n}"), "v")).collect::<Headers>();
    for count in [0, 99, 100] {
        assert_eq!(create(new_event().headers(many(count))).unwrap().headers().len(), count);
    }
    check_refused(new_event().headers(many(101)), "101 headers, at most 100");

    for character in ["k", "é", "🦀"] {
        create(with_header(&character.repeat(64), "")).unwrap();
        check_refused(with_header(&character.repeat(65), ""), "a header key has 65 characters");
        create(with_header("key", &character.repeat(512))).unwrap();
        check_refused(with_header("key", &character.repeat(513)), "the value of header \"key\" has 513");
    }
    check_refused(with_header("", "v"), "a header key has 0 characters");
    for control in ["\0", "\n", "\r", "\t", "\u{7f}", "\u{85}"] {
        check_refused(with_header(&format!("k{control}"), "v"), "header ");
        check_refused(with_header("k", &format!("v{control}")), "header \"k\" or its value has a control");
    }
    for reserved in ["event_id", "Event_Type", "SCHEMA_VERSION", "trace_id", "correlation_id", "causation_id"]
    {
        check_refused(with_header(reserved, "v"), &format!("header {reserved:?} is set from"));
    }
    create(with_header("event_ids", "v")).unwrap();
    check_refused(with_header("Tenant", "1").header("tENANT", "2"), "header \"tENANT\" appears twice");
    check_refused(with_header("É", "1").header("é", "2"), "header \"é\" appears twice");
}

#[test]
fn header_values_stay_out_of_errors_and_debug() {
    let error = create(with_header("authorization", "s3cret\n")).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"));
    let event = create(with_header("authorization", "s3cret")).unwrap();
    assert!(format!("{event:?}").contains("authorization") && !format!("{event:?}").contains("s3cret"));
}

#[test]
fn headers_are_read_from_whatever_a_row_holds() {
    let read = |json: &str| serde_json::from_str::<Headers>(json).unwrap();
    let repeated = read(r#"{"a":"1","b":2,"A":"3","c":null,"d":{"e":[1]}}"#);
    assert_eq!(repeated.get("a"), Some("3"), "the last one counts");
    assert_eq!(repeated.get("B"), Some("2"));
    assert_eq!(repeated.get("d"), Some(r#"{"e":[1]}"#));
    assert_eq!(read(r#"{"x":"1","x":"2"}"#).get("x"), Some("2"));
    for other in ["null", "[]", "[1,\"a\"]", "1", "-1", "1.5", "true", "\"text\"", "{}"] {
        assert!(read(other).is_empty(), "{other}");
    }
    let written = serde_json::to_string(&Headers::from_iter([("b", "1"), ("a", "2")])).unwrap();
    assert_eq!(written, r#"{"b":"1","a":"2"}"#);
    assert_eq!(read(&written), Headers::from_iter([("b", "1"), ("a", "2")]));
}

#[test]
fn a_received_message_is_refused_only_for_what_identifies_it() {
    let domain = OmniBoxDomainService::default();
    let build = |id: &str, source: &str, event_type: &str| {
        let mut content = omni_box_core::EventContent::new(event_type, omni_box_core::Payload::null());
        content.trace_id = Some("t".repeat(65));
        content.correlation_id = Some("c".repeat(64));
        content.causation_id = Some("\0".into());
        content.idempotency_key = Some("i".repeat(129));
        content.schema_version = Some("1".repeat(51));
        content.headers = (0..200).map(|n| (format!("event_id{n}"), "\n".repeat(1_000))).collect();
        content.headers.push("nul", "\0");
        let group = ConsumerGroup::new("g").unwrap();
        domain
            .create_inbox_event(NewInboxEvent::new(id, group, source, content).partition_key("k".repeat(256)))
    };
    let long = "é".repeat(255);
    let event = build(&long, &long, &"é".repeat(100)).unwrap();
    assert_eq!(event.message_id(), long);
    assert_eq!(event.partition_key(), None);
    let content = event.content();
    assert_eq!(content.correlation_id.as_deref(), Some("c".repeat(64).as_str()));
    assert!(content.trace_id.is_none() && content.causation_id.is_none());
    assert!(content.idempotency_key.is_none() && content.schema_version.is_none());
    assert_eq!(content.headers.len(), 200);

    for (id, source, event_type) in [
        ("é".repeat(256), "s".into(), "t".into()),
        ("i".into(), "é".repeat(256), "t".into()),
        ("i".into(), "s".into(), "é".repeat(101)),
        (String::new(), "s".into(), "t".into()),
        ("i\0".into(), "s".into(), "t".into()),
    ] {
        assert_eq!(build(&id, &source, &event_type).unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[test]
fn last_error_is_cut_at_a_character() {
    let failed = |text: &str| {
        let mut event = create(new_event()).unwrap();
        OmniBoxDomainService::default().mark_failed(&mut event, text).unwrap();
        event.lifecycle().last_error().unwrap().to_owned()
    };
    for length in [0, 1_999, 2_000] {
        assert_eq!(failed(&"x".repeat(length)), "x".repeat(length));
    }
    assert_eq!(failed(&"x".repeat(2_001)), "x".repeat(1_991) + "... (cut)");
    // 1,991 is not a multiple of 2, 3 or 4: each of these would be cut inside a character
    for character in ["é", "€", "🦀"] {
        let cut = failed(&character.repeat(1_500));
        let kept = cut.strip_suffix("... (cut)").unwrap();
        assert_eq!(kept, character.repeat(1_991 / character.len()));
        assert!(cut.len() <= 2_000);
    }
    assert_eq!(failed("a\0b"), "a\u{fffd}b");
    // what replaces a NUL is longer than it
    assert!(failed(&"\0".repeat(2_000)).len() <= 2_000);
}

#[test]
fn names_and_batch_sizes() {
    for text in ["w", "é".repeat(255).as_str()] {
        assert_eq!(WorkerId::new(text).unwrap().as_str(), text);
        assert_eq!(ConsumerGroup::try_from(text).unwrap().to_string(), text);
    }
    for text in ["", "a\0b", "a\nb", "é".repeat(256).as_str()] {
        assert_eq!(WorkerId::new(text).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(ConsumerGroup::new(text).unwrap_err().kind(), ErrorKind::Invalid);
    }
    for size in [1, 10_000] {
        assert_eq!(BatchSize::new(size).unwrap().get(), size);
    }
    for size in [0, 10_001, u32::MAX] {
        BatchSize::try_from(size).unwrap_err();
    }
}

#[test]
fn a_claim_token_fits_its_column_and_differs_per_owner() {
    let worker = WorkerId::new("é".repeat(255)).unwrap();
    let (one, other) = (OwnerId::generate(), OwnerId::generate());
    let token = ClaimToken::new(&worker, one);
    assert_eq!(token.as_str().chars().count(), 255);
    assert!(token.as_str().ends_with(&one.to_string()));
    assert_ne!(token, ClaimToken::new(&worker, other));
}

#[test]
fn a_default_limit_is_what_the_columns_hold() {
    let limits = EventLimits::default();
    assert_eq!(limits.schedule_past, Duration::from_secs(60));
    assert_eq!(limits.schedule_future, Duration::from_secs(31_536_000));
    assert_eq!((limits.payload_bytes, limits.headers), (1_000_000, 100));
}
