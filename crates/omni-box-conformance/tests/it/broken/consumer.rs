//! Broken consumers.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_conformance::ConsumerFixture;
use omni_box_core::broker::Leaver;
use omni_box_core::{
    AckHandle, AssignedPartition, ConsumerGroup, Error, ErrorKind, EventConsumer, EventId, InboundMessage,
    Result, TopicPartition,
};
use omni_box_testkit::{MemoryBroker, MemoryConsumer, NewMessage};
use tokio::sync::mpsc;

use super::flaws;

flaws! { Fixture:
    /// Skips what was there before the group.
    StartsAtTheEnd => consumer::a_new_group_reads_from_the_beginning;
    /// Delivers two neighbours in the wrong order.
    Swaps => consumer::a_new_group_reads_from_the_beginning;
    /// Drops what is not read at once.
    DropsWhatIsNotRead => consumer::a_partition_that_is_not_read_waits;
    /// Reads bytes as text.
    ReadsText => consumer::a_message_comes_as_it_was_sent;
    /// Keeps one header of each name.
    MergesHeaders => consumer::a_message_comes_as_it_was_sent;
    /// Commits the highest offset that was marked.
    CommitsTheHighest => consumer::nothing_is_committed_past_what_is_not_done;
    /// Forgets marks that are ahead.
    ForgetsMarks => consumer::marks_out_of_order_commit_together;
    /// Acknowledges what it has delivered.
    CommitsOnDelivery => consumer::what_is_not_acknowledged_comes_again;
    /// Keeps acknowledgements to itself.
    NeverCommits =>
        consumer::a_new_member_continues_behind_what_is_committed,
        consumer::a_commit_is_with_the_broker_when_it_returns,
        consumer::a_rewind_with_everything_done_goes_on,
        consumer::a_close_lets_partitions_finish,
        consumer::nothing_acknowledged_is_delivered_again,
        consumer::handover::a_closed_member_leaves_its_partitions_to_others;
    /// Rewinds to the last message that was delivered.
    RewindsTooLittle => consumer::a_rewind_delivers_again_what_is_not_done;
    /// Says `Ok` for a partition that is gone.
    AcknowledgesWhatIsGone => consumer::a_partition_that_is_gone_cannot_be_acknowledged;
    /// Never says that a partition is lost.
    NeverLost => consumer::a_partition_that_is_gone_cannot_be_acknowledged;
    /// Waits for a partition without end after the end.
    WaitsAfterClose => consumer::a_closed_consumer_gets_nothing;
    /// A second start is an error.
    StartsOnce => consumer::a_second_start_does_nothing;
    /// Hands a partition out once, and keeps it when it comes back.
    KeepsWhatComesBack => consumer::handover::a_partition_that_is_given_back_comes_again;
    /// Leaves the second partition out.
    SkipsAPartition => consumer::each_partition_is_handed_over_once;
    /// Takes a partition, then waits: dropped there, it is gone.
    LosesAPartition => consumer::a_dropped_next_partition_loses_none;
    /// All groups are one.
    SharesOffsets => consumer::groups_are_independent;
    /// Names a group that it does not join.
    NamesAnotherGroup => consumer::a_consumer_names_its_own_group;
    /// Promises a longer drain than it gives.
    PromisesMoreTime => consumer::a_close_waits_as_long_as_the_consumer_says;
    /// Tells who is taken out, and stays in the group.
    StaysInTheGroup => consumer::handover::a_member_that_is_taken_out_loses_its_partitions;
    /// The stream goes on when the partition is revoked.
    StreamsOn => consumer::handover::a_revoked_partition_goes_to_another_member;
}

struct Broken {
    inner: MemoryConsumer,
    flaw: Option<Flaw>,
    partitions: usize,
    starts: usize,
    known: BTreeSet<TopicPartition>,
    kept: Vec<AssignedPartition>,
    is_closed: bool,
    /// What its leaver was called with.
    told: Arc<Mutex<Option<Error>>>,
}

