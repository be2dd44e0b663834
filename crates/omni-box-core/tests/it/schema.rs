//! Events as types, and the versions that they read.

use std::borrow::Cow;

use omni_box_core::{
    ErrorKind, Event, EventContent, EventSchema, InboxEvent, IntoOutboxEvent, NewInboxEvent,
    OmniBoxDomainService, Payload, Upcast,
};
use serde::{Deserialize, Serialize};

use crate::{create, group, inbox_event};

#[derive(Deserialize)]
struct OrderV1 {
    order: u64,
}

impl EventSchema for OrderV1 {
    const EVENT_TYPE: &'static str = "order.placed";
}

#[derive(Deserialize)]
struct OrderV2 {
    order: u64,
    customer: String,
}

impl EventSchema for OrderV2 {
    const EVENT_TYPE: &'static str = "order.placed";
    const VERSION: &'static str = "2";
    const UPCAST: Upcast<Self> = Upcast::from_older::<OrderV1>();
}

impl From<OrderV1> for OrderV2 {
    fn from(OrderV1 { order }: OrderV1) -> Self {
        Self { order, customer: "unknown".to_owned() }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: String,
    customer: String,
}

impl EventSchema for Order {
    const EVENT_TYPE: &'static str = "order.placed";
    const VERSION: &'static str = "2.1";
    const TOPIC: Option<&'static str> = Some("orders");
    const UPCAST: Upcast<Self> = Upcast::from_older::<OrderV2>();

    fn partition_key(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.customer))
    }
}

impl From<OrderV2> for Order {
    fn from(OrderV2 { order, customer }: OrderV2) -> Self {
        Self { id: format!("o-{order}"), customer }
    }
}

fn read(version: Option<&str>, json: &str) -> Order {
    Order::from_version(version, &Payload::from_text(json).unwrap()).unwrap()
}

fn order(id: &str, customer: &str) -> Order {
    Order { id: id.to_owned(), customer: customer.to_owned() }
}

