//! The suites of publishers and consumers, on Apache Kafka and on librdkafka's mock cluster.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use omni_box_conformance::{ConsumerFixture, Outages, PublisherFixture};
use omni_box_core::{ConsumerGroup, EventId, RawEventConverter};
use omni_box_harness::services::local::Listener;
use omni_box_kafka::{KafkaConsumerConfig, KafkaEventConsumer, KafkaEventPublisher, KafkaPublisherConfig};
use rdkafka::ClientConfig;
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::future_producer::FutureProducerContext;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::cluster::{self, unique};
use crate::consume::config;
use crate::own::OwnBroker;
use crate::proxy::Proxy;

const BROKER: i32 = 1;

/// How long the mock takes to answer once a second member joins. It ends a rebalance as soon as the leader has synced, sends who syncs
/// later back to join, and takes no commits meanwhile: what is revoked could not be acknowledged. The leader asks once more than the others
/// before it syncs, so this is what they are ahead of it.
const HEAD_START: Duration = Duration::from_millis(50);

/// Apache Kafka, shared with other tests, which cannot be taken away from one of them.
struct Apache {
    servers: String,
    sender: FutureProducer,
}

/// A mock cluster of the test's own, which lives as long as the client that sends to it.
struct Mock {
    servers: String,
    sender: FutureProducer,
    /// Whether there was a member before.
    joined: AtomicBool,
}

/// Apache Kafka that can be reached through a proxy alone, which is cut. The cases share a broker, one after the other.
struct Proxied {
    servers: String,
    path: Arc<Path>,
    _turn: OwnedMutexGuard<()>,
}

struct Path {
    broker: OwnBroker,
    proxy: Proxy,
    turn: Arc<Mutex<()>>,
}

/// Lives as long as a case has it or waits for its turn: what is static is never dropped, and its broker would live on.
static PATH: Mutex<Weak<Path>> = Mutex::const_new(Weak::new());

impl Path {
    async fn shared() -> Arc<Self> {
        let mut shared = PATH.lock().await;
        if let Some(path) = shared.upgrade() {
            return path;
        }
        let proxy = Proxy::start();
        let advertised = Some(proxy.address().parse().unwrap());
        let listener = Listener { advertised, ..Listener::new("PLAINTEXT").unwrap() };
        let broker = OwnBroker::start(tempfile::tempdir().unwrap(), &listener).await;
        proxy.lead_to(&broker.listener);
        let path = Arc::new(Self { broker, proxy, turn: Arc::default() });
        *shared = Arc::downgrade(&path);
        path
    }
}

impl PublisherFixture for Proxied {
    type Publisher = KafkaEventPublisher;

    async fn create() -> Option<Self> {
        cluster::brokers()?;
        let path = Path::shared().await;
        let turn = Arc::clone(&path.turn).lock_owned().await;
        // a case that failed may have left it cut
        path.proxy.mend();
        Some(Self { servers: path.broker.server.brokers(), path, _turn: turn })
    }

    async fn topic(&self) -> String {
        cluster::topic(&self.servers, "conformance", 3, &[]).await
    }

    async fn publisher(&self) -> KafkaEventPublisher {
        let config = KafkaPublisherConfig::new(self.path.proxy.address());
        KafkaEventPublisher::from_config(config, RawEventConverter).unwrap()
    }

    async fn read(&self, topic: &str) -> Vec<EventId> {
        event_ids(&self.servers, topic).await
    }
}

impl Outages for Proxied {
    async fn cut(&self) {
        self.path.proxy.cut();
    }

    async fn restore(&self) {
        self.path.proxy.mend();
    }
}

/// The ids on a topic, in order.
async fn event_ids(servers: &str, topic: &str) -> Vec<EventId> {
    let id = |read: &cluster::Read| {
        let (_, id) = read.headers.iter().find(|(name, _)| name == "event_id").unwrap();
        EventId::from(id.parse::<uuid::Uuid>().unwrap())
    };
    cluster::read(servers, topic).await.iter().map(id).collect()
}

impl Apache {
    fn new() -> Option<Self> {
        let servers = omni_box_harness::kafka()?;
        let sender = ClientConfig::new().set("bootstrap.servers", &servers).create().unwrap();
        Some(Self { servers, sender })
    }

    async fn topic(&self, partitions: i32) -> String {
        cluster::topic(&self.servers, "conformance", partitions, &[]).await
    }

