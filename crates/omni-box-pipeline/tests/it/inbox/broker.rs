//! The broker of these tests: one topic and one group on the test kit's broker in memory.

use omni_box_core::{ConsumerGroup, ErrorKind};
use omni_box_testkit::{FaultPlan, FaultyConsumer, MemoryBroker, MemoryConsumer, NewMessage, Operation};

use super::service::GROUP;

const TOPIC: &str = "orders";

#[derive(Clone)]
pub(crate) struct Broker {
    memory: MemoryBroker,
    acknowledgements: FaultPlan,
    partitions: i32,
}

impl Broker {
    pub(crate) fn new(partitions: i32) -> Self {
        let memory = MemoryBroker::new();
        memory.create_topic(TOPIC, partitions);
        Self { memory, acknowledgements: FaultPlan::new(), partitions }
    }

    fn group() -> ConsumerGroup {
        ConsumerGroup::new(GROUP).unwrap()
    }

    /// Appends a message with an id, a key and a body.
    pub(crate) fn send(&self, partition: i32, id: &str, key: &str, body: serde_json::Value) {
        let value = Some(body.to_string().into_bytes());
        let headers = [("event_id", id), ("event_type", "order.placed")];
        self.send_raw(partition, Some(key.as_bytes()), value, &headers);
    }

    pub(crate) fn send_raw(
        &self,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) {
        let headers = headers.iter().copied();
        self.memory.send(NewMessage::from_parts(TOPIC, partition, key, value.as_deref(), headers));
        // offsets have gaps, as transaction markers leave them
        self.memory.skip_offsets(TOPIC, partition, 1);
    }

    /// How many of a partition's messages the group has committed.
    pub(crate) fn committed(&self, partition: i32) -> usize {
        let committed = self.memory.committed(&Self::group(), TOPIC, partition).unwrap_or(0);
        let records = self.memory.records(TOPIC);
        records.iter().filter(|record| record.partition == partition && record.offset < committed).count()
    }

    /// Whether everything is committed.
    pub(crate) fn is_drained(&self) -> bool {
        self.memory.lag(&Self::group(), TOPIC) == 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.memory.records(TOPIC).is_empty()
    }

    /// Sets the group back to the beginning: everything is delivered again.
    pub(crate) fn rewind(&self) {
        self.memory.reset_offsets(&Self::group());
    }

    /// Refuses acknowledgements, until they are accepted again.
    pub(crate) fn refuse_commits(&self) {
        self.acknowledgements.on(Operation::Acknowledge).always().fail_before(ErrorKind::Unavailable);
    }

    pub(crate) fn accept_commits(&self) {
        self.acknowledgements.clear();
    }

    /// Lets the next acknowledgement stand still, until they are released.
    pub(crate) fn freeze_commits(&self) {
        self.acknowledgements.on(Operation::Acknowledge).freeze_before();
    }

    /// Waits until an acknowledgement stands still.
    pub(crate) async fn until_frozen(&self) {
        self.acknowledgements.until_frozen().await;
    }

    pub(crate) fn release_commits(&self) {
        self.acknowledgements.release();
    }

    /// How often an acknowledgement was tried.
    pub(crate) fn commits(&self) -> u64 {
        self.acknowledgements.calls(Operation::Acknowledge)
    }

    /// Asks for all partitions back.
    pub(crate) fn revoke(&self) {
        (0..self.partitions).for_each(|partition| self.revoke_partition(partition));
    }

    /// Asks for one partition back.
    pub(crate) fn revoke_partition(&self, partition: i32) {
        self.memory.revoke(&Self::group(), TOPIC, partition);
    }

    /// Takes all partitions away at once.
    pub(crate) fn lose(&self) {
        (0..self.partitions).for_each(|partition| self.memory.lose(&Self::group(), TOPIC, partition));
    }

    /// Gives back what was asked for or taken away.
    pub(crate) fn give_back(&self) {
        (0..self.partitions).for_each(|partition| self.memory.allow(&Self::group(), TOPIC, partition));
    }

    /// One more member of the group.
    pub(crate) fn consumer(&self) -> FaultyConsumer<MemoryConsumer> {
        FaultyConsumer::new(self.memory_consumer(), &self.acknowledgements)
    }

    pub(crate) fn memory_consumer(&self) -> MemoryConsumer {
        self.memory.consumer(&Self::group(), [TOPIC])
    }
}
