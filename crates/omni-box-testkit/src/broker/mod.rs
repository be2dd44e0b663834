//! A broker in memory.

mod assignment;
mod consumer;
mod log;
mod message;
mod partitioner;
mod publisher;
mod state;
mod transaction;

use std::fmt;
use std::sync::{Arc, MutexGuard};

use omni_box_core::{Clock, ConsumerGroup, ErrorKind, EventConverter, InboundMessage, TopicPartition};
use tokio::sync::watch;

pub use consumer::MemoryConsumer;
pub use message::NewMessage;
pub use publisher::MemoryPublisher;
use state::{Shared, State};
pub use transaction::MemoryTransaction;

/// A broker in memory, with topics, partitions, consumer groups and transactions. Cloning shares it.
///
/// - A key goes to the partition that Kafka's Java client puts it on; messages without one take turns.
/// - Offsets have gaps, as Kafka's do: the end of a transaction takes one, and [`skip_offsets`](Self::skip_offsets) makes more.
/// - Nothing runs but tokio tasks; it works while tokio's time is paused.
///
/// ```
/// use omni_box_core::{ConsumerGroup, EventConsumer};
/// use omni_box_testkit::{MemoryBroker, NewMessage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = MemoryBroker::new();
/// broker.create_topic("orders", 1);
/// broker.send(NewMessage::to("orders").key("7").value(r#"{"order": 7}"#));
///
/// let group = ConsumerGroup::new("shipping")?;
/// let mut consumer = broker.consumer(&group, ["orders"]);
/// consumer.start().await?;
/// let mut assigned = consumer.next_partition().await?.expect("a partition");
/// let message = assigned.messages.recv().await.expect("a message");
/// assigned.ack.commit(&[message.offset]).await?;
/// assert_eq!(broker.committed(&group, "orders", 0), Some(1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct MemoryBroker(Arc<Shared>);

impl MemoryBroker {
    /// A broker without topics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes topics with so many partitions when they are used. Otherwise they are made by [`create_topic`](Self::create_topic) only, and a
    /// publisher is told [`TopicUnavailable`](ErrorKind::TopicUnavailable).
    ///
    /// # Panics
    /// Unless `partitions` is positive.
    #[must_use]
    pub fn topics_on_first_use(self, partitions: i32) -> Self {
        assert!(partitions > 0, "a topic needs at least one partition, not {partitions}");
        self.state().on_first_use = Some(partitions);
        self
    }

    /// The largest message that publishers may send, in bytes of key, value and headers: 1,048,588 unless set.
    #[must_use]
    pub fn max_message_bytes(self, bytes: usize) -> Self {
        self.state().max_message_bytes = bytes;
        self
    }

