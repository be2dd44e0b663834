//! What a message means, row by row, and that no bytes can hurt.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{TimeZone, Utc};
use omni_box_core::{
    DecodeError, DefaultMessageDecoder, EnvelopeEventConverter, Event, EventConverter, InboundMessage,
    InboxEvent, MessageDecoder, NewOutboxEvent, Payload, RawEventConverter, SchemaVersionedConverter,
    message_headers,
};
use proptest::prelude::*;

use crate::payload::json;
use crate::{create, group, message};

fn decode(message: &InboundMessage) -> Result<InboxEvent, DecodeError> {
    DefaultMessageDecoder::new().decode(message, &group())
}

fn with_headers(value: &str, headers: &[(&str, &str)]) -> InboundMessage {
    let mut message = message(Some(value.as_bytes()));
    message.headers = headers
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Some(Bytes::copy_from_slice(value.as_bytes()))))
        .collect();
    message
}

struct Meaning {
    id: &'static str,
    event_type: &'static str,
    source: &'static str,
    payload: &'static str,
}

#[track_caller]
fn check(value: &str, headers: &[(&str, &str)], meaning: &Meaning) {
    let event = decode(&with_headers(value, headers)).unwrap();
    assert_eq!(
        (event.message_id(), event.event_type(), event.source(), event.payload().as_str()),
        (meaning.id, meaning.event_type, meaning.source, meaning.payload),
        "{value} {headers:?}"
    );
}

