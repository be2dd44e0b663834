//! The consumer: hands over assigned partitions, commits what is done.

mod authorization;
mod committer;
mod config;
mod connection;
mod driver;
mod handle;
mod handover;
mod held;
mod marks;
mod membership;
mod message;
mod offsets;
mod partition;
mod position;
mod questions;
mod recreated;
mod slots;
mod troubles;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::broker::Leaver;
use omni_box_core::{AssignedPartition, ConsumerGroup, Error, ErrorKind, EventConsumer, Result};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub use config::KafkaConsumerConfig;
use driver::Driver;
use membership::{Membership, News};
use recreated::Recreated;

use crate::error::classified;

/// Receives messages as a member of a consumer group.
///
/// - A group without an offset starts at the beginning of its topics. The position of a drained partition passes records that
///   hold no message (markers of transactions, what was aborted). Their retention costs the group nothing.
/// - An offset out of range, such as one that retention has overtaken, stops its partition. This is logged as an error; its stream stays
///   silent until it is assigned again, and other partitions go on. Set the group's offset while no member runs; Kafka does not let it be
///   set before.
/// - A topic that is deleted and created again while it is read is logged as a warning. Its partitions are lost, and come again from the beginning.
///   Brokers before Kafka 2.8 do not tell.
/// - A topic that is missing, or that this user may not read, is logged and waited for, other topics go on. Where this user may read none
///   of those subscribed to by name and of those with a partition here, [`next_partition`](EventConsumer::next_partition) returns
///   [`Unauthorized`](ErrorKind::Unauthorized). Kafka is asked again before. Topics that match a pattern, and that this user may not
///   describe, are as if they were missing.
/// - A partition whose fetches fail is a warning, once, and a line when they succeed again. A batch that is damaged is delivered as it is; a
///   message that cannot be read is the inbox's to keep.
/// - A log-in that a broker refuses is logged once and waited out, as an outage is;
///   [`KafkaConsumerConfig::end_when_refused`] makes it the consumer's end.
/// - [`Misconfigured`](ErrorKind::Misconfigured) is returned where the broker refuses the group's settings, such as `session.timeout.ms`.
/// - A partition is handed over once the group's offset is known. As long as Kafka does not tell it, as for a transaction that goes on, this
///   is logged and waited for, without end. Other partitions go on. They rest while it is asked: up to 5 s when partitions come, and then
///   half of the time at most if Kafka is silent.
/// - A partition that is revoked may finish within the drain deadline; its position is committed before it goes.
/// - Acknowledgements of all partitions share commits, of which one is on its way at a time. A commit waits 10 s for a broker that is away,
///   then returns [`Unavailable`](ErrorKind::Unavailable); its marks stay. When partitions go, their last positions are committed by one
///   request, for which the consumer waits 5 s. [`close`](EventConsumer::close) names the partitions whose positions Kafka did not take.
/// - A header whose name is not UTF-8 is left out. rdkafka 0.39 panics on it; the panic is caught, and told by the panic hook. A program
///   that is built with `panic = "abort"` ends at such a message instead.
/// - Kafka is polled on a thread of its own. Dropping the consumer without closing it leaves the group without waiting.
///
/// ```no_run
/// use omni_box_core::EventConsumer;
/// use omni_box_kafka::{KafkaConsumerConfig, KafkaEventConsumer};
///
/// # async fn run() -> omni_box_core::Result<()> {
/// let config = KafkaConsumerConfig::new("localhost:9092", "shipping", ["orders"]);
/// let mut consumer = KafkaEventConsumer::from_config(config)?;
/// // an inbox runner takes the consumer and does this for each partition, side by side
/// consumer.start().await?;
/// while let Some(mut assigned) = consumer.next_partition().await? {
///     while let Some(message) = assigned.messages.recv().await {
///         println!("{}: {message:?}", assigned.partition);
///         assigned.ack.commit(&[message.offset]).await?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct KafkaEventConsumer {
    config: KafkaConsumerConfig,
    group: ConsumerGroup,
    state: State,
}

enum State {
    New,
    Running { driver: Driver, news: UnboundedReceiver<News> },
    Closed,
}

impl KafkaEventConsumer {
    /// A consumer that has not joined yet.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) naming what is wrong.
    pub fn from_config(config: KafkaConsumerConfig) -> Result<Self> {
        let (client, group) = (config.client_config()?, config.consumer_group()?);
        client.create_native_config().map_err(|error| classified("consumer cannot be created", error))?;
        Ok(Self { config, group, state: State::New })
    }
}

#[async_trait]
impl EventConsumer for KafkaEventConsumer {
    fn consumer_group(&self) -> Option<&ConsumerGroup> {
        Some(&self.group)
    }

    fn drain_deadline(&self) -> Option<Duration> {
        Some(self.config.drain_deadline)
    }

    fn leaver(&self) -> Option<Leaver> {
        match &self.state {
            State::Running { driver, .. } => Some(driver.leaver()),
            State::New | State::Closed => None,
        }
    }

    async fn start(&mut self) -> Result<()> {
        match self.state {
            State::New => {}
            State::Running { .. } => return Ok(()),
            State::Closed => return Err(Error::new(ErrorKind::Closed, "consumer was closed")),
        }
        let (sender, news) = unbounded_channel();
        let membership = Membership::new(&self.config, sender);
        let mut client = self.config.client_config()?;
        Recreated::listen(&mut client);
        let consumer = BaseConsumer::from_config_and_context(&client, membership)
            .map_err(|error| classified("consumer cannot be created", error))?;
        let topics: Vec<_> = self.config.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(|error| {
            Error::new(ErrorKind::Misconfigured, "topics cannot be subscribed to").with_source(error)
        })?;
        self.state = State::Running { driver: Driver::start(consumer)?, news };
        Ok(())
    }

    async fn next_partition(&mut self) -> Result<Option<AssignedPartition>> {
        let news = match &mut self.state {
            State::Running { news, .. } => news,
            State::New => return Err(Error::new(ErrorKind::Internal, "consumer was not started")),
            State::Closed => return Ok(None),
        };
        while let Some(news) = news.recv().await {
            let (partition, assigned) = news?;
            // one that was taken away before it was looked at never was here
            if partition.take() {
                return Ok(Some(assigned));
            }
        }
        Ok(None)
    }

    async fn close(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Running { driver, news } => {
                drop(news);
                driver.close().await
            }
            State::New | State::Closed => Ok(()),
        }
    }
}

impl fmt::Debug for KafkaEventConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaEventConsumer").field("config", &self.config).finish_non_exhaustive()
    }
}
