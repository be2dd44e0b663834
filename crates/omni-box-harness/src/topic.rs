//! Topics of a test's own, and what lies in them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const REQUEST: Duration = Duration::from_secs(10);
const READ: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// Clients here carry more than brokers take by default, so that the broker's answer can be tested.
const LARGEST_MESSAGE: &str = "10000000";

/// Which records of transactions a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Those of committed transactions.
    ReadCommitted,
    /// All, aborted ones too.
    ReadUncommitted,
}

/// A record as it lies in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its partition.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// Its key; none is not the same as an empty one.
    pub key: Option<Vec<u8>>,
    /// Its value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since 1970 (UTC).
    pub timestamp_ms: Option<i64>,
}

/// A raw message to produce.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The partition; by the key's hash if none.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Creates a topic with a name that no other topic has, and waits until the broker serves all of it.
///
/// # Errors
/// When the broker refuses or does not answer.
pub async fn create_topic(
    brokers: &str,
    name_prefix: &str,
    partitions: i32,
    extra_config: &[(&str, &str)],
) -> Result<String> {
    let name = format!("{name_prefix}-{}", uuid::Uuid::new_v4().simple());
    let admin: AdminClient<DefaultClientContext> = client(brokers).create()?;
    let mut topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    for (key, value) in extra_config {
        topic = topic.set(key, value);
    }
    let options = AdminOptions::new().operation_timeout(Some(REQUEST));
    for created in admin.create_topics([&topic], &options).await? {
        created.map_err(|(_, code)| anyhow!("cannot create topic {name}: {code}"))?;
    }
    let wanted = usize::try_from(partitions).context("partitions are counted from 1")?;
    tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + REQUEST;
        loop {
            let metadata = admin.inner().fetch_metadata(Some(&name), REQUEST)?;
            let parts = metadata.topics().first().map_or(&[][..], |topic| topic.partitions());
            if parts.len() == wanted && parts.iter().all(|part| part.leader() >= 0) {
                return Ok(name);
            }
            anyhow::ensure!(Instant::now() < deadline, "topic {name} has no leaders");
            std::thread::sleep(Duration::from_millis(20));
        }
    })
    .await?
}

/// Reads a topic from its beginning to the end it has when this is called, all partitions, no group.
///
/// Offsets may have holes (compaction, transaction markers, aborted records). With
/// [`Isolation::ReadCommitted`] the end lies before the first open transaction. The result is ordered
/// by partition and offset.
///
/// # Errors
/// When the broker does not answer or the topic's end is not reached within 60 s.
pub async fn read_topic(brokers: &str, topic: &str, isolation: Isolation) -> Result<Vec<Record>> {
    let level = match isolation {
        Isolation::ReadCommitted => "read_committed",
        Isolation::ReadUncommitted => "read_uncommitted",
    };
    let mut config = client(brokers);
    // A consumer of librdkafka must name a group, even one that neither joins nor commits.
    config
        .set("group.id", "omni-box-harness")
        .set("isolation.level", level)
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false");
    let topic = topic.to_owned();
    tokio::task::spawn_blocking(move || read(&config.create()?, &topic)).await?
}

fn read(consumer: &BaseConsumer, topic: &str) -> Result<Vec<Record>> {
    let mut ends = BTreeMap::new();
    let mut assignment = TopicPartitionList::new();
    for partition in partitions(consumer, topic)? {
        let (low, high) = consumer.fetch_watermarks(topic, partition, REQUEST)?;
        if low < high {
            ends.insert(partition, high);
            assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
    }
    consumer.assign(&assignment)?;
    let mut open: BTreeSet<i32> = ends.keys().copied().collect();
    let mut records = Vec::new();
    let deadline = Instant::now() + READ;
    while !open.is_empty() {
        anyhow::ensure!(Instant::now() < deadline, "the end of {topic} was not reached: {open:?}");
        match consumer.poll(POLL) {
            None => {}
            // The last offsets may be markers or gone: their end is told by this event alone.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => return Err(error).with_context(|| format!("cannot read {topic}")),
            Some(Ok(message)) => {
                let end = ends.get(&message.partition()).copied().unwrap_or_default();
                if message.offset() < end {
                    records.push(Record::from_message(&message));
                }
                if message.offset() + 1 >= end {
                    open.remove(&message.partition());
                }
            }
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    Ok(records)
}

/// Produces raw messages and gives partition and offset of each, in the order of `messages`.
///
/// # Errors
/// When the broker does not take one of them.
pub async fn produce(brokers: &str, topic: &str, messages: &[Message]) -> Result<Vec<(i32, i64)>> {
    let mut config = client(brokers);
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("message.timeout.ms", "30000");
    let producer: FutureProducer = config.create()?;
    let mut sent = Vec::new();
    for message in messages {
        let mut headers = OwnedHeaders::new();
        for (key, value) in &message.headers {
            headers = headers.insert(Header { key, value: value.as_deref() });
        }
        let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic).headers(headers);
        record.partition = message.partition;
        record.key = message.key.as_deref();
        record.payload = message.value.as_deref();
        sent.push(producer.send_result(record).map_err(|(error, _)| error)?);
    }
    let mut places = Vec::new();
    for delivery in sent {
        let delivered = delivery.await?.map_err(|(error, _)| error)?;
        places.push((delivered.partition, delivered.offset));
    }
    Ok(places)
}

/// The offsets that `group` has committed for `topic`, of those partitions where it has.
///
/// # Errors
/// When the broker does not answer.
pub async fn committed_offsets(brokers: &str, group: &str, topic: &str) -> Result<BTreeMap<i32, i64>> {
    let mut config = client(brokers);
    config.set("group.id", group);
    let topic = topic.to_owned();
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config.create()?;
        let mut wanted = TopicPartitionList::new();
        for partition in partitions(&consumer, &topic)? {
            wanted.add_partition(&topic, partition);
        }
        let committed = consumer.committed_offsets(wanted, REQUEST)?;
        let offset = |offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
        Ok(committed
            .elements()
            .iter()
            .filter_map(|element| Some((element.partition(), offset(element.offset())?)))
            .collect())
    })
    .await?
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<Vec<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST)?;
    let topic = metadata.topics().first().with_context(|| format!("no topic {topic}"))?;
    anyhow::ensure!(topic.error().is_none(), "topic {}: {:?}", topic.name(), topic.error());
    Ok(topic.partitions().iter().map(|partition| partition.id()).collect())
}

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("message.max.bytes", LARGEST_MESSAGE)
        .set("reconnect.backoff.max.ms", "500");
    config
}

impl Record {
    fn from_message(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
        });
        Self {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
            timestamp_ms: message.timestamp().to_millis(),
        }
    }
}