    /// Reads another clock than the machine's for the messages' timestamps.
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        self.state().clock = Arc::new(clock);
        self
    }

    /// Makes a topic; one that is there is left as it is.
    ///
    /// # Panics
    /// Unless `partitions` is positive.
    pub fn create_topic(&self, topic: &str, partitions: i32) {
        self.update(|state| state.create_topic(topic, partitions));
    }

    /// A publisher that keeps the order of what it has in flight; see [`MemoryPublisher::one_per_key`] for one that does not.
    pub fn publisher(&self, converter: impl EventConverter) -> MemoryPublisher {
        MemoryPublisher::new(self, converter)
    }

    /// A consumer, not started. Each one is another member of the group.
    pub fn consumer(
        &self,
        group: &ConsumerGroup,
        topics: impl IntoIterator<Item = impl Into<String>>,
    ) -> MemoryConsumer {
        MemoryConsumer::new(self, group, topics.into_iter().map(Into::into).collect())
    }

    /// Appends a message, and returns its offset. It arrives also while the broker is cut off.
    ///
    /// # Panics
    /// When there is no such topic or partition.
    pub fn send(&self, message: NewMessage) -> i64 {
        self.update(|state| state.append(message, None)).unwrap_or_else(|error| panic!("{error}")).offset
    }

    /// Begins a transaction.
    pub fn begin_transaction(&self) -> MemoryTransaction {
        MemoryTransaction::begin(self)
    }

    /// Leaves out the next offsets of a partition, as compaction and transaction markers do.
    ///
    /// # Panics
    /// When there is no such partition.
    pub fn skip_offsets(&self, topic: &str, partition: i32, count: u32) {
        self.update(|state| state.log_mut(&id(topic, partition)).map(|log| log.skip(count)))
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// Fails the next deliveries of publishers with these kinds, one after the other.
    pub fn fail_deliveries(&self, kinds: impl IntoIterator<Item = ErrorKind>) {
        self.state().failures.extend(kinds);
    }

    /// Cuts publishers and consumers off: what publishers submit waits, nothing is delivered, committed or assigned.
    pub fn cut(&self) {
        self.update(|state| state.is_cut = true);
    }

    /// Ends the outage; what waits is delivered.
    pub fn restore(&self) {
        self.update(|state| {
            state.is_cut = false;
            state.deliver();
        });
    }

    /// Takes a partition from the group: its owner may finish within its drain deadline, and no member gets it before
    /// [`allow`](Self::allow).
    pub fn revoke(&self, group: &ConsumerGroup, topic: &str, partition: i32) {
        self.update(|state| {
            let withheld = &mut state.groups.entry(group.clone()).or_default().withheld;
            withheld.insert(id(topic, partition));
            state.rebalance(group);
        });
    }

    /// Takes a partition from the group at once, as from a member that was taken for dead; no member gets it before
    /// [`allow`](Self::allow).
    pub fn lose(&self, group: &ConsumerGroup, topic: &str, partition: i32) {
        self.update(|state| {
            let id = id(topic, partition);
            state.take_away(group, &id);
            state.groups.entry(group.clone()).or_default().withheld.insert(id);
        });
    }

    /// Lets the group have a partition again.
    pub fn allow(&self, group: &ConsumerGroup, topic: &str, partition: i32) {
        self.update(|state| {
            state.groups.entry(group.clone()).or_default().withheld.remove(&id(topic, partition));
            state.rebalance(group);
        });
    }

    /// Messages of a topic as `read_committed` consumers see them, partition by partition.
    ///
    /// # Panics
    /// When there is no such topic.
    pub fn records(&self, topic: &str) -> Vec<InboundMessage> {
        self.read_topic(topic, |log| log.committed_from(0).cloned().collect())
    }

    /// Messages of a topic with those of transactions that are open or were aborted, partition by partition.
    ///
    /// # Panics
    /// When there is no such topic.
    pub fn uncommitted_records(&self, topic: &str) -> Vec<InboundMessage> {
        self.read_topic(topic, |log| log.all().cloned().collect())
    }

    /// The offset that a partition's next message gets.
    ///
    /// # Panics
    /// When there is no such partition.
    pub fn end_offset(&self, topic: &str, partition: i32) -> i64 {
        self.state().log(&id(topic, partition)).unwrap_or_else(|error| panic!("{error}")).end()
    }

    /// The position that a group has committed: that of the next message it wants.
    pub fn committed(&self, group: &ConsumerGroup, topic: &str, partition: i32) -> Option<i64> {
        self.state().groups.get(group)?.committed.get(&id(topic, partition)).copied()
    }

    /// How many messages of a topic a group has not committed.
    ///
    /// # Panics
    /// When there is no such topic.
    pub fn lag(&self, group: &ConsumerGroup, topic: &str) -> usize {
        let state = self.state();
        state.logs(topic).unwrap_or_else(|error| panic!("{error}"));
        let behind = |id: &TopicPartition| {
            let position = state.groups.get(group).and_then(|group| group.committed.get(id));
            let log = state.log(id).expect("a partition of the topic");
            log.committed_from(position.copied().unwrap_or(0)).count()
        };
        state.partitions_of(topic).iter().map(behind).sum()
    }

    /// Forgets what a group has committed: its next members begin at the beginning.
    ///
    /// # Panics
    /// When the group has members, as Kafka refuses it.
    pub fn reset_offsets(&self, group: &ConsumerGroup) {
        self.update(|state| {
            let Some(group) = state.groups.get_mut(group) else { return };
            assert!(
                group.members.is_empty(),
                "the group has {} members; end them first",
                group.members.len()
            );
            group.committed.clear();
        });
    }

    fn read_topic(
        &self,
        topic: &str,
        read: impl Fn(&log::Log) -> Vec<InboundMessage>,
    ) -> Vec<InboundMessage> {
        let state = self.state();
        state.logs(topic).unwrap_or_else(|error| panic!("{error}")).iter().flat_map(read).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }

    /// Changes something, and lets those that wait look again.
    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.0.changed.send_replace(());
        changed
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Waits until `look` sees something.
    async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let mut changed = self.changes();
        loop {
            changed.mark_unchanged();
            if let Some(seen) = look() {
                return seen;
            }
            changed.changed().await.expect("the sender lives as long as the broker");
        }
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryBroker")
    }
}

fn id(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.to_owned(), partition }
}
