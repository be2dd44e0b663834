//! What is chosen when a program runs is used as what is known when it is built.

use std::sync::Arc;

use async_trait::async_trait;
use omni_box_core::broker::{EventPublisher, Reporter, SendOrder};
use omni_box_core::event::{InboxEvent, NewOutboxEvent, OutboxEvent};
use omni_box_core::message::{
    Encoded, EnvelopeEventConverter, EventConverter, InboundMessage, MessageDecoder, RawEventConverter,
    decoder_fn,
};
use omni_box_core::{ConsumerGroup, DefaultMessageDecoder, Event, OmniBoxDomainService, Result};

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

#[test]
fn a_pointer_to_a_converter_is_one() {
    fn body(converter: impl EventConverter) -> Vec<u8> {
        let event = event();
        Encoded::of(&event, &converter).unwrap().body.unwrap().into_owned()
    }
    assert_eq!(body(Box::new(RawEventConverter) as Box<dyn EventConverter>), br#"{"id":42}"#);
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
}
