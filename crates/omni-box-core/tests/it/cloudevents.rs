//! CloudEvents, as their Kafka protocol binding has them.

use chrono::DateTime;
use omni_box_core::{
    CloudEventsConverter, DefaultMessageDecoder, Encoded, ErrorKind, Event, EventContent, EventConverter,
    EventId, LifecycleRecord, MessageDecoder, OutboxEvent, OutboxRecord, Payload, PerTopic,
    RawEventConverter, Tombstones,
};
use uuid::Uuid;

use crate::{create, new_event};

const PAYLOAD: &str = r#"{"z": 9007199254740993, "a": "\u00e9\"é🦀"}"#;
const SOURCE: &str = "https://shop.example/orders";

fn event(full: bool) -> OutboxEvent {
    let created_at = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
    let lifecycle = LifecycleRecord::stored(create(new_event()).unwrap().lifecycle(), created_at);
    let mut content = EventContent::new("order.placed", Payload::from_text(PAYLOAD).unwrap());
    if full {
        content.correlation_id = Some("correlation-é".into());
        content.causation_id = Some("causation \"1\"".into());
        content.schema_version = Some("2.1.0".into());
        content.headers = [
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("tracestate", "congo=t61rcWkgMzE"),
            ("tenant", "acme"),
            ("Content-Type", "text/plain"),
        ]
        .into_iter()
        .collect();
    }
    let record = OutboxRecord {
        id: EventId::from(Uuid::from_u128(0x0192_f0c1_2345_7abc_8def_0123_4567_89ab)),
        content,
        aggregate_type: full.then(|| "order".into()),
        aggregate_id: full.then(|| Uuid::from_u128(7)),
        topic: "orders".into(),
        partition_key: full.then(|| "customer 42".into()),
    };
    OutboxEvent::restore(record, lifecycle.into())
}

/// Headers in lines, and the body after an empty one.
fn message(encoded: &Encoded<'_>, event: &OutboxEvent) -> String {
    let headers: String =
        encoded.wire_headers(event).iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    let body = encoded.body.as_deref().map_or("(none)", |body| std::str::from_utf8(body).unwrap());
    format!("{headers}\n{body}\n")
}

#[track_caller]
fn check(converter: &CloudEventsConverter, full: bool, golden: &str) {
    let event = event(full);
    let encoded = Encoded::of(&event, converter).unwrap();
    assert_eq!(message(&encoded, &event), golden);
}

#[test]
fn structured() {
    let converter = CloudEventsConverter::structured(SOURCE).unwrap();
    check(&converter, true, include_str!("../golden/cloudevents_structured_full.txt"));
    check(&converter, false, include_str!("../golden/cloudevents_structured_minimal.txt"));
}

#[test]
fn binary() {
    let converter = CloudEventsConverter::binary(SOURCE).unwrap();
    check(&converter, true, include_str!("../golden/cloudevents_binary_full.txt"));
    check(&converter, false, include_str!("../golden/cloudevents_binary_minimal.txt"));
}

#[test]
fn a_source_is_a_uri_or_a_reference_to_one() {
    for source in ["/orders", "urn:shop:orders", SOURCE, "a%20b"] {
        assert!(CloudEventsConverter::binary(source).is_ok(), "{source}");
    }
    for source in ["", "a b", "ü", "a\n", "<a>"] {
        let refused = CloudEventsConverter::structured(source).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert_eq!(refused.to_string(), format!("source {source:?} is not a URI, such as /orders"));
    }
}

