//! The payload's text is kept exactly, and never shown.

use std::collections::BTreeMap;

use omni_box_core::{DefaultMessageDecoder, ErrorKind, Event, MessageDecoder, NewOutboxEvent, Payload};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{create, inbox_event};

fn from_json(json: impl Into<String>) -> omni_box_core::Result<omni_box_core::OutboxEvent> {
    create(NewOutboxEvent::from_json("t", "t", json))
}

#[test]
fn text_is_kept() {
    for text in [
        r#"{"z":1,"a":2,"m":3}"#,
        r#"{"n":9007199254740993,"d":0.10,"e":1E400,"long":123456789012345678901234567890}"#,
        r#"{"escaped":"\u00e9\/\b\ud83e\udd80","plain":"é🦀"}"#,
        "{ \"a\" :\t[ 1 ,\n 2 ] }",
        r#"{"twice":1,"twice":2}"#,
        r#"{"backslash":"\\u0000","quote":"\"{[\\"}"#,
    ] {
        assert_eq!(from_json(text).unwrap().payload().as_str(), text);
        assert_eq!(from_json(format!(" \r\n\t{text} \n")).unwrap().payload().as_str(), text);
        let payload = Payload::from_text(text).unwrap();
        assert_eq!(serde_json::to_string(payload.as_raw()).unwrap(), text);
        assert_eq!(payload, Payload::from_stored(text));
    }
}

#[test]
fn a_typed_payload_keeps_the_order_of_its_fields() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Order {
        total: u64,
        id: u32,
    }
    let order = Order { total: u64::MAX, id: 1 };
    let event = create(NewOutboxEvent::new("t", "t", &order)).unwrap();
    assert_eq!(event.payload().as_str(), r#"{"total":18446744073709551615,"id":1}"#);
    assert_eq!(event.payload().deserialize::<Order>().unwrap(), order);
}

#[test]
fn only_an_object_with_a_member_is_sent() {
    for text in ["null", "1", "\"{}\"", "[]", r#"[{"a":1}]"#, "true"] {
        assert_eq!(from_json(text).unwrap_err().to_string(), "payload is not a JSON object");
        assert_eq!(inbox_event(text).payload().as_str(), text, "but it may be received");
    }
    for text in ["{}", "{ \n\t}", " {} "] {
        assert!(from_json(text).unwrap_err().to_string().starts_with("payload is an empty JSON object"));
    }
    for text in ["", " ", "{", "{\"a\":1", "{'a':1}", "{\"a\":1}}", "{\"a\":01}", "\u{feff}{}", "{\"a\":NaN}"]
    {
        let error = from_json(text).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::Invalid, "payload is not valid JSON")
        );
    }
}

#[test]
fn what_cannot_be_serialized_is_refused() {
    let error = create(NewOutboxEvent::new("t", "t", &BTreeMap::from([((1, 2), 3)]))).unwrap_err();
    assert_eq!(error.chain(), "payload cannot be serialized as JSON: key must be a string");
}

