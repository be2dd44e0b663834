//! The broker in memory: what it does beyond the suites of its traits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use omni_box_core::{
    AssignedPartition, ConsumerGroup, Encoded, EnvelopeEventConverter, Error, ErrorKind, EventConsumer,
    EventConverter, EventPublisher, InboundMessage, OutboxEvent, Reporter, Result,
};
use omni_box_testkit::{MemoryBroker, MemoryConsumer, NewMessage};
use tokio::time::{Instant, timeout};

use super::events::event;

static NAMES: AtomicUsize = AtomicUsize::new(0);

fn new_name(kind: &str) -> String {
    format!("{kind}-{}", NAMES.fetch_add(1, Ordering::SeqCst))
}

fn new_group() -> ConsumerGroup {
    ConsumerGroup::new(new_name("group")).unwrap()
}

fn message(value: &str) -> NewMessage {
    NewMessage::to("orders").partition(0).value(value)
}

fn texts(records: &[InboundMessage]) -> Vec<&str> {
    records.iter().map(|record| std::str::from_utf8(record.value.as_deref().unwrap()).unwrap()).collect()
}

fn broker(partitions: i32) -> MemoryBroker {
    let broker = MemoryBroker::new();
    broker.create_topic("orders", partitions);
    broker
}

async fn join(broker: &MemoryBroker, group: &ConsumerGroup) -> MemoryConsumer {
    let mut consumer = broker.consumer(group, ["orders"]);
    consumer.start().await.unwrap();
    consumer
}

async fn next(consumer: &mut MemoryConsumer) -> AssignedPartition {
    let assigned = timeout(Duration::from_secs(1), consumer.next_partition()).await.expect("a partition");
    assigned.unwrap().unwrap()
}

/// Whether nothing comes, in paused time.
async fn comes(assigned: &mut AssignedPartition) -> Option<InboundMessage> {
    timeout(Duration::from_millis(10), assigned.messages.recv()).await.ok()?
}

