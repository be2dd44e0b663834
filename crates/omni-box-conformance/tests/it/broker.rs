//! The broker in memory against its contracts, as it is and behind wrappers with no fault planned.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use omni_box_conformance::{ConsumerFixture, Outages, PublisherFixture};
use omni_box_core::{
    ConsumerGroup, EnvelopeEventConverter, EventId, EventPublisher, RawEventConverter, Reporter, publisher_fn,
};
use omni_box_testkit::{
    FaultPlan, FaultyConsumer, FaultyPublisher, MemoryBroker, MemoryConsumer, MemoryPublisher, NewMessage,
};

use super::ids_of;

static NAMES: AtomicUsize = AtomicUsize::new(0);

fn new_name(kind: &str) -> String {
    format!("{kind}-{}", NAMES.fetch_add(1, Ordering::SeqCst))
}

fn new_group() -> ConsumerGroup {
    ConsumerGroup::new(new_name("group")).unwrap()
}

fn new_topic(broker: &MemoryBroker, partitions: i32) -> String {
    let topic = new_name("topic");
    broker.create_topic(&topic, partitions);
    topic
}

/// Publishers and consumers as they are.
struct Plain(MemoryBroker);

/// Publishers that keep no order.
struct OnePerKey(MemoryBroker);

/// Publishers that are functions.
struct Function(MemoryBroker);

/// The same behind wrappers that do nothing.
struct Wrapped(MemoryBroker);

macro_rules! publisher_fixture {
    ($fixture:ident, $publisher:ty, |$broker:ident| $new:expr) => {
        impl PublisherFixture for $fixture {
            type Publisher = $publisher;

            async fn create() -> Option<Self> {
                Some(Self(MemoryBroker::new()))
            }

            async fn topic(&self) -> String {
                new_topic(&self.0, 3)
            }

            async fn publisher(&self) -> $publisher {
                let $broker = &self.0;
                $new
            }

            async fn read(&self, topic: &str) -> Vec<EventId> {
                ids_of(&self.0.records(topic))
            }
        }

        impl Outages for $fixture {
            async fn cut(&self) {
                self.0.cut();
            }

            async fn restore(&self) {
                self.0.restore();
            }
        }
    };
}

publisher_fixture!(Plain, MemoryPublisher, |broker| broker.publisher(EnvelopeEventConverter));
publisher_fixture!(OnePerKey, MemoryPublisher, |broker| broker.publisher(RawEventConverter).one_per_key());
publisher_fixture!(Function, Box<dyn EventPublisher>, |broker| {
    let (sender, checker) = (broker.clone(), broker.clone());
    let publish = move |event| {
        let publisher = sender.publisher(RawEventConverter);
        async move {
            let (reporter, mut reports) = Reporter::channel();
            publisher.submit(vec![event], &reporter).await;
            reports.recv().await.expect("each event is reported").result
        }
    };
    let check = move || {
        let publisher = checker.publisher(RawEventConverter);
        async move { publisher.check().await }
    };
    Box::new(publisher_fn(publish).check_by(check))
});
publisher_fixture!(Wrapped, FaultyPublisher<MemoryPublisher>, |broker| {
    FaultyPublisher::new(broker.publisher(RawEventConverter), &FaultPlan::new())
});

macro_rules! consumer_fixture {
    ($fixture:ident, $consumer:ty, |$inner:ident| $new:expr) => {
        impl ConsumerFixture for $fixture {
            type Consumer = $consumer;

            async fn create() -> Option<Self> {
                Some(Self(MemoryBroker::new()))
            }

            async fn topic(&self, partitions: i32) -> String {
                new_topic(&self.0, partitions)
            }

            fn group(&self) -> ConsumerGroup {
                new_group()
            }

            async fn consumer(&self, group: &ConsumerGroup, topic: &str) -> $consumer {
                let $inner = self.0.consumer(group, [topic]).drain_deadline(Duration::from_millis(200));
                $new
            }

            async fn send(
                &self,
                topic: &str,
                partition: i32,
                key: Option<&[u8]>,
                value: Option<&[u8]>,
                headers: &[(&str, &[u8])],
            ) {
                self.0.send(NewMessage::from_parts(topic, partition, key, value, headers.iter().copied()));
            }
        }
    };
}

consumer_fixture!(Plain, MemoryConsumer, |consumer| consumer);
consumer_fixture!(Wrapped, FaultyConsumer<MemoryConsumer>, |consumer| {
    FaultyConsumer::new(consumer, &FaultPlan::new())
});

mod plain {
    use super::Plain;
    omni_box_conformance::publisher_conformance!(Plain, send_order: Ordered);
    omni_box_conformance::outage_conformance!(Plain, send_order: Ordered);
    omni_box_conformance::consumer_conformance!(Plain);
}

mod one_per_key {
    use super::OnePerKey;
    omni_box_conformance::publisher_conformance!(OnePerKey, send_order: OnePerKey);
    omni_box_conformance::outage_conformance!(OnePerKey, send_order: OnePerKey);
}

mod function {
    use super::Function;
    omni_box_conformance::publisher_conformance!(Function, send_order: OnePerKey);
    omni_box_conformance::outage_conformance!(Function, send_order: OnePerKey);
}

mod wrapped {
    use super::Wrapped;
    omni_box_conformance::publisher_conformance!(Wrapped, send_order: Ordered);
    omni_box_conformance::outage_conformance!(Wrapped, send_order: Ordered);
    omni_box_conformance::consumer_conformance!(Wrapped);
}
