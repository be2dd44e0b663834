//! A topic, and the messages on it.

use std::time::Duration;

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

const PARTITIONS: i32 = 1;
const DEADLINE: Duration = Duration::from_secs(30);

/// A broker, inside this process or not.
pub(crate) struct Broker {
    pub(crate) brokers: String,
    _inside: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl Broker {
    /// With a topic of this name.
    pub(crate) async fn with_topic(brokers: Option<String>, topic: &str) -> anyhow::Result<Self> {
        let Some(brokers) = brokers else {
            let cluster = MockCluster::new(1).context("no broker in this process")?;
            cluster.create_topic(topic, PARTITIONS, 1)?;
            return Ok(Self { brokers: cluster.bootstrap_servers(), _inside: Some(cluster) });
        };
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &brokers).create()?;
        let topic = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(DEADLINE));
        for made in admin.create_topics([&topic], &options).await? {
            made.map_err(|(name, error)| anyhow::anyhow!("topic {name} was not made: {error}"))?;
        }
        Ok(Self { brokers, _inside: None })
    }

    /// Sends messages with their ids, as another service would; waits until the broker has them.
    pub(crate) async fn send(&self, topic: &str, messages: &[(&str, &str)]) -> anyhow::Result<()> {
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &self.brokers).create()?;
        for (id, value) in messages {
            let header = |key, value| Header { key, value: Some(value) };
            let headers = OwnedHeaders::new()
                .insert(header("message_id", *id))
                .insert(header("event_type", "order.placed"));
            let record = BaseRecord::to(topic).key(*id).payload(*value).headers(headers);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        // this waits, and blocks its thread
        tokio::task::spawn_blocking(move || producer.flush(DEADLINE)).await??;
        Ok(())
    }
}