const BARE: Meaning =
    Meaning { id: "orders:3:17", event_type: "orders", source: "orders", payload: r#"{"order":1}"# };

#[test]
fn headers_name_a_message() {
    let value = r#"{"order":1}"#;
    check(value, &[], &BARE);
    check(value, &[("message_id", "m"), ("event_id", "e")], &Meaning { id: "m", ..BARE });
    check(value, &[("event_id", "e"), ("message_id", "m")], &Meaning { id: "m", ..BARE });
    check(value, &[("Event_ID", "e")], &Meaning { id: "e", ..BARE });
    check(value, &[("event_type", "t")], &Meaning { event_type: "t", ..BARE });
    check(value, &[("source_service", "a"), ("source", "b")], &Meaning { source: "b", ..BARE });
    check(value, &[("source_service", "a")], &Meaning { source: "a", ..BARE });
    check(value, &[("message_id", ""), ("event_type", ""), ("source", "")], &BARE);
    // of a repeated header the last one counts, here and in a row read back
    check(value, &[("event_id", "1"), ("event_id", "2")], &Meaning { id: "2", ..BARE });
}

#[test]
fn an_envelope_is_unwrapped() {
    let inner = r#"{"order":1}"#;
    let envelope = |members: &str| format!(r#"{{{members},"payload":{inner}}}"#);
    let named = envelope(r#""event_id":"e","event_type":"t""#);
    check(&named, &[], &Meaning { id: "e", event_type: "t", ..BARE });
    check(&named, &[("event_id", "h"), ("event_type", "u")], &Meaning { id: "h", event_type: "u", ..BARE });
    check(&envelope(r#""schema_version":"2""#), &[], &BARE);
    check(&envelope(r#""schema_version":"2","event_id":"e""#), &[], &Meaning { id: "e", ..BARE });
    check(&envelope(r#""schema_version":"2","event_id":"","event_type":null"#), &[], &BARE);
    check(&envelope(r#""schema_version":"2","event_id":5,"trace_id":[]"#), &[], &BARE);
    check(&envelope(r#""schema_version":null"#), &[], &BARE);
    check(r#" {"payload": null ,"schema_version":"1"} "#, &[], &Meaning { payload: "null", ..BARE });
    check(r#"{"payload":[ 1, 2 ],"schema_version":"1"}"#, &[], &Meaning { payload: "[ 1, 2 ]", ..BARE });

    let ids = r#""event_id":"e","event_type":"t","schema_version":"2","trace_id":"tr","correlation_id":"co","causation_id":"ca""#;
    let event = decode(&message(Some(envelope(ids).as_bytes()))).unwrap();
    let content = event.content();
    let found = [&content.schema_version, &content.trace_id, &content.correlation_id, &content.causation_id];
    assert_eq!(found.map(|id| id.as_deref().unwrap()), ["2", "tr", "co", "ca"]);
    let event =
        decode(&with_headers(&envelope(ids), &[("trace_id", "header"), ("schema_version", "3")])).unwrap();
    assert_eq!(event.content().trace_id.as_deref(), Some("header"));
    assert_eq!(event.content().schema_version.as_deref(), Some("3"));
}

#[test]
fn what_is_no_envelope_is_kept_whole() {
    for whole in [
        r#"{"payload":{"order":1}}"#,
        r#"{"event_id":"e","payload":{"order":1}}"#,
        r#"{"event_id":"e","trace_id":"t","order":1}"#,
        r#"{"schema_version":"1","order":1}"#,
        r#"{"schema_version":1,"payload":{"order":1}}"#,
        r#"{"schema_version":"1","payload":1,"payload":2}"#,
        // an array with an envelope's members in their order
        r#"["e","t","1","tr","co","ca",{"order":1}]"#,
        r#""text""#,
        "null",
        "1.50",
    ] {
        check(whole, &[], &Meaning { payload: whole, ..BARE });
        let event = decode(&message(Some(whole.as_bytes()))).unwrap();
        assert!(event.content().trace_id.is_none() && event.content().schema_version.is_none());
    }
    // the Python library takes the type from a bare payload, but no identifiers
    let bare = r#"{"event_id":"e","event_type":"t","order":1}"#;
    check(bare, &[], &Meaning { event_type: "t", payload: bare, ..BARE });
    check(bare, &[("event_type", "h")], &Meaning { event_type: "h", payload: bare, ..BARE });
}

#[test]
fn a_tombstone_is_a_null_payload() {
    let event = decode(&message(None)).unwrap();
    assert!(event.payload().is_null());
    assert_eq!(event.message_id(), "orders:3:17");
    // its digest tells it from a value that says null; an empty value is not JSON
    let null = decode(&message(Some(b"null"))).unwrap();
    assert!(null.conflicts_with(&event) && event.conflicts_with(&null));
    assert!(!event.conflicts_with(&decode(&message(None)).unwrap()));
    decode(&message(Some(b""))).unwrap_err();
}

#[test]
fn what_the_broker_knows_is_kept() {
    let mut message = message(Some(b"{}"));
    message.key = Some(Bytes::from_static("schlüssel".as_bytes()));
    message.timestamp = Some(Utc.timestamp_millis_opt(1_700_000_000_123).unwrap());
    message.headers = vec![
        ("a".into(), Some("1".into())),
        ("raw".into(), Some(Bytes::from_static(b"\xff"))),
        ("nil".into(), None),
    ];
    let event = decode(&message).unwrap();
    assert_eq!(event.partition_key(), Some("schlüssel"));
    assert_eq!(event.produced_at(), message.timestamp);
    assert_eq!(event.position(), Some(&message.position()));
    assert_eq!(event.consumer_group(), &group());
    assert_eq!(event.headers().iter().collect::<Vec<_>>(), [("a", "1")]);
    let digest: String = event.digest().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        digest, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "as sha256sum has it"
    );
}

#[test]
fn a_key_that_does_not_fit_is_kept_raw_and_an_identifier_is_left_out() {
    for key in [&b"\xff\xfe"[..], b"", b"a\0b", "é".repeat(256).as_bytes()] {
        let mut message = with_headers("{}", &[("trace_id", &"t".repeat(65)), ("correlation_id", "c\0")]);
        message.key = Some(Bytes::copy_from_slice(key));
        let event = decode(&message).unwrap();
        assert_eq!((event.partition_key(), event.raw_key()), (None, Some(key)));
        assert!(event.content().trace_id.is_none() && event.content().correlation_id.is_none());
    }
    // a header that is not text counts as absent
    let mut message = message(Some(b"{}"));
    message.headers =
        vec![("event_id".into(), Some(Bytes::from_static(b"\xff"))), ("event_type".into(), None)];
    let event = decode(&message).unwrap();
    assert_eq!((event.message_id(), event.event_type()), ("orders:3:17", "orders"));
}

#[test]
fn what_can_never_become_an_event_says_why() {
    let long = "x".repeat(300);
    for (message, reason) in [
        (message(Some(b"{\"a\":\xff}")), "value is not UTF-8 from byte 5"),
        (message(Some(b"{\"a\":s3cret}")), "payload is not valid JSON: expected value at line 1 column 6"),
        (message(Some(b"{} {}")), "payload is not valid JSON: trailing characters at line 1 column 4"),
        (message(Some(br#"{"a":"\u0000"}"#)), "payload contains \\u0000, which a database cannot store"),
        (
            with_headers("{}", &[("event_type", &long)]),
            "event_type has 300 characters, at most 100 are allowed",
        ),
        (
            with_headers("{}", &[("message_id", &long)]),
            "message_id has 300 characters, at most 255 are allowed",
        ),
        (with_headers("{}", &[("source", &long)]), "source has 300 characters, at most 255 are allowed"),
        (
            with_headers("{}", &[("event_id", "a\0")]),
            "message_id contains a NUL character, which a database cannot store as text",
        ),
    ] {
        assert_eq!(decode(&message).unwrap_err().to_string(), reason);
    }
    decode(&message(Some("[".repeat(100_000).as_bytes()))).unwrap_err();
    decode(&message(Some(format!("{}{}", "[".repeat(128), "]".repeat(128)).as_bytes()))).unwrap_err();
}

#[test]
fn getters_are_replaceable() {
    let decoder: Arc<dyn MessageDecoder> = Arc::new(
        DefaultMessageDecoder::new()
            .message_id(|message| Some(format!("id-{}", message.offset)))
            .event_type(|message| message.header("kind").map(str::to_owned))
            .source(|_| Some("shop".into())),
    );
    let decode = |headers: &[(&str, &str)]| decoder.decode(&with_headers("{}", headers), &group()).unwrap();
    let event = decode(&[("message_id", "m"), ("event_type", "t"), ("source", "s"), ("kind", "k")]);
    assert_eq!((event.message_id(), event.event_type(), event.source()), ("id-17", "k", "shop"));
    assert_eq!(decode(&[("event_type", "t")]).event_type(), "t", "none falls back to the default");
}

/// A value in another format becomes JSON first; what is said of JSON holds for that.
#[test]
fn the_payloads_part_is_replaceable_alone() {
    let decoder = DefaultMessageDecoder::new().payload(|message| {
        let Some(value) = message.value.as_deref() else { return Ok(Payload::null()) };
        let plain: Vec<u8> = value.iter().map(|byte| byte ^ 0xff).collect();
        let text = String::from_utf8(plain).map_err(|_| DecodeError::new("no text"))?;
        Payload::from_text(&text).map_err(|error| DecodeError::new(error.chain()))
    });
    let decode = |value: Option<&str>| {
        let mut coded = message(None);
        coded.value = value.map(|text| text.bytes().map(|byte| byte ^ 0xff).collect::<Vec<u8>>().into());
        decoder.decode(&coded, &group())
    };
    let event = decode(Some(r#"{"order":1}"#)).unwrap();
    assert_eq!((event.payload().as_str(), event.message_id()), (r#"{"order":1}"#, "orders:3:17"));
    let envelope = r#"{"event_id":"e","event_type":"t","payload":{"order":2}}"#;
    let event = decode(Some(envelope)).unwrap();
    assert_eq!(
        (event.payload().as_str(), event.message_id(), event.event_type()),
        (r#"{"order":2}"#, "e", "t")
    );
    assert_eq!(decode(None).unwrap().payload().as_str(), "null", "a tombstone");
    assert!(decode(Some("{")).is_err(), "what it refuses is refused");
    // what tells a repeat is the value as it came
    let [one, two] = [r#"{"order":1}"#, r#"{"order":2}"#].map(|text| decode(Some(text)).unwrap());
    assert_ne!(one.digest(), two.digest());
}

#[test]
fn the_deepest_payload_survives_its_envelope() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(126), "]".repeat(126));
    round_trip(NewOutboxEvent::from_json("t", "orders", deep));
}

/// Sends an event through each converter and reads it back.
fn round_trip(new: NewOutboxEvent) {
    let event = create(new).unwrap();
    for converter in
        [&RawEventConverter as &dyn EventConverter, &SchemaVersionedConverter, &EnvelopeEventConverter]
    {
        let mut message = message(converter.convert(&event).unwrap().body.as_deref());
        let headers: Vec<_> = message_headers(&event)
            .into_iter()
            .map(|(key, value)| (key.to_owned(), Some(Bytes::from(value.into_owned()))))
            .collect();
        message.headers.clone_from(&headers);
        let read = decode(&message).unwrap();
        assert_eq!(read.payload(), event.payload());
        assert_eq!(read.event_type(), event.event_type());
        assert_eq!(read.message_id(), event.id().to_string());
        let (sent, got) = (event.content(), read.content());
        assert_eq!(got.trace_id, sent.trace_id);
        assert_eq!(got.correlation_id, sent.correlation_id);
        assert_eq!(got.causation_id, sent.causation_id);
        if sent.schema_version.is_some() {
            assert_eq!(got.schema_version, sent.schema_version);
        }
        for (key, value) in sent.headers.iter() {
            assert_eq!(got.headers.get(key), Some(value));
        }
    }
    // the envelope alone, as after a broker that drops headers
    let read = decode(&message(EnvelopeEventConverter.convert(&event).unwrap().body.as_deref())).unwrap();
    assert_eq!(read.payload(), event.payload());
    assert_eq!((read.event_type(), read.message_id()), (event.event_type(), event.id().to_string().as_str()));
    assert_eq!(read.content().trace_id, event.content().trace_id);
}

fn id() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[^\\x00]{1,64}")
}

proptest! {
    #[test]
    fn no_bytes_panic(
        value in prop::option::of(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            "[\\[\\]{}\":,\\\\u0d8cf19a ]{0,64}".prop_map(String::into_bytes),
        ]),
        key in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
        headers in prop::collection::vec(
            (
                prop_oneof!["\\PC{0,8}", prop::sample::select(vec!["event_id", "message_id", "event_type", "source", "trace_id"]).prop_map(String::from)],
                prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
            ),
            0..6,
        ),
    ) {
        let mut message = message(value.as_deref());
        message.key = key.map(Bytes::from);
        message.headers = headers.into_iter().map(|(name, value)| (name, value.map(Bytes::from))).collect();
        let (once, again) = (decode(&message), decode(&message));
        match (once, again) {
            (Ok(once), Ok(again)) => {
                prop_assert_eq!(once.message_id(), again.message_id());
                prop_assert!(!once.conflicts_with(&again), "a repeat is not a conflict");
                prop_assert_eq!(Payload::from_text(once.payload().as_str()).unwrap(), again.payload().clone());
            }
            (once, again) => prop_assert_eq!(once.map(|_| ()), again.map(|_| ())),
        }
    }

    #[test]
    fn an_event_is_read_as_it_was_sent(
        value in json(),
        event_type in "[^\\x00]{1,100}",
        (trace, correlation, causation) in (id(), id(), id()),
        version in prop::option::of("[^\\x00]{1,50}"),
        headers in prop::collection::hash_map("h[a-z]{1,8}", "[^\\p{Cc}]{0,20}", 0..4),
    ) {
        // a raw payload with an envelope's members would be taken for one, by design
        let text = serde_json::to_string(&serde_json::json!({ "body": value })).unwrap();
        let mut new = NewOutboxEvent::from_json(event_type, "orders", text);
        if let Some(id) = trace { new = new.trace_id(id); }
        if let Some(id) = correlation { new = new.correlation_id(id); }
        if let Some(id) = causation { new = new.causation_id(id); }
        if let Some(version) = version { new = new.schema_version(version); }
        round_trip(new.headers(headers.into_iter().collect()));
    }
}

#[test]
fn an_id_of_last_resort_is_of_one_topic_and_fits_its_column() {
    let mut first = message(Some(b"{}"));
    first.timestamp = Some(Utc.timestamp_millis_opt(1_700_000_000_123).unwrap());
    assert_eq!(decode(&first).unwrap().message_id(), "orders:3:17:1700000000123");
    // the topic was deleted and created: the same offset, a later time
    let mut later = first.clone();
    later.timestamp = Some(Utc.timestamp_millis_opt(1_700_000_000_124).unwrap());
    assert_ne!(decode(&first).unwrap().message_id(), decode(&later).unwrap().message_id());
    first.topic = "x".repeat(249);
    first.offset = i64::MAX;
    // nothing of it but the topic's name is too long, which is a source and a type too
    let decoder = DefaultMessageDecoder::new().event_type(|_| Some("t".into())).source(|_| Some("s".into()));
    let id = decoder.decode(&first, &group()).unwrap().message_id().to_owned();
    assert!(id.ends_with(":3:9223372036854775807:1700000000123") && id.len() < 255, "{id}");
}