#[test]
fn what_a_database_refuses_is_refused() {
    for bad in [r#"\u0000"#, r#"\ud800"#, r#"\udc00"#, r#"\ud800\ud800"#, r#"\ud800x"#, r#"\uDBFF\n"#] {
        for text in
            [format!(r#"{{"a":"{bad}"}}"#), format!(r#"{{"{bad}":1}}"#), format!(r#"{{"a":["\\\"{bad}"]}}"#)]
        {
            assert_eq!(from_json(text.as_str()).unwrap_err().kind(), ErrorKind::Invalid, "{text}");
        }
    }
    for good in [r#"\u0001"#, r#"\ud800\udc00"#, r#"\uDBFF\uDFFF\u0041"#, r#"\\u0000"#, r#"\\ud800"#] {
        from_json(format!(r#"{{"a":"{good}"}}"#)).unwrap();
    }
}

#[test]
fn depth() {
    let nested = |levels: usize, open: &str, close: &str| {
        format!("{{\"a\":{}1{}}}", open.repeat(levels - 1), close.repeat(levels - 1))
    };
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let event = from_json(nested(127, open, close)).unwrap();
        event.payload().deserialize::<serde_json::Value>().expect("what is accepted can be read");
        assert!(from_json(nested(128, open, close)).unwrap_err().to_string().contains("127 levels"));
        from_json(nested(100_000, open, close)).unwrap_err();
    }
    // width is not depth, nor are brackets in strings
    from_json(format!("{{\"a\":[{}1]}}", "[],{},".repeat(1_000))).unwrap();
    from_json(format!("{{\"a\":\"{}\"}}", "[{".repeat(1_000))).unwrap();
}

#[test]
fn size_is_in_bytes() {
    let of_size = |size: usize, filler: &str| {
        let room = size - r#"{"a":""}"#.len();
        let mut text = filler.repeat(room / filler.len());
        text.push_str(&"x".repeat(room % filler.len()));
        format!(r#"{{"a":"{text}"}}"#)
    };
    for filler in ["x", "é", "🦀", r#"\n"#] {
        for size in [999_999, 1_000_000] {
            assert_eq!(from_json(of_size(size, filler)).unwrap().payload().as_str().len(), size);
        }
        let error = from_json(of_size(1_000_001, filler)).unwrap_err();
        assert_eq!(error.to_string(), "payload has 1000001 bytes, at most 1000000 are allowed");
        inbox_event(&of_size(2_000_000, filler));
    }
}

#[test]
fn a_value_of_the_wrong_type_is_not_quoted() {
    let payload = Payload::from_text(r#"{"card":"s3cret"}"#).unwrap();
    let error = payload.deserialize::<BTreeMap<String, u32>>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("line 1 column 16"), "{error}");
    assert!(!format!("{error} {error:?} {}", error.chain()).contains("s3cret"));
}

proptest! {
    #[test]
    fn nothing_shows_the_payload(secret in "[a-z]{3}", before in "[\\[\\]{},:\"\\\\a-z0-9 ]{0,12}", after in "[\\[\\]{},:\"\\\\a-z0-9 ]{0,12}") {
        // letters that no message of ours has
        let secret = format!("§{secret}§");
        for text in [
            format!("{{\"{secret}\":\"{secret}\"}}"),
            format!("{before}{secret}{after}"),
            format!("{{\"a\":\"{before}{secret}{after}"),
            format!("{{\"a\":\"{secret}\"{after}}}"),
            format!("[\"{secret}\"]"),
            format!("{{\"a\":\"{secret}\\u0000\"}}"),
        ] {
            let new = NewOutboxEvent::from_json("t", "t", text.as_str());
            let mut seen = format!("{new:?}");
            match create(new) {
                Ok(event) => {
                    let payload = event.payload();
                    let error = payload.deserialize::<Vec<u8>>().unwrap_err();
                    seen += &format!("{event:?} {payload:?} {error} {error:?} {}", error.chain());
                }
                Err(error) => seen += &format!("{error} {error:?} {error:#?} {}", error.chain()),
            }
            let message = crate::message(Some(text.as_bytes()));
            seen += &format!("{message:?}");
            match DefaultMessageDecoder::new().decode(&message, &crate::group()) {
                Ok(event) => seen += &format!("{event:?}"),
                Err(error) => seen += &format!("{error} {error:?}"),
            }
            prop_assert!(!seen.contains(&secret), "{seen}");
        }
    }

    #[test]
    fn any_json_object_is_kept(value in json(), key in "\\PC{0,8}") {
        let text = serde_json::to_string(&serde_json::json!({ key: value })).unwrap();
        // the generator makes no NUL and no more than a few levels
        let event = from_json(text.as_str()).unwrap();
        prop_assert_eq!(event.payload().as_str(), text);
    }
}

/// Any JSON of a few levels, without NUL.
pub(crate) fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        "[^\\x00]{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec(("[a-z\"\\\\é]{0,6}", inner), 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}
