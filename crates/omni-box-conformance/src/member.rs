//! A member of a consumer group, as the cases of consumers drive it.

use omni_box_core::{AssignedPartition, ConsumerGroup, EventConsumer, InboundMessage};
use tokio::sync::mpsc;

use super::ConsumerFixture;
use super::delivery::in_time;

/// A member of a group that was started.
pub(super) struct Reader<C> {
    pub(super) consumer: C,
}

impl<C: EventConsumer> Reader<C> {
    pub(super) async fn join<F: ConsumerFixture<Consumer = C>>(
        fixture: &F,
        group: &ConsumerGroup,
        topic: &str,
    ) -> Self {
        let mut consumer = fixture.consumer(group, topic).await;
        in_time("start", consumer.start()).await.expect("a consumer with valid settings starts");
        Self { consumer }
    }

    pub(super) async fn next(&mut self) -> AssignedPartition {
        let assigned = in_time("next_partition returns a partition", self.consumer.next_partition()).await;
        assigned.expect("next_partition of a consumer that works").expect("a partition, not the end")
    }

    /// As many partitions as it has by itself.
    pub(super) async fn all(&mut self, partitions: usize) -> Vec<AssignedPartition> {
        let mut assigned = Vec::new();
        while assigned.len() < partitions {
            assigned.push(self.next().await);
        }
        assigned.sort_by(|a, b| a.partition.cmp(&b.partition));
        assigned
    }

    pub(super) async fn close(mut self) {
        in_time("close", self.consumer.close()).await.expect("a consumer that works closes without an error");
    }
}

/// The text of the next message.
pub(super) async fn next_text(messages: &mut mpsc::Receiver<InboundMessage>) -> (String, i64) {
    let message =
        in_time("the next message", messages.recv()).await.expect("a message, not the end of the stream");
    let value = message.value.expect("a message with a value");
    (String::from_utf8(value.to_vec()).expect("text"), message.offset)
}

/// Reads so many messages, which must be `m<first>` and those that follow; returns their offsets.
pub(super) async fn read(
    messages: &mut mpsc::Receiver<InboundMessage>,
    first: usize,
    count: usize,
    why: &str,
) -> Vec<i64> {
    let mut offsets = Vec::with_capacity(count);
    for n in first..first + count {
        let (text, offset) = next_text(messages).await;
        assert_eq!(text, format!("m{n}"), "message delivered next: {why}");
        assert!(
            offsets.last().is_none_or(|before| *before < offset),
            "offsets grow in the order of delivery"
        );
        offsets.push(offset);
    }
    offsets
}

/// Waits for the end of a stream, and counts what came before it.
pub(super) async fn assert_ends(messages: &mut mpsc::Receiver<InboundMessage>, why: &str) {
    in_time(why, async { while messages.recv().await.is_some() {} }).await;
}

pub(super) async fn acknowledge(assigned: &AssignedPartition, offsets: &[i64]) {
    in_time("commit", assigned.ack.commit(offsets)).await.expect("the owner of a partition can commit");
}

/// Sends `m<first>` and those that follow.
pub(super) async fn send<F: ConsumerFixture>(
    fixture: &F,
    topic: &str,
    partition: i32,
    first: usize,
    count: usize,
) {
    for n in first..first + count {
        fixture.send(topic, partition, Some(b"key"), Some(format!("m{n}").as_bytes()), &[]).await;
    }
}

/// Whether a future is ready.
pub(super) async fn is_ready(future: impl Future<Output = ()>) -> bool {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_ready())).await
}
