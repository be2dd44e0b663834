//! What the answers of a receiver mean to the engine.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use custom_broker::{Signer, WebhookConfig, WebhookPublisher};
use omni_box_core::{
    Encoded, EnvelopeEventConverter, Error, ErrorKind, Event as _, EventConverter, EventPublisher,
    FailureClass, NewOutboxEvent, OmniBoxDomainService, OutboxEvent, RawEventConverter, Reporter,
};

use super::receiver::{CONCURRENCY, Receiver, SECRET, TIMEOUT};

fn event(topic: &str) -> Arc<OutboxEvent> {
    let event = NewOutboxEvent::from_json("order.placed", topic, r#"{"order": 7}"#).partition_key("ada");
    Arc::new(OmniBoxDomainService::default().create_outbox_event(event).unwrap())
}

/// Submits one event and waits for its report.
async fn publish(publisher: &WebhookPublisher, event: Arc<OutboxEvent>) -> Result<(), Error> {
    let (reporter, mut reports) = Reporter::channel();
    publisher.submit(vec![event], &reporter).await;
    reports.recv().await.unwrap().result
}

#[tokio::test]
async fn an_event_is_posted_with_what_tells_it_from_others() {
    let receiver = Receiver::start().await;
    let event = event("orders of 2026/eu");
    publish(&receiver.publisher(), Arc::clone(&event)).await.unwrap();
    let taken = receiver.taken("orders%20of%202026%2Feu");
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].0, event.id().to_string(), "a receiver finds repeats by it");
    let body: serde_json::Value = serde_json::from_slice(&taken[0].1).unwrap();
    assert_eq!(body["event_type"], "order.placed");
    assert_eq!(body["payload"]["order"], 7);
}

#[tokio::test]
async fn an_answer_says_what_to_do() {
    use {ErrorKind::*, FailureClass as Class};
    let receiver = Receiver::start().await;
    let publisher = receiver.publisher_with(SECRET, RawEventConverter);
    for (status, kind, class) in [
        (301, TopicUnavailable, Class::Infrastructure),
        (400, Rejected, Class::Permanent),
        (403, Unauthorized, Class::Infrastructure),
        (404, TopicUnavailable, Class::Infrastructure),
        (408, Timeout, Class::Event),
        (409, Rejected, Class::Permanent),
        (413, TooLarge, Class::Permanent),
        (422, Rejected, Class::Permanent),
        (429, Unavailable, Class::Infrastructure),
        (500, Handler, Class::Event),
        (502, Unavailable, Class::Infrastructure),
        (503, Unavailable, Class::Infrastructure),
    ] {
        receiver.refuse(Some(StatusCode::from_u16(status).unwrap()));
        let error = publish(&publisher, event("orders")).await.unwrap_err();
        assert_eq!((error.kind(), error.class()), (kind, class), "the answer {status}");
        publisher.purge().await;
    }
    receiver.refuse(None);
    assert!(receiver.taken("orders").is_empty());
    publish(&publisher, event("orders")).await.unwrap();
}

