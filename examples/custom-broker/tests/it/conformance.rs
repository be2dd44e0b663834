//! The contract of a publisher.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::Method;
use custom_broker::WebhookPublisher;
use omni_box_conformance::{Outages, PublisherFixture};
use omni_box_core::EventId;

use super::receiver::Receiver;

struct Webhook {
    receiver: Receiver,
    topics: AtomicUsize,
}

impl PublisherFixture for Webhook {
    type Publisher = WebhookPublisher;

    async fn create() -> Option<Self> {
        Some(Self { receiver: Receiver::start().await, topics: AtomicUsize::new(0) })
    }

    async fn topic(&self) -> String {
        format!("topic-{}", self.topics.fetch_add(1, Ordering::SeqCst))
    }

    async fn publisher(&self) -> WebhookPublisher {
        self.receiver.publisher()
    }

    async fn read(&self, topic: &str) -> Vec<EventId> {
        let taken = self.receiver.taken(topic).into_iter();
        taken.map(|(id, _)| EventId::from(uuid::Uuid::parse_str(&id).unwrap())).collect()
    }
}

impl Outages for Webhook {
    async fn cut(&self) {
        self.receiver.silence(&[Method::HEAD, Method::POST]);
    }

    async fn restore(&self) {
        self.receiver.silence(&[]);
    }
}

omni_box_conformance::publisher_conformance!(Webhook, send_order: OnePerKey);
omni_box_conformance::outage_conformance!(Webhook, send_order: OnePerKey);
