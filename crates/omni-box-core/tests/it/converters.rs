//! The exact bytes of each converter, and the headers of every message.

use std::error::Error as _;

use omni_box_core::{
    Encoded, EnvelopeEventConverter, Error, ErrorKind, Event, EventContent, EventConverter, EventId,
    FailureClass, LifecycleRecord, OutboxEvent, OutboxRecord, Payload, RawEventConverter, Result,
    SchemaVersionedConverter, message_headers,
};
use uuid::Uuid;

use crate::{create, new_event};

const PAYLOAD: &str = r#"{"z": 9007199254740993, "a": "\u00e9\"é🦀", "m": [1.50, {}]}"#;

fn event(full: bool) -> OutboxEvent {
    let created = chrono::DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
    let life = LifecycleRecord::stored(create(new_event()).unwrap().lifecycle(), created).into();
    let mut content = EventContent::new("order.placed", Payload::from_text(PAYLOAD).unwrap());
    if full {
        content.trace_id = Some("trace \"1\"".into());
        content.correlation_id = Some("correlation-é".into());
        content.causation_id = Some("causation-1".into());
        content.schema_version = Some("2.1.0".into());
        content.idempotency_key = Some("not sent".into());
        content.headers = [("tenant", "acme"), ("B", "2"), ("a", "1")].into_iter().collect();
    }
    let record = OutboxRecord {
        id: EventId::from(Uuid::from_u128(0x0192_f0c1_2345_7abc_8def_0123_4567_89ab)),
        content,
        aggregate_type: full.then(|| "order".into()),
        aggregate_id: full.then(Uuid::nil),
        topic: "orders".into(),
        partition_key: full.then(|| "42".into()),
    };
    OutboxEvent::restore(record, life)
}

#[track_caller]
fn check(converter: &dyn EventConverter, full: bool, golden: &[u8]) {
    let event = event(full);
    let Encoded { body, headers } = converter.convert(&event).unwrap();
    assert_eq!(String::from_utf8_lossy(body.as_deref().unwrap()), String::from_utf8_lossy(golden));
    assert!(headers.is_empty());
    assert_eq!(converter.convert(&event).unwrap().body, body, "a repeat has the same bytes");
}

#[test]
fn raw() {
    check(&RawEventConverter, true, include_bytes!("../golden/raw.json"));
    check(&RawEventConverter, false, include_bytes!("../golden/raw.json"));
}

#[test]
fn schema_versioned() {
    check(&SchemaVersionedConverter, true, include_bytes!("../golden/schema_versioned_full.json"));
    check(&SchemaVersionedConverter, false, include_bytes!("../golden/schema_versioned_minimal.json"));
}

#[test]
fn envelope() {
    check(&EnvelopeEventConverter, true, include_bytes!("../golden/envelope_full.json"));
    check(&EnvelopeEventConverter, false, include_bytes!("../golden/envelope_minimal.json"));
}

#[test]
fn headers_in_order() {
    let event = event(true);
    let headers: Vec<(&str, String)> =
        message_headers(&event).into_iter().map(|(key, value)| (key, value.into_owned())).collect();
    let expected = [
        ("event_id", "0192f0c1-2345-7abc-8def-0123456789ab"),
        ("event_type", "order.placed"),
        ("schema_version", "2.1.0"),
        ("trace_id", "trace \"1\""),
        ("correlation_id", "correlation-é"),
        ("causation_id", "causation-1"),
        ("tenant", "acme"),
        ("B", "2"),
        ("a", "1"),
    ];
    assert_eq!(headers, expected.map(|(key, value)| (key, value.to_owned())));
}

#[test]
fn absent_fields_have_no_header() {
    let event = event(false);
    let keys: Vec<&str> = message_headers(&event).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["event_id", "event_type"]);
}

#[test]
fn a_foreign_writers_header_replaces_no_field() {
    let event = event(false);
    let mut content = event.content().clone();
    content.headers =
        [("Event_ID", "constant"), ("event_type", "x"), ("trace_id", "no field")].into_iter().collect();
    let record = OutboxRecord {
        id: event.id(),
        content,
        aggregate_type: None,
        aggregate_id: None,
        topic: "orders".into(),
        partition_key: None,
    };
    let event = OutboxEvent::restore(record, event.lifecycle().clone());
    let headers: Vec<_> = message_headers(&event).into_iter().map(|(key, _)| key).collect();
    assert_eq!(headers, ["event_id", "event_type", "trace_id"]);
    assert_eq!(message_headers(&event)[0].1, event.id().to_string());
}

struct Failing(ErrorKind);

impl EventConverter for Failing {
    fn convert<'a>(&self, _event: &'a OutboxEvent) -> Result<Encoded<'a>> {
        Err(Error::new(self.0, "no schema is registered"))
    }
}

#[test]
fn an_error_of_a_converter_is_permanent_whatever_its_class() {
    let check = |returned, reported, text| {
        let event = event(false);
        let error = Encoded::of(&event, &Failing(returned)).unwrap_err();
        assert_eq!((error.kind(), error.class()), (reported, FailureClass::Permanent), "{returned:?}");
        assert_eq!(error.chain(), text);
        error
    };
    let own = "no schema is registered";
    for kind in [ErrorKind::Invalid, ErrorKind::TooLarge, ErrorKind::Misconfigured] {
        assert!(check(kind, kind, own).source().is_none());
    }
    let wrapped = "event cannot be encoded: no schema is registered";
    for kind in
        [ErrorKind::NotFound, ErrorKind::Internal, ErrorKind::Unavailable, ErrorKind::TopicUnavailable]
    {
        let error = check(kind, ErrorKind::Invalid, wrapped);
        let cause = error.source().and_then(|cause| cause.downcast_ref::<Error>());
        assert_eq!(cause.map(Error::kind), Some(kind), "the cause is kept");
    }
    assert_eq!(
        Encoded::of(&event(false), &RawEventConverter).unwrap().body.as_deref(),
        Some(PAYLOAD.as_bytes())
    );
}