#[tokio::test]
async fn after_an_outage_nothing_is_sent_until_it_was_noticed() {
    let receiver = Receiver::start().await;
    let publisher = receiver.publisher();
    receiver.refuse(Some(StatusCode::SERVICE_UNAVAILABLE));
    publish(&publisher, event("orders")).await.unwrap_err();
    receiver.refuse(None);
    let error = publish(&publisher, event("orders")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(receiver.taken("orders").is_empty());
    publisher.check().await.unwrap();
    publish(&publisher, event("orders")).await.unwrap();
}

#[tokio::test]
async fn an_event_that_gets_no_answer_from_a_receiver_that_is_well_fails_alone() {
    let receiver = Receiver::start().await;
    let publisher = receiver.publisher();
    receiver.silence(&[Method::POST]);
    let error = publish(&publisher, event("orders")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    receiver.silence(&[]);
    publish(&publisher, event("orders")).await.unwrap();
}

#[tokio::test]
async fn a_check_passes_unless_the_receiver_complains() {
    let receiver = Receiver::start().await;
    let publisher = receiver.publisher();
    for (status, expected) in [
        (200, None),
        (204, None),
        (404, None),
        (405, None),
        (401, Some(ErrorKind::Unauthorized)),
        (429, Some(ErrorKind::Unavailable)),
        (500, Some(ErrorKind::Unavailable)),
        (503, Some(ErrorKind::Unavailable)),
    ] {
        receiver.answer_checks(StatusCode::from_u16(status).unwrap());
        assert_eq!(publisher.check().await.err().map(|error| error.kind()), expected, "the answer {status}");
    }
}

#[tokio::test]
async fn an_error_of_a_receiver_that_fails_its_check_too_is_an_outage() {
    let receiver = Receiver::start().await;
    let publisher = receiver.publisher();
    receiver.answer_checks(StatusCode::INTERNAL_SERVER_ERROR);
    receiver.refuse(Some(StatusCode::INTERNAL_SERVER_ERROR));
    let error = publish(&publisher, event("orders")).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Unavailable,
        "no event loses its attempts to a receiver that is down"
    );
}

#[tokio::test]
async fn nobody_listening_is_an_outage() {
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let config = WebhookConfig {
        endpoint: format!("http://user:hidden@{closed}").parse().unwrap(),
        signer: Signer::new(SECRET).unwrap(),
        timeout: TIMEOUT,
        concurrency: 1,
    };
    let publisher = WebhookPublisher::new(config, EnvelopeEventConverter).unwrap();
    let error = publish(&publisher, event("orders")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!format!("{error:?} {publisher:?}").contains("hidden"), "{error:?} {publisher:?}");
    assert_eq!(publisher.check().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_wrong_secret_is_for_an_operator_and_costs_no_attempt() {
    let receiver = Receiver::start().await;
    let publisher = receiver.publisher_with(b"the old one", EnvelopeEventConverter);
    let error = publish(&publisher, event("orders")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert_eq!(publisher.check().await.unwrap_err().kind(), ErrorKind::Unauthorized);
    assert!(receiver.taken("orders").is_empty());
}

#[tokio::test]
async fn requests_under_way_are_bounded() {
    let receiver = Receiver::start().await;
    let publisher = receiver.publisher();
    receiver.silence(&[Method::POST]);
    let (reporter, mut reports) = Reporter::channel();
    let submitting = publisher.submit((0..100).map(|_| event("orders")).collect(), &reporter);
    let all_slots_taken = async {
        while receiver.most_under_way() < CONCURRENCY as usize {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        receiver.silence(&[]);
    };
    tokio::time::timeout(TIMEOUT, async { tokio::join!(submitting, all_slots_taken) }).await.unwrap();
    for _ in 0..100 {
        reports.recv().await.unwrap().result.unwrap();
    }
    assert_eq!(receiver.most_under_way(), CONCURRENCY as usize);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for (endpoint, concurrency) in [("mailto:ada@example.org", 1), ("http://example.org", 0)] {
        let config = WebhookConfig {
            endpoint: endpoint.parse().unwrap(),
            signer: Signer::new(SECRET).unwrap(),
            timeout: TIMEOUT,
            concurrency,
        };
        let error = WebhookPublisher::new(config, EnvelopeEventConverter).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
    }
}

/// Cannot encode anything, and takes it for an outage.
struct Failing;

impl EventConverter for Failing {
    fn convert<'a>(&self, _event: &'a OutboxEvent) -> Result<Encoded<'a>, Error> {
        Err(Error::new(ErrorKind::Unavailable, "no schema is registered"))
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_encoded_is_no_outage() {
    let receiver = Receiver::start().await;
    let publisher = receiver.publisher_with(SECRET, Failing);
    for _ in 0..2 {
        let error = publish(&publisher, event("orders")).await.unwrap_err();
        assert_eq!(error.chain(), "event cannot be encoded: no schema is registered");
        assert_eq!(error.class(), FailureClass::Permanent);
    }
}