#[derive(Debug)]
struct Ack {
    inner: Arc<Box<dyn AckHandle>>,
    flaw: Option<Flaw>,
    /// Delivered and not yet passed on as done.
    delivered: Arc<Mutex<VecDeque<i64>>>,
}

fn changed(flaw: Option<Flaw>, mut message: InboundMessage) -> InboundMessage {
    match flaw {
        Some(Flaw::ReadsText) => {
            message.value = message.value.map(|value| String::from_utf8_lossy(&value).into_owned().into());
        }
        Some(Flaw::MergesHeaders) => {
            let headers: std::collections::BTreeMap<_, _> = message.headers.into_iter().collect();
            message.headers = headers.into_iter().collect();
        }
        _ => {}
    }
    message
}

/// Hands a stream on, as the flaw has it.
fn relay(
    flaw: Option<Flaw>,
    mut from: mpsc::Receiver<InboundMessage>,
    ack: Arc<Box<dyn AckHandle>>,
    delivered: Arc<Mutex<VecDeque<i64>>>,
) -> mpsc::Receiver<InboundMessage> {
    let (to, messages) = mpsc::channel(10);
    tokio::spawn(async move {
        let mut is_first = true;
        while let Some(message) = from.recv().await {
            if flaw == Some(Flaw::StartsAtTheEnd) && message.offset < 5 {
                continue;
            }
            delivered.lock().unwrap().push_back(message.offset);
            let message = changed(flaw, message);
            if flaw == Some(Flaw::CommitsOnDelivery) {
                let _ = ack.commit(&[message.offset]).await;
            }
            if flaw == Some(Flaw::DropsWhatIsNotRead) {
                let _ = to.try_send(message);
            } else if flaw == Some(Flaw::Swaps) && std::mem::replace(&mut is_first, false) {
                let Some(second) = from.recv().await else { return };
                delivered.lock().unwrap().push_back(second.offset);
                let _ = to.send(second).await;
                let _ = to.send(message).await;
            } else if to.send(message).await.is_err() {
                return;
            }
        }
        if flaw == Some(Flaw::StreamsOn) {
            to.closed().await;
        }
    });
    messages
}

#[async_trait]
impl EventConsumer for Broken {
    fn consumer_group(&self) -> Option<&ConsumerGroup> {
        static ANOTHER: LazyLock<ConsumerGroup> = LazyLock::new(|| ConsumerGroup::new("another").unwrap());
        if self.flaw == Some(Flaw::NamesAnotherGroup) { Some(&ANOTHER) } else { self.inner.consumer_group() }
    }

    fn drain_deadline(&self) -> Option<Duration> {
        let promised = EventConsumer::drain_deadline(&self.inner);
        if self.flaw == Some(Flaw::PromisesMoreTime) { promised.map(|time| time * 2) } else { promised }
    }

    fn leaver(&self) -> Option<Leaver> {
        if self.flaw == Some(Flaw::StaysInTheGroup) {
            let told = Arc::clone(&self.told);
            return (self.starts > 0)
                .then(|| Box::new(move |error| *told.lock().unwrap() = Some(error)) as Leaver);
        }
        self.inner.leaver()
    }

    async fn start(&mut self) -> Result<()> {
        self.starts += 1;
        if self.flaw == Some(Flaw::StartsOnce) && self.starts > 1 {
            return Err(Error::new(ErrorKind::Closed, "it runs already"));
        }
        self.inner.start().await
    }