    fn publisher(&self) -> KafkaEventPublisher {
        KafkaEventPublisher::from_config(KafkaPublisherConfig::new(&self.servers), RawEventConverter).unwrap()
    }

    fn settings(&self, group: &ConsumerGroup, topic: &str) -> KafkaConsumerConfig {
        config(&self.servers, group.as_str(), topic)
    }
}

impl Mock {
    fn new() -> Option<Self> {
        let sender: FutureProducer = ClientConfig::new().set("test.mock.num.brokers", "1").create().unwrap();
        let servers = sender.client().mock_cluster().unwrap().bootstrap_servers();
        Some(Self { servers, sender, joined: AtomicBool::new(false) })
    }

    fn cluster(&self) -> MockCluster<'_, FutureProducerContext<DefaultClientContext>> {
        self.sender.client().mock_cluster().unwrap()
    }

    async fn topic(&self, partitions: i32) -> String {
        let topic = unique("conformance");
        self.cluster().create_topic(&topic, partitions, 1).unwrap();
        topic
    }

    fn publisher(&self) -> KafkaEventPublisher {
        // the mock answers no questions about a topic's settings
        let config = KafkaPublisherConfig::new(&self.servers);
        KafkaEventPublisher::with_factory(move || config.producer(), RawEventConverter)
    }

    fn settings(&self, group: &ConsumerGroup, topic: &str) -> KafkaConsumerConfig {
        if self.joined.swap(true, Ordering::Relaxed) {
            self.cluster().broker_round_trip_time(BROKER, HEAD_START).unwrap();
        }
        // more than the three seconds for which the mock lets a new group wait, or its members are thrown out before they are in; a
        // second less than this is what each later rebalance takes
        config(&self.servers, group.as_str(), topic).property("session.timeout.ms", "4000")
    }
}

macro_rules! fixtures {
    ($fixture:ident) => {
        impl PublisherFixture for $fixture {
            type Publisher = KafkaEventPublisher;

            async fn create() -> Option<Self> {
                Self::new()
            }

            async fn topic(&self) -> String {
                self.topic(3).await
            }

            async fn publisher(&self) -> KafkaEventPublisher {
                self.publisher()
            }

            async fn read(&self, topic: &str) -> Vec<EventId> {
                event_ids(&self.servers, topic).await
            }
        }

        impl ConsumerFixture for $fixture {
            type Consumer = KafkaEventConsumer;

            async fn create() -> Option<Self> {
                Self::new()
            }

            async fn topic(&self, partitions: i32) -> String {
                self.topic(partitions).await
            }

            fn group(&self) -> ConsumerGroup {
                ConsumerGroup::new(unique("group")).unwrap()
            }

            async fn consumer(&self, group: &ConsumerGroup, topic: &str) -> KafkaEventConsumer {
                let settings = self.settings(group, topic).drain_deadline(Duration::from_secs(2)).window(100);
                KafkaEventConsumer::from_config(settings).unwrap()
            }

            async fn send(
                &self,
                topic: &str,
                partition: i32,
                key: Option<&[u8]>,
                value: Option<&[u8]>,
                headers: &[(&str, &[u8])],
            ) {
                let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                    headers.insert(Header { key, value: Some(*value) })
                });
                let mut record: FutureRecord<'_, [u8], [u8]> =
                    FutureRecord::to(topic).partition(partition).headers(headers);
                record.key = key;
                record.payload = value;
                let sent = self.sender.send_result(record).map_err(|(error, _)| error).unwrap();
                sent.await.unwrap().map_err(|(error, _)| error).unwrap();
            }
        }
    };
}

fixtures!(Apache);
fixtures!(Mock);

impl Outages for Mock {
    async fn cut(&self) {
        self.cluster().broker_down(BROKER).unwrap();
    }

    async fn restore(&self) {
        self.cluster().broker_up(BROKER).unwrap();
    }
}

mod apache {
    use super::Apache;
    omni_box_conformance::publisher_conformance!(Apache, send_order: Ordered);
    omni_box_conformance::consumer_conformance!(Apache);
}

mod proxied {
    use super::Proxied;
    omni_box_conformance::outage_conformance!(Proxied, send_order: Ordered);
}

mod mock {
    use super::Mock;
    omni_box_conformance::publisher_conformance!(Mock, send_order: Ordered);
    omni_box_conformance::outage_conformance!(Mock, send_order: Ordered);
    omni_box_conformance::consumer_conformance!(Mock);
}