fn message(event_type: &str, change: impl FnOnce(&mut EventContent)) -> InboxEvent {
    let mut content = EventContent::new(event_type, Payload::from_text(r#"{"order":7}"#).unwrap());
    change(&mut content);
    let event = NewInboxEvent::new("message-1", group(), "orders", content);
    OmniBoxDomainService::default().create_inbox_event(event).unwrap()
}

#[test]
fn each_version_is_read_as_its_own_type_and_converted() {
    let (v1, v2, current) =
        (r#"{"order":7}"#, r#"{"order":7,"customer":"Ada"}"#, r#"{"id":"o-7","customer":"Ada"}"#);
    assert_eq!(read(Some("1.0.0"), v1), order("o-7", "unknown"));
    assert_eq!(read(None, v1), order("o-7", "unknown"));
    for version in ["2", "2.0", "2.10", "2.0.1"] {
        assert_eq!(read(Some(version), v2), order("o-7", "Ada"), "{version}");
    }
    for version in ["2.1", "2.1.0", "2.1.9-rc.1"] {
        assert_eq!(read(Some(version), current), order("o-7", "Ada"), "{version}");
    }
}

#[test]
fn the_known_version_is_the_longest_that_the_message_s_begins_with() {
    assert_eq!(Order::versions().collect::<Vec<_>>(), ["2.1", "2", "1.0.0"]);
    for (version, known) in [
        ("2.1.7", Some("2.1")),
        ("2.2", Some("2")),
        ("2.", Some("2")),
        ("20", None),
        ("2-beta", None),
        ("1", None),
        ("1.0.00", None),
        ("1.0.0.1", Some("1.0.0")),
        ("", None),
        ("v2", None),
    ] {
        assert_eq!(Order::known_version(Some(version)), known, "{version}");
    }
    assert_eq!(Order::known_version(None), Some("1.0.0"));
    assert_eq!(format!("{:?}", Order::UPCAST), r#"Upcast ["2", "1.0.0"]"#);
}

#[test]
fn a_version_that_nothing_reads_is_an_error_that_names_the_known_ones() {
    let payload = Payload::from_text(r#"{"id":"s3cret","customer":"Ada"}"#).unwrap();
    let error = Order::from_version(Some("20"), &payload).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert_eq!(error.to_string(), r#"order.placed has no version that reads "20", known are 2.1, 2, 1.0.0"#);

    #[derive(Debug, Deserialize)]
    struct Second {}
    impl EventSchema for Second {
        const EVENT_TYPE: &'static str = "second";
        const VERSION: &'static str = "2";
    }
    let error = Second::from_version(None, &payload).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"second has no version that reads "1.0.0" (the message names none), known are 2"#
    );
}

#[test]
fn a_payload_that_does_not_fit_its_version_is_read_as_no_other() {
    // fits the current version, and says that it is of the first
    let payload = Payload::from_text(r#"{"id":"s3cret","customer":"Ada"}"#).unwrap();
    let error = Order::from_version(Some("1.0.0"), &payload).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.chain().contains("OrderV1") && !error.chain().contains("s3cret"), "{error:?}");
}

#[test]
fn an_event_is_read_by_its_own_type_and_version() {
    let event = message("order.placed", |content| content.schema_version = Some("1.0.0".to_owned()));
    assert_eq!(Order::from_event(&event).unwrap(), order("o-7", "unknown"));

    let cancelled = message("order.cancelled", |_| ());
    let error = Order::from_event(&cancelled).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert_eq!(error.to_string(), r#"event is "order.cancelled", not "order.placed""#);
}

#[test]
fn a_type_gives_its_event_type_version_topic_and_key() {
    let event = order("o-7", "Ada").into_event();
    assert_eq!(
        (event.event_type(), event.topic(), event.partition_key()),
        ("order.placed", "orders", Some("Ada"))
    );
    assert_eq!(event.content().schema_version.as_deref(), Some("2.1"));
    assert_eq!(event.payload().as_str(), r#"{"id":"o-7","customer":"Ada"}"#);

    let event = create(order("o-7", "Ada").event().topic("elsewhere").partition_key("k")).unwrap();
    assert_eq!((event.topic(), event.partition_key()), ("elsewhere", Some("k")));
}

impl Order {
    fn into_event(self) -> omni_box_core::OutboxEvent {
        (&self).into_outbox_event(None).unwrap()
    }
}

#[test]
fn a_type_without_a_topic_needs_one_in_the_event() {
    #[derive(Serialize)]
    struct Moved {
        to: u32,
    }
    impl EventSchema for Moved {
        const EVENT_TYPE: &'static str = "moved";
    }
    let error = (&Moved { to: 1 }).into_outbox_event(None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        error.to_string(),
        r#"an event "moved" has no topic: its schema needs one, or the event a call of `topic`"#
    );
    let event = Moved { to: 1 }.event().topic("moves").into_outbox_event(None).unwrap();
    assert_eq!((event.topic(), event.partition_key()), ("moves", None));
    assert_eq!(event.content().schema_version.as_deref(), Some("1.0.0"));
}

#[test]
fn an_event_takes_over_from_its_cause_what_is_unset_and_fits() {
    let cause = message("order.placed", |content| {
        content.correlation_id = Some("conversation".to_owned());
        content.trace_id = Some("trace".to_owned());
        content.causation_id = Some("an earlier one".to_owned());
    });
    let ids = |content: &EventContent| {
        [&content.causation_id, &content.correlation_id, &content.trace_id].map(Clone::clone)
    };
    let some = |text: &str| Some(text.to_owned());
    let placed = order("o-7", "Ada");

    let event = (&placed).into_outbox_event(Some(&cause)).unwrap();
    assert_eq!(ids(event.content()), [some("message-1"), some("conversation"), some("trace")]);

    // what is said counts, before and after
    let event = placed.event().trace_id("own").caused_by(&cause).correlation_id("own");
    assert_eq!(ids(create(event).unwrap().content()), [some("message-1"), some("own"), some("own")]);

    // the cause that was named is not replaced
    let event = placed.event().caused_by(&inbox_event(r#"{"a":1}"#)).into_outbox_event(Some(&cause)).unwrap();
    assert_eq!(ids(event.content()), [some("message-1"), None, None]);

    let long = NewInboxEvent::new("m".repeat(65), group(), "orders", cause.content().clone());
    let long = OmniBoxDomainService::default().create_inbox_event(long).unwrap();
    let event = create(placed.event().caused_by(&long)).unwrap();
    assert_eq!(ids(event.content()), [None, some("conversation"), some("trace")]);

    // one that is built already is taken as it is
    let built = create(placed.event()).unwrap();
    assert_eq!(built.clone().into_outbox_event(Some(&cause)).unwrap(), built);
    assert_eq!((&built).into_outbox_event(Some(&cause)).unwrap(), built);
}