#[test]
fn a_binary_message_is_read_like_any_other() {
    let event = event(true);
    let encoded = Encoded::of(&event, &CloudEventsConverter::binary(SOURCE).unwrap()).unwrap();
    let headers = encoded.wire_headers(&event).into_iter();
    let message = omni_box_core::InboundMessage {
        topic: "orders".into(),
        partition: 0,
        offset: 0,
        key: None,
        value: encoded.body.as_deref().map(|body| body.to_vec().into()),
        headers: headers.map(|(name, value)| (name.to_owned(), Some(value.into_owned().into()))).collect(),
        timestamp: None,
    };
    let group = omni_box_core::ConsumerGroup::new("shipping").unwrap();
    let read = DefaultMessageDecoder::new().decode(&message, &group).unwrap();
    assert_eq!(read.message_id(), event.id().to_string());
    assert_eq!((read.event_type(), read.payload().as_str()), ("order.placed", PAYLOAD));
}

#[test]
fn a_topic_has_its_own_converter_and_others_the_usual_one() {
    let body = |converter: &dyn EventConverter| {
        let event = event(false);
        let encoded = Encoded::of(&event, converter).unwrap();
        encoded.body.unwrap().into_owned()
    };
    let structured = || CloudEventsConverter::structured(SOURCE).unwrap();
    assert!(
        body(&PerTopic::new(RawEventConverter).topic("orders", structured()))
            .starts_with(b"{\"specversion\"")
    );
    assert_eq!(body(&PerTopic::new(RawEventConverter).topic("returns", structured())), PAYLOAD.as_bytes());
}

#[test]
fn a_tombstone_has_headers_and_no_body() {
    let event = event(true);
    let converter = Tombstones::of(["order.placed"], CloudEventsConverter::binary("/orders").unwrap());
    let encoded = Encoded::of(&event, &converter).unwrap();
    assert_eq!(encoded.body, None);
    let names: Vec<&str> = encoded.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"ce_id") && !names.contains(&"content-type"), "{names:?}");
    let other = Tombstones::of(["order.cancelled"], RawEventConverter);
    assert!(Encoded::of(&event, &other).unwrap().body.is_some());
}

#[test]
fn a_tombstone_without_a_key_is_refused() {
    let refused = {
        let event = event(false);
        Encoded::of(&event, &Tombstones::of(["order.placed"], RawEventConverter)).map(drop).unwrap_err()
    };
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert_eq!(refused.to_string(), r#"an event "order.placed" is a tombstone, and needs a partition key"#);
}

/// The project's own library for Rust reads what is written, and means the same by both forms.
#[test]
fn the_library_of_cloudevents_reads_both_forms_as_one_event() {
    use cloudevents::{AttributesReader, EventBuilder, EventBuilderV10};
    for full in [true, false] {
        let event = event(full);
        let structured = CloudEventsConverter::structured(SOURCE).unwrap();
        let body = Encoded::of(&event, &structured).unwrap().body.unwrap().into_owned();
        let structured: cloudevents::Event = serde_json::from_slice(&body).unwrap();
        assert_eq!(structured.id(), event.id().to_string());
        assert_eq!((structured.ty(), structured.source().as_str()), ("order.placed", SOURCE));
        assert_eq!(structured.time().unwrap().timestamp_micros(), 1_700_000_000_123_456);

        let binary = CloudEventsConverter::binary(SOURCE).unwrap();
        let encoded = Encoded::of(&event, &binary).unwrap();
        let mut builder = EventBuilderV10::new();
        let mut kind = None;
        for (name, value) in encoded.wire_headers(&event) {
            builder = match name.strip_prefix("ce_") {
                Some("specversion") => {
                    assert_eq!(value, "1.0");
                    builder
                }
                Some("id") => builder.id(value),
                Some("source") => builder.source(value.into_owned()),
                Some("type") => builder.ty(value),
                Some("time") => builder.time(value.into_owned()),
                Some("subject") => builder.subject(value),
                Some(extension) => builder.extension(extension, value.into_owned()),
                None => {
                    kind = if name == "content-type" { Some(value.into_owned()) } else { kind };
                    builder
                }
            };
        }
        let data: serde_json::Value = serde_json::from_slice(encoded.body.as_deref().unwrap()).unwrap();
        let binary = builder.data(kind.unwrap(), data).build().unwrap();
        assert_eq!(binary, structured);
    }
}