    async fn next_partition(&mut self) -> Result<Option<AssignedPartition>> {
        if let Some(error) = self.told.lock().unwrap().take() {
            return Err(error);
        }
        if self.flaw == Some(Flaw::WaitsAfterClose) && self.is_closed {
            return std::future::pending().await;
        }
        let Some(mut assigned) = self.inner.next_partition().await? else { return Ok(None) };
        while self.flaw == Some(Flaw::KeepsWhatComesBack) && !self.known.insert(assigned.partition.clone()) {
            self.kept.push(assigned);
            assigned = match self.inner.next_partition().await? {
                Some(assigned) => assigned,
                None => return Ok(None),
            };
        }
        self.partitions += 1;
        if self.flaw == Some(Flaw::SkipsAPartition) && self.partitions == 2 {
            assigned = match self.inner.next_partition().await? {
                Some(assigned) => assigned,
                None => return Ok(None),
            };
        }
        if self.flaw == Some(Flaw::LosesAPartition) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let AssignedPartition { partition, messages, ack } = assigned;
        let (ack, delivered) = (Arc::new(ack), Arc::default());
        let messages = relay(self.flaw, messages, Arc::clone(&ack), Arc::clone(&delivered));
        Ok(Some(AssignedPartition {
            partition,
            messages,
            ack: Box::new(Ack { inner: ack, flaw: self.flaw, delivered }),
        }))
    }

    async fn close(&mut self) -> Result<()> {
        self.is_closed = true;
        self.kept.clear();
        self.inner.close().await
    }
}

#[async_trait]
impl AckHandle for Ack {
    async fn commit(&self, offsets: &[i64]) -> Result<()> {
        match self.flaw {
            Some(Flaw::CommitsTheHighest) => {
                let highest = offsets.iter().max().copied().unwrap_or(-1);
                let all: Vec<i64> = (0..=highest).collect();
                self.inner.commit(&all).await
            }
            Some(Flaw::ForgetsMarks) => {
                let mut delivered = self.delivered.lock().unwrap().clone();
                let ready =
                    offsets.iter().take_while(|offset| delivered.pop_front() == Some(**offset)).count();
                self.delivered.lock().unwrap().drain(..ready);
                self.inner.commit(&offsets[..ready]).await
            }
            Some(Flaw::NeverCommits) => Ok(()),
            Some(Flaw::AcknowledgesWhatIsGone) => self.inner.commit(offsets).await.or(Ok(())),
            _ => self.inner.commit(offsets).await,
        }
    }

    async fn rewind(&self) -> Result<mpsc::Receiver<InboundMessage>> {
        if self.flaw == Some(Flaw::RewindsTooLittle) {
            let last = self.delivered.lock().unwrap().back().copied().unwrap_or(0);
            self.inner.commit(&(0..last).collect::<Vec<_>>()).await?;
        }
        let messages = self.inner.rewind().await?;
        Ok(relay(self.flaw, messages, Arc::clone(&self.inner), Arc::clone(&self.delivered)))
    }

    fn is_revoked(&self) -> bool {
        self.inner.is_revoked()
    }

    async fn lost(&self) {
        if self.flaw == Some(Flaw::NeverLost) {
            std::future::pending().await
        }
        self.inner.lost().await;
    }
}

struct Fixture {
    broker: MemoryBroker,
    flaw: Option<Flaw>,
}

impl Fixture {
    fn new(flaw: Option<Flaw>) -> Self {
        Self { broker: MemoryBroker::new(), flaw }
    }
}

impl ConsumerFixture for Fixture {
    type Consumer = Broken;

    async fn create() -> Option<Self> {
        Some(Self::new(None))
    }

    async fn topic(&self, partitions: i32) -> String {
        let topic = EventId::generate().to_string();
        self.broker.create_topic(&topic, partitions);
        topic
    }

    fn group(&self) -> ConsumerGroup {
        let name = if self.flaw == Some(Flaw::SharesOffsets) {
            "one".to_owned()
        } else {
            EventId::generate().to_string()
        };
        ConsumerGroup::new(name).unwrap()
    }

    async fn consumer(&self, group: &ConsumerGroup, topic: &str) -> Broken {
        let inner = self.broker.consumer(group, [topic]).drain_deadline(Duration::from_secs(2));
        Broken {
            inner,
            flaw: self.flaw,
            partitions: 0,
            starts: 0,
            known: BTreeSet::new(),
            kept: Vec::new(),
            is_closed: false,
            told: Arc::default(),
        }
    }

    async fn send(
        &self,
        topic: &str,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) {
        self.broker.send(NewMessage::from_parts(topic, partition, key, value, headers.iter().copied()));
    }
}
