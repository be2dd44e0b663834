//! What is chosen when a program runs is used as what is known when it is built.

use std::sync::Arc;

use async_trait::async_trait;
use omni_box_core::broker::{EventPublisher, Reporter, SendOrder, publisher_fn};
use omni_box_core::event::{InboxEvent, NewOutboxEvent, OutboxEvent};
use omni_box_core::message::{
    Encoded, EnvelopeEventConverter, EventConverter, InboundMessage, MessageDecoder, RawEventConverter,
    converter_fn, decoder_fn,
};
use omni_box_core::{
    ConsumerGroup, DefaultMessageDecoder, Error, ErrorKind, Event, OmniBoxDomainService, Result,
};

struct Ordered;

#[async_trait]
impl EventPublisher for Ordered {
    fn send_order(&self) -> SendOrder {
        SendOrder::Ordered
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        for event in events {
            reporter.report(event.id(), Ok(()));
        }
    }

    async fn purge(&self) {}

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

fn event() -> OutboxEvent {
    let new = NewOutboxEvent::new("user.created", "users", &serde_json::json!({"id": 42}));
    OmniBoxDomainService::default().create_outbox_event(new).unwrap()
}

async fn is_a_publisher(publisher: impl EventPublisher) {
    assert_eq!(publisher.send_order(), SendOrder::Ordered, "not the trait's default");
    let (reporter, mut reports) = Reporter::channel();
    publisher.submit(vec![Arc::new(event())], &reporter).await;
    assert!(reports.recv().await.unwrap().result.is_ok());
    publisher.purge().await;
    publisher.check().await.unwrap();
}

#[tokio::test]
async fn a_pointer_to_a_publisher_is_one() {
    is_a_publisher(Box::new(Ordered) as Box<dyn EventPublisher>).await;
    is_a_publisher(Arc::new(Ordered) as Arc<dyn EventPublisher>).await;
}

#[tokio::test]
async fn a_function_is_a_publisher() {
    let publisher: Box<dyn EventPublisher> =
        Box::new(publisher_fn(async |event: Arc<OutboxEvent>| match event.topic() {
            "users" => Ok(()),
            _ => panic!("as the test wants it"),
        }));
    assert_eq!(publisher.send_order(), SendOrder::OnePerKey);
    let other = NewOutboxEvent::new("user.created", "robots", &serde_json::json!({"id": 42}));
    let other = OmniBoxDomainService::default().create_outbox_event(other).unwrap();
    let (reporter, mut reports) = Reporter::channel();
    publisher.submit(vec![Arc::new(event()), Arc::new(other.clone())], &reporter).await;
    for _ in 0..2 {
        let report = reports.recv().await.unwrap();
        assert_eq!(
            report.result.map_err(|error| error.kind()).err(),
            (report.id == other.id()).then_some(ErrorKind::Rejected)
        );
    }
    publisher.check().await.unwrap();
}

/// What the relay gives up is not sent later, and after an outage nothing is sent until the relay has taken notice.
#[tokio::test]
async fn a_function_that_is_given_up_is_dropped() {
    let publisher = publisher_fn(async |event: Arc<OutboxEvent>| match event.topic() {
        "users" => std::future::pending().await,
        _ => Err(Error::new(ErrorKind::Unavailable, "down")),
    })
    .concurrency(2)
    .check_by(async || Err(Error::new(ErrorKind::Unavailable, "down")));
    let (reporter, mut reports) = Reporter::channel();
    publisher.submit(vec![Arc::new(event())], &reporter).await;
    publisher.purge().await;
    assert_eq!(reports.try_recv().unwrap().result.unwrap_err().kind(), ErrorKind::Unavailable);

    let down = NewOutboxEvent::new("user.created", "robots", &serde_json::json!({"id": 42}));
    let down = OmniBoxDomainService::default().create_outbox_event(down).unwrap();
    publisher.submit(vec![Arc::new(event()), Arc::new(down)], &reporter).await;
    for _ in 0..2 {
        assert_eq!(reports.recv().await.unwrap().result.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    publisher.check().await.unwrap_err();
    publisher.submit(vec![Arc::new(event())], &reporter).await;
    assert_eq!(reports.try_recv().unwrap().result.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_function_and_a_pointer_to_a_converter_are_converters() {
    fn body(converter: impl EventConverter) -> Vec<u8> {
        let event = event();
        Encoded::of(&event, &converter).unwrap().body.unwrap().into_owned()
    }
    assert_eq!(body(Box::new(RawEventConverter) as Box<dyn EventConverter>), br#"{"id":42}"#);
    assert_eq!(body(converter_fn(|event| Ok(event.topic().to_owned()))), b"users");
    assert!(body(Arc::new(EnvelopeEventConverter) as Arc<dyn EventConverter>).starts_with(br#"{"event_id""#));
}

#[test]
fn a_function_and_a_pointer_to_a_decoder_are_decoders() {
    fn decoded(decoder: impl MessageDecoder) -> InboxEvent {
        let message = InboundMessage {
            topic: "users".into(),
            partition: 0,
            offset: 7,
            key: None,
            value: Some("{}".into()),
            headers: Vec::new(),
            timestamp: None,
        };
        decoder.decode(&message, &ConsumerGroup::new("shipping").unwrap()).unwrap()
    }
    let default = DefaultMessageDecoder::new();
    let from_archive = decoder_fn(move |message, group| {
        let mut moved = message.clone();
        moved.topic = "archive".into();
        default.decode(&moved, group)
    });
    assert_eq!(decoded(from_archive).source(), "archive");
    let boxed: Box<dyn MessageDecoder> = Box::new(DefaultMessageDecoder::new());
    assert_eq!(decoded(boxed).source(), "users");
    let shared: Arc<dyn MessageDecoder> = Arc::new(DefaultMessageDecoder::new());
    assert_eq!(decoded(shared).source(), "users");
}
