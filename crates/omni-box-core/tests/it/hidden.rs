//! Neither `Debug` nor an error shows a payload, a header's value or a key, which may name a person.

use std::fmt::Debug;

use omni_box_core::store::{Due, EventRow};
use omni_box_core::*;
use serde_json::json;

use crate::{create, group, inbox_event, message, new_event};

/// Marks what must not be seen; quotes nothing that the types print otherwise.
const MARK: &str = "ada@example.org";

/// Whether the mark can be read in a text, as text or as the numbers of its bytes.
fn shows_mark(text: &str) -> bool {
    let numbers = format!("{:?}", MARK.as_bytes());
    let dense = |text: &str| text.replace(|char: char| char.is_whitespace(), "");
    text.contains(MARK) || dense(text).contains(&dense(numbers.trim_matches(['[', ']'])))
}

fn hides<T: Debug>(value: &T) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        assert!(!shows_mark(&text), "{}: {text}", std::any::type_name::<T>());
    }
}

fn marked_outbox() -> NewOutboxEvent {
    NewOutboxEvent::new("order.placed", "orders", &json!({"mail": MARK}))
        .partition_key(MARK)
        .idempotency_key(MARK)
        .header("mail", MARK)
}

fn marked_inbox(key: &[u8]) -> NewInboxEvent {
    let mut content = EventContent::new("order.placed", Payload::new(&json!({"mail": MARK})).unwrap());
    content.headers.push("mail", MARK);
    content.idempotency_key = Some(MARK.to_owned());
    NewInboxEvent::new("message-1", group(), "orders", content).partition_key(key).digest(MARK.into())
}

fn marked_message() -> InboundMessage {
    InboundMessage {
        key: Some(MARK.into()),
        headers: vec![("mail".to_owned(), Some(MARK.into()))],
        ..message(Some(MARK.as_bytes()))
    }
}

#[test]
fn the_mark_is_found_where_it_is_shown() {
    let shown = (MARK, MARK.as_bytes());
    assert!(shows_mark(&format!("{:?}", shown.0)) && shows_mark(&format!("{:#?}", shown.1)));
}

#[test]
fn debug_of_events_shows_no_payload_and_no_key() {
    hides(&marked_outbox());
    let event = create(marked_outbox()).unwrap();
    hides(&event);
    hides(event.record());
    hides(event.content());
    hides(event.payload());
    hides(event.headers());
    hides(&event.identity());
    hides(&event.order_key());
    hides(&EventRow::new(&event, 1, event.lifecycle().created_at()));
    hides(&Created::New(event.clone()));
    let lane = LaneId::new(3);
    let read_at = event.lifecycle().created_at();
    hides(&LaneEvent { event, lane, seq: 1, is_held_head: false, is_behind_head: false, read_at });
    let key = KeyRef { lane, topic: "orders".to_owned(), partition_key: MARK.to_owned() };
    hides(&LaneSettlement { release: vec![key], ..Default::default() });

    let mut no_text = MARK.as_bytes().to_vec();
    no_text.push(0xff);
    for key in [MARK.as_bytes(), &no_text] {
        hides(&marked_inbox(key));
        let event = OmniBoxDomainService::default().create_inbox_event(marked_inbox(key)).unwrap();
        hides(&event);
        hides(event.record());
        hides(&event.order_key());
        let filters = FetchFilters::new();
        let mut due =
            Due::<InboxEvent>::new(BatchSize::new(1).unwrap(), &filters, event.lifecycle().created_at())
                .unwrap();
        due.offer((false, 0, 0), event.order_key().as_bytes(), || Ok(None)).unwrap();
        hides(&due);
        hides(&Received::Conflict(event));
    }
}

#[test]
fn debug_of_messages_shows_no_payload_and_no_key() {
    hides(&marked_message());
    hides(&QuarantinedMessage {
        consumer_group: group(),
        message: marked_message(),
        error: "no JSON".to_owned(),
    });
    let event = create(marked_outbox()).unwrap();
    let mut encoded = Encoded::of(&event, &EnvelopeEventConverter).unwrap();
    encoded.headers.push(("mail".to_owned(), MARK.to_owned()));
    hides(&encoded);
}

#[test]
fn errors_of_what_breaks_a_limit_show_no_payload_and_no_key() {
    let long = MARK.repeat(100);
    let refused = [
        create(new_event().partition_key(&long)),
        create(new_event().partition_key(format!("{MARK}\0"))),
        create(new_event().idempotency_key(&long)),
        create(new_event().header("mail", &long)),
        create(new_event().header("mail", format!("{MARK}\n"))),
        create(NewOutboxEvent::from_json("order.placed", "orders", format!("{{\"mail\": \"{MARK}\""))),
        create(NewOutboxEvent::from_json("order.placed", "orders", format!("[\"{MARK}\"]"))),
        create(NewOutboxEvent::from_json("order.placed", "orders", format!("[\"{MARK}\\u0000\"]"))),
        create(NewOutboxEvent::from_json("order.placed", "orders", format!("{{\"mail\": {MARK}}}"))),
        create(NewOutboxEvent::new("order.placed", "orders", MARK)),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert!(!shows_mark(&error.chain()), "{error:?}");
        hides(&error);
    }
    let inbox = inbox_event(&json!({"mail": MARK}).to_string());
    let unfit = inbox.payload().deserialize::<Vec<u8>>().unwrap_err();
    assert!(!shows_mark(&unfit.chain()), "{unfit:?}");

    let refused = DefaultMessageDecoder::new().decode(&marked_message(), &group()).unwrap_err();
    assert!(!shows_mark(&refused.to_string()), "{refused}");
}
