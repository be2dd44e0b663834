//! Kafka as anyone sees it, by plain rdkafka: nothing in here knows omni-box.

use std::time::Duration;

use anyhow::{Context, anyhow};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use rdkafka::message::OwnedMessage;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

/// Longest time until a broker answers.
const ANSWER: Duration = Duration::from_secs(10);
const PARTITIONS: i32 = 3;

/// A broker with the topic of this run.
pub(crate) struct Kafka {
    brokers: String,
    name: String,
    /// The broker, where it is inside this process.
    inside: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl Kafka {
    pub(crate) async fn open(brokers: Option<&str>, run: &str) -> anyhow::Result<Self> {
        let name = run.to_owned();
        let Some(brokers) = brokers else {
            let cluster = MockCluster::new(1).context("no broker in this process")?;
            cluster.create_topic(&name, PARTITIONS, 1)?;
            return Ok(Self { brokers: cluster.bootstrap_servers(), name, inside: Some(cluster) });
        };
        let kafka = Self { brokers: brokers.to_owned(), name, inside: None };
        kafka.create_topic().await?;
        Ok(kafka)
    }

    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }

    pub(crate) fn topic(&self) -> &str {
        &self.name
    }

    /// The consumer group of this run.
    pub(crate) fn group(&self) -> &str {
        &self.name
    }

    /// What it is and where.
    pub(crate) fn place(&self) -> String {
        let inside = if self.inside.is_some() { " in this process" } else { "" };
        format!("Kafka broker{inside} at {}, topic {}", self.brokers, self.name)
    }

    /// A reader of the whole topic from its beginning, in no group.
    pub(crate) fn reader(&self) -> anyhow::Result<StreamConsumer> {
        let reader: StreamConsumer = self
            .client()
            // librdkafka wants a name, though this one neither joins nor commits
            .set("group.id", format!("{}_reader", self.name))
            .set("enable.auto.commit", "false")
            .create()?;
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(&self.name, partition, Offset::Beginning)?;
        }
        reader.assign(&all)?;
        Ok(reader)
    }

    /// Sends a message as it is once more, and gives its offset.
    pub(crate) async fn send_again(&self, message: &OwnedMessage) -> anyhow::Result<i64> {
        let producer: FutureProducer = self.client().set("message.timeout.ms", "10000").create()?;
        let mut record = FutureRecord::to(message.topic())
            .partition(message.partition())
            .key(message.key().unwrap_or_default())
            .payload(message.payload().unwrap_or_default());
        record.headers = message.headers().cloned();
        let delivered = producer.send(record, ANSWER).await.map_err(|(error, _)| error)?;
        Ok(delivered.offset)
    }

    /// How far the group has come in a partition: the offset of the first message that it has not dealt with.
    pub(crate) async fn committed(&self, partition: i32) -> anyhow::Result<Option<i64>> {
        let consumer: BaseConsumer = self.client().set("group.id", self.group()).create()?;
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&self.name, partition);
        let committed =
            tokio::task::spawn_blocking(move || consumer.committed_offsets(asked, ANSWER)).await??;
        Ok(committed.elements().first().and_then(|element| match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }))
    }

    /// Removes the topic unless it is to be kept. Says what is left.
    pub(crate) async fn close(self, keep: bool) -> anyhow::Result<Option<String>> {
        if self.inside.is_some() {
            return Ok(None);
        }
        if keep {
            return Ok(Some(self.place()));
        }
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        for deleted in admin.delete_topics(&[&self.name], &options()).await? {
            deleted.map_err(|(topic, code)| anyhow!("cannot delete topic {topic}: {code}"))?;
        }
        Ok(None)
    }

    async fn create_topic(&self) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        // the broker's own number of replicas
        let topic = NewTopic::new(&self.name, PARTITIONS, TopicReplication::Fixed(-1));
        let created = admin.create_topics([&topic], &options()).await;
        let created = created.with_context(|| format!("no Kafka broker answers at {}", self.brokers))?;
        for created in created {
            created.map_err(|(topic, code)| anyhow!("cannot create topic {topic}: {code}"))?;
        }
        Ok(())
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER))
}
