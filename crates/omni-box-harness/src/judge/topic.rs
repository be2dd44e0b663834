//! Reads whole topics.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// How long the broker may take to answer, or to deliver anything more.
const PATIENCE: Duration = Duration::from_secs(20);

/// A message that is on a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Header `message_id` or `event_id`, else `topic:partition:offset`.
    pub id: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
}

impl Message {
    /// `topic:partition:offset`.
    pub fn position(&self) -> String {
        format!("{}:{}:{}", self.topic, self.partition, self.offset)
    }
}

/// Reads topics from beginning to end as a `read_committed` consumer sees them; each partition in its order. A topic that does
/// not exist is empty.
///
/// # Errors
/// When the broker does not answer or stops delivering before the end.
pub async fn read_topics(brokers: &str, topics: &[String]) -> Result<Vec<Message>> {
    let (brokers, topics) = (brokers.to_owned(), topics.to_vec());
    tokio::task::spawn_blocking(move || read_blocking(&brokers, &topics)).await?
}

fn read_blocking(brokers: &str, topics: &[String]) -> Result<Vec<Message>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "omni-box-judge")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "10")
        .set("isolation.level", "read_committed")
        .create()?;
    // all topics: asking for one by name would create it on a broker that creates topics by itself
    let metadata = consumer.fetch_metadata(None, PATIENCE).context("broker does not answer the judge")?;
    let mut messages = Vec::new();
    for topic in metadata.topics().iter().filter(|topic| topics.iter().any(|name| name == topic.name())) {
        for partition in topic.partitions() {
            read_partition(&consumer, topic.name(), partition.id(), &mut messages)
                .with_context(|| format!("{}/{} cannot be read", topic.name(), partition.id()))?;
        }
    }
    Ok(messages)
}

/// One partition at a time: the event that tells its end names no topic.
fn read_partition(
    consumer: &BaseConsumer,
    topic: &str,
    partition: i32,
    messages: &mut Vec<Message>,
) -> Result<()> {
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    consumer.assign(&assignment)?;
    let mut last_news = Instant::now();
    loop {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                last_news = Instant::now();
                messages.push(to_message(&message));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            // the client tries again by itself
            Some(Err(error)) if last_news.elapsed() > PATIENCE => return Err(error.into()),
            None if last_news.elapsed() > PATIENCE => bail!("no message and no end for {PATIENCE:?}"),
            Some(Err(_)) | None => {}
        }
    }
}

fn to_message(message: &BorrowedMessage<'_>) -> Message {
    let header = |name: &str| {
        let headers = message.headers()?;
        let value = headers.iter().find(|header| header.key.eq_ignore_ascii_case(name))?.value?;
        std::str::from_utf8(value).ok().filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let mut read = Message {
        id: String::new(),
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
    };
    read.id = header("message_id").or_else(|| header("event_id")).unwrap_or_else(|| read.position());
    read
}