#[tokio::test(start_paused = true)]
async fn what_a_transaction_wrote_is_seen_after_its_commit() {
    let broker = broker(1);
    let group = new_group();
    let mut consumer = join(&broker, &group).await;
    let mut assigned = next(&mut consumer).await;
    let (first, second) = (broker.begin_transaction(), broker.begin_transaction());
    broker.send(message("before"));
    first.send(message("first"));
    second.send(message("second"));
    broker.send(message("after"));
    assert_eq!(texts(&broker.records("orders")), ["before"], "the log is stable up to an open transaction");
    assert_eq!(broker.uncommitted_records("orders").len(), 4);
    second.commit();
    assert_eq!(texts(&broker.records("orders")), ["before"]);
    assert_eq!(comes(&mut assigned).await.unwrap().value.as_deref(), Some(&b"before"[..]));
    assert!(comes(&mut assigned).await.is_none(), "a consumer waits at the last stable offset");
    first.abort();
    assert_eq!(texts(&broker.records("orders")), ["before", "second", "after"]);
    let mut offsets = vec![0];
    for expected in ["second", "after"] {
        let message = comes(&mut assigned).await.unwrap();
        assert_eq!(message.value, Some(Bytes::from(expected)));
        offsets.push(message.offset);
    }
    assert_eq!(offsets, [0, 2, 3]);
    broker.send(message("behind the markers"));
    assert_eq!(comes(&mut assigned).await.unwrap().offset, 6, "each marker takes an offset");
    assigned.ack.commit(&offsets).await.unwrap();
    assert_eq!(broker.committed(&group, "orders", 0), Some(4));
    assert_eq!(broker.lag(&group, "orders"), 1);
    assigned.ack.commit(&[6]).await.unwrap();
    assert_eq!(broker.lag(&group, "orders"), 0);
    drop(broker.begin_transaction());
    drop({
        let dropped = broker.begin_transaction();
        dropped.send(message("dropped"));
        dropped
    });
    assert_eq!(broker.records("orders").len(), 4, "a transaction that is dropped is aborted");
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_pass_over_gaps() {
    let broker = broker(1);
    let group = new_group();
    for n in 0..4 {
        broker.send(message(&n.to_string()));
        broker.skip_offsets("orders", 0, n);
    }
    assert_eq!(broker.end_offset("orders", 0), 10);
    let mut consumer = join(&broker, &group).await;
    let mut assigned = next(&mut consumer).await;
    let mut offsets = Vec::new();
    while let Some(message) = comes(&mut assigned).await {
        offsets.push(message.offset);
    }
    assert_eq!(offsets, [0, 1, 3, 6]);
    assigned.ack.commit(&offsets[1..]).await.unwrap();
    assert_eq!(broker.committed(&group, "orders", 0), None);
    assigned.ack.commit(&offsets[..1]).await.unwrap();
    assert_eq!(broker.committed(&group, "orders", 0), Some(7));
    drop(assigned);
    consumer.close().await.unwrap();
    broker.reset_offsets(&group);
    assert_eq!(broker.lag(&group, "orders"), 4);
}

#[tokio::test(start_paused = true)]
async fn keys_keep_their_partition_and_the_others_take_turns() {
    let broker = broker(4);
    for n in 0..40 {
        broker.send(NewMessage::to("orders").key(format!("key-{}", n % 10)).value("keyed"));
        broker.send(NewMessage::to("orders").value("keyless"));
    }
    let records = broker.records("orders");
    for n in 0..10 {
        let key = Bytes::from(format!("key-{n}"));
        let mut of_key = records.iter().filter(|record| record.key.as_ref() == Some(&key));
        let first = of_key.next().unwrap().partition;
        assert!(of_key.all(|record| record.partition == first));
    }
    for partition in 0..4 {
        let keyless = records.iter().filter(|record| record.key.is_none() && record.partition == partition);
        assert_eq!(keyless.count(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn members_share_evenly_and_only_what_must_moves() {
    let broker = broker(6);
    let group = new_group();
    let mut first = join(&broker, &group).await;
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(next(&mut first).await);
    }
    let mut second = join(&broker, &group).await;
    let (moved, kept): (Vec<_>, Vec<_>) = held.into_iter().partition(|assigned| assigned.ack.is_revoked());
    let numbers =
        |held: &[AssignedPartition]| -> Vec<i32> { held.iter().map(|a| a.partition.partition).collect() };
    assert_eq!(numbers(&kept), [0, 1, 2], "the last ones move");
    drop(moved);
    let mut theirs = Vec::new();
    for _ in 0..3 {
        theirs.push(next(&mut second).await);
    }
    assert_eq!(numbers(&theirs), [3, 4, 5]);
    let mut third = join(&broker, &group).await;
    let is_revoked = |held: &[AssignedPartition]| held.iter().filter(|a| a.ack.is_revoked()).count();
    assert_eq!((is_revoked(&kept), is_revoked(&theirs)), (1, 1));
    // no member lets go: the drain deadline decides
    let begun = Instant::now();
    let late = next_after(&mut third, Duration::from_secs(60)).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(45));
    assert!(kept.iter().chain(&theirs).any(|a| a.partition == late.partition));
    drop((kept, theirs, late));
    for mut consumer in [first, second, third] {
        consumer.close().await.unwrap();
    }
}

async fn next_after(consumer: &mut MemoryConsumer, patience: Duration) -> AssignedPartition {
    timeout(patience, consumer.next_partition()).await.expect("a partition").unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_comes_later_is_assigned() {
    let broker = MemoryBroker::new();
    let group = new_group();
    let mut consumer = join(&broker, &group).await;
    timeout(Duration::from_secs(1), consumer.next_partition()).await.expect_err("there is no topic yet");
    broker.create_topic("orders", 1);
    assert_eq!(next(&mut consumer).await.partition.topic, "orders");

    let broker = MemoryBroker::new().topics_on_first_use(2);
    broker.send(NewMessage::to("orders").value("x"));
    let mut consumer = join(&broker, &group).await;
    assert_eq!(next(&mut consumer).await.partition.partition, 0);
    assert_eq!(next(&mut consumer).await.partition.partition, 1);
}

#[tokio::test(start_paused = true)]
async fn partitions_are_revoked_lost_and_allowed_at_will() {
    let broker = broker(1);
    let group = new_group();
    for n in 0..3 {
        broker.send(message(&n.to_string()));
    }
    let mut consumer = join(&broker, &group).await;
    let mut assigned = next(&mut consumer).await;
    assert_eq!(comes(&mut assigned).await.unwrap().offset, 0);
    broker.revoke(&group, "orders", 0);
    assert!(assigned.ack.is_revoked());
    assigned.ack.commit(&[0]).await.unwrap();
    drop(assigned);
    timeout(Duration::from_secs(99), consumer.next_partition()).await.expect_err("no member gets it");
    broker.allow(&group, "orders", 0);
    let mut assigned = next(&mut consumer).await;
    assert_eq!(comes(&mut assigned).await.unwrap().offset, 1);
    broker.lose(&group, "orders", 0);
    assigned.ack.lost().await;
    assert_eq!(assigned.ack.commit(&[1]).await.unwrap_err().kind(), ErrorKind::Closed);
    broker.allow(&group, "orders", 0);
    let mut again = next(&mut consumer).await;
    assert_eq!(comes(&mut again).await.unwrap().offset, 1);
    drop(assigned);
    assert!(!again.ack.is_revoked(), "the handle of an earlier time does nothing to a later one");
}

#[tokio::test(start_paused = true)]
async fn an_outage_holds_consumers_up() {
    let broker = broker(1);
    let group = new_group();
    let mut consumer = join(&broker, &group).await;
    broker.cut();
    broker.send(message("0"));
    timeout(Duration::from_secs(1), consumer.next_partition()).await.expect_err("nothing is assigned");
    broker.restore();
    let mut assigned = next(&mut consumer).await;
    assert_eq!(comes(&mut assigned).await.unwrap().offset, 0);
    broker.cut();
    broker.send(message("1"));
    assert!(comes(&mut assigned).await.is_none());
    assert_eq!(assigned.ack.commit(&[0]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(broker.committed(&group, "orders", 0), None);
    drop(assigned);
    assert_eq!(consumer.close().await.unwrap_err().kind(), ErrorKind::Unavailable, "the last commit failed");
    broker.restore();
    let mut consumer = join(&broker, &group).await;
    let mut assigned = next(&mut consumer).await;
    assert_eq!(comes(&mut assigned).await.unwrap().offset, 0);
    broker.cut();
    assigned.ack.commit(&[0]).await.unwrap_err();
    broker.restore();
    assigned.ack.commit(&[]).await.unwrap();
    assert_eq!(broker.committed(&group, "orders", 0), Some(1), "the mark stayed");
}

#[tokio::test]
async fn messages_carry_what_the_converter_and_the_event_say() {
    let broker = broker(1).max_message_bytes(1_000);
    let publisher = broker.publisher(EnvelopeEventConverter);
    let (reporter, mut reports) = Reporter::channel();
    let sent = event("orders", Some("key"));
    publisher.submit(vec![sent.clone()], &reporter).await;
    reports.recv().await.unwrap().result.unwrap();
    let [record] = &broker.records("orders")[..] else { panic!("one record") };
    assert_eq!(record.key.as_deref(), Some(&b"key"[..]));
    assert_eq!(record.header("event_type"), Some("order.placed"));
    assert!(texts(std::slice::from_ref(record))[0].contains("\"payload\":{\"order\":7}"));
    assert!(record.timestamp.is_some());

    broker.fail_deliveries([ErrorKind::Rejected, ErrorKind::Unavailable]);
    let batch: Vec<_> = (0..4).map(|_| event("orders", None)).collect();
    publisher.submit(batch, &reporter).await;
    publisher.submit(vec![event("orders", None)], &reporter).await;
    let mut kinds = Vec::new();
    for _ in 0..5 {
        kinds.push(reports.recv().await.unwrap().result.unwrap_err().kind());
    }
    use ErrorKind::{Rejected, Unavailable};
    assert_eq!(kinds, [Rejected, Unavailable, Unavailable, Unavailable, Unavailable]);
    publisher.check().await.unwrap();
    publisher.submit(vec![event("orders", None)], &reporter).await;
    reports.recv().await.unwrap().result.unwrap();
    assert_eq!(broker.records("orders").len(), 2);
}

/// Cannot encode anything, and says so with an error of this kind.
struct Failing(ErrorKind);

impl EventConverter for Failing {
    fn convert<'a>(&self, _event: &'a OutboxEvent) -> Result<Encoded<'a>> {
        Err(Error::new(self.0, "no schema is registered"))
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_encoded_is_failed_for_good() {
    let broker = broker(1);
    for (returned, reported) in [
        (ErrorKind::Decode, ErrorKind::Decode),
        (ErrorKind::NotFound, ErrorKind::Invalid),
        (ErrorKind::Unavailable, ErrorKind::Invalid),
    ] {
        let (reporter, mut reports) = Reporter::channel();
        broker.publisher(Failing(returned)).submit(vec![event("orders", Some("key"))], &reporter).await;
        assert_eq!(reports.recv().await.unwrap().result.unwrap_err().kind(), reported);
    }
}
