//! The trace that an event keeps. No propagation is installed here: `omni-box-otel` tests one.

use omni_box_core::{
    ErrorKind, Event, EventContent, Headers, InboxEvent, NewInboxEvent, NewOutboxEvent, OmniBoxDomainService,
    OutboxEvent, Payload, TraceContext,
};

use crate::{create, group, new_event};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn message(headers: &[(&str, &str)]) -> InboxEvent {
    let headers = headers.iter().copied().collect();
    let content = EventContent { headers, ..EventContent::new("order.placed", Payload::null()) };
    let message = NewInboxEvent::new("message-1", group(), "orders", content);
    OmniBoxDomainService::default().create_inbox_event(message).unwrap()
}

fn follow_up(headers: &[(&str, &str)], event: NewOutboxEvent) -> OutboxEvent {
    create(event.caused_by(&message(headers))).unwrap()
}

fn header<'a>(event: &'a OutboxEvent, name: &str) -> Option<&'a str> {
    event.content().headers.get(name)
}

#[test]
fn an_event_takes_over_the_trace_of_its_cause() {
    let event = follow_up(&[("traceparent", PARENT), ("tracestate", "a=1,b=2")], new_event());
    assert_eq!(header(&event, "traceparent"), Some(PARENT));
    assert_eq!(header(&event, "tracestate"), Some("a=1,b=2"));
    assert_eq!(event.content().trace_id.as_deref(), Some(TRACE));
    assert!(create(new_event()).unwrap().content().headers.is_empty());
}

#[test]
fn what_an_event_names_itself_stays() {
    let other = "00-11111111111111111111111111111111-2222222222222222-01";
    let cause = [("traceparent", PARENT), ("tracestate", "a=1")];
    let event = follow_up(&cause, new_event().header("TraceParent", other).trace_id("mine"));
    assert_eq!(header(&event, "traceparent"), Some(other));
    assert_eq!(header(&event, "tracestate"), None);
    assert_eq!(event.content().trace_id.as_deref(), Some("mine"));

    let event = follow_up(&cause, new_event().header("tracestate", "own=1").trace_id("mine"));
    assert_eq!((header(&event, "traceparent"), header(&event, "tracestate")), (Some(PARENT), Some("own=1")));
    assert_eq!(event.content().trace_id.as_deref(), Some("mine"));
}

#[test]
fn a_trace_that_is_not_recorded_is_not_kept() {
    let unsampled = PARENT.replace("-01", "-00");
    assert!(follow_up(&[("traceparent", &unsampled)], new_event()).content().headers.is_empty());
}

#[test]
fn a_trace_costs_no_event() {
    let full = (0..100).fold(new_event(), |event, at| event.header(format!("h{at}"), "x"));
    assert_eq!(header(&follow_up(&[("traceparent", PARENT)], full), "traceparent"), None);

    let long = "a=".to_owned() + &"1".repeat(511);
    for state in [long.as_str(), "a=\u{7}"] {
        let event = follow_up(&[("traceparent", PARENT), ("tracestate", state)], new_event());
        assert_eq!((header(&event, "traceparent"), header(&event, "tracestate")), (Some(PARENT), None));
    }
    let last = (0..99).fold(new_event(), |event, at| event.header(format!("h{at}"), "x"));
    let event = follow_up(&[("traceparent", PARENT), ("tracestate", "a=1")], last);
    assert_eq!((header(&event, "traceparent"), header(&event, "tracestate")), (Some(PARENT), None));
}

#[test]
fn a_malformed_context_counts_as_none() {
    let of = |text: &str| TraceContext::of(&[("traceparent", text)].into_iter().collect::<Headers>());
    for good in [PARENT.to_owned(), PARENT.replace("-01", "-ff"), format!("cc{}-more", &PARENT[2..])] {
        assert!(of(&good).is_some(), "{good}");
    }
    for bad in [
        String::new(),
        "00".to_owned(),
        PARENT.to_uppercase(),
        PARENT.replace("0af", "0ag"),
        PARENT.replace("-b7", "_b7"),
        PARENT.replace(TRACE, &"0".repeat(32)),
        PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
        format!("ff{}", &PARENT[2..]),
        format!("{PARENT}-more"),
        format!("cc{}more", &PARENT[2..]),
        format!("{}é", &PARENT[..53]),
        "é".repeat(55),
    ] {
        assert!(of(&bad).is_none(), "{bad}");
        let refused = TraceContext::new(bad.clone(), None).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert!(bad.is_empty() || bad == "00" || !refused.chain().contains(&bad), "{refused}");
        assert!(follow_up(&[("traceparent", &bad)], new_event()).content().headers.is_empty(), "{bad}");
    }
}
