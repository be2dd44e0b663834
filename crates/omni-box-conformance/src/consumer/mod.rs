//! [`EventConsumer`], [`AssignedPartition`] and [`AckHandle`]: nothing is lost, order is kept, and a partition has one owner.

pub mod handover;

use std::collections::BTreeSet;
use std::time::Duration;

use omni_box_core::{AckHandle, AssignedPartition, ConsumerGroup, ErrorKind, EventConsumer, TopicPartition};
use tokio::time::{Instant, timeout};

use super::ConsumerFixture;
use super::delivery::{eventually, in_time};
use super::member::{Reader, acknowledge, assert_ends, is_ready, read, send};

/// What the only member of a group gets first.
async fn assert_continues_at<F: ConsumerFixture>(
    fixture: &F,
    group: &ConsumerGroup,
    topic: &str,
    first: usize,
    count: usize,
    why: &str,
) {
    let mut reader = Reader::join(fixture, group, topic).await;
    let mut assigned = reader.next().await;
    read(&mut assigned.messages, first, count, why).await;
    drop(assigned);
    reader.close().await;
}

/// Delivery starts at the topic's beginning if the group has no offset.
pub async fn a_new_group_reads_from_the_beginning<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(1).await, fixture.group());
    send(&fixture, &topic, 0, 0, 5).await;
    let mut reader = Reader::join(&fixture, &group, &topic).await;
    let mut assigned = reader.next().await;
    assert_eq!(
        assigned.partition,
        TopicPartition { topic: topic.clone(), partition: 0 },
        "the partition's name"
    );
    read(&mut assigned.messages, 0, 5, "a group without an offset starts at the beginning").await;
    send(&fixture, &topic, 0, 5, 5).await;
    read(&mut assigned.messages, 5, 5, "messages that are sent later follow").await;
    drop(assigned);
    reader.close().await;
}

/// A message comes as it was sent: key, value and headers to the byte, a missing key or value as such.
pub async fn a_message_comes_as_it_was_sent<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(1).await, fixture.group());
    let odd: &[u8] = b"\xff\x00 no text";
    let headers: &[(&str, &[u8])] = &[("event_id", b"7"), ("Odd", odd), ("event_id", b"8"), ("empty", b"")];
    fixture.send(&topic, 0, Some(odd), Some(odd), headers).await;
    fixture.send(&topic, 0, None, None, &[]).await;
    fixture.send(&topic, 0, Some(b""), Some(b""), &[]).await;
    let mut reader = Reader::join(&fixture, &group, &topic).await;
    let mut assigned = reader.next().await;
    let mut messages = Vec::new();
    for _ in 0..3 {
        messages.push(in_time("a message", assigned.messages.recv()).await.expect("a message"));
    }
    let [first, second, third] = &messages[..] else { panic!("three messages") };
    assert_eq!((first.topic.as_str(), first.partition), (topic.as_str(), 0), "where it comes from");
    assert_eq!(first.key.as_deref(), Some(odd), "key");
    assert_eq!(first.value.as_deref(), Some(odd), "value");
    let came: Vec<_> = first
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(came, headers, "headers, in their order");
    assert_eq!((second.key.as_deref(), second.value.as_deref()), (None, None), "no key, and a tombstone");
    assert_eq!(
        (third.key.as_deref(), third.value.as_deref()),
        (Some(&b""[..]), Some(&b""[..])),
        "empty is not missing"
    );
    drop(assigned);
    reader.close().await;
}

/// `start`: calling it again does nothing.
pub async fn a_second_start_does_nothing<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(1).await, fixture.group());
    send(&fixture, &topic, 0, 0, 1).await;
    let mut reader = Reader::join(&fixture, &group, &topic).await;
    reader.consumer.start().await.expect("a second start");
    let mut assigned = reader.next().await;
    reader.consumer.start().await.expect("a third start");
    read(&mut assigned.messages, 0, 1, "the consumer works").await;
    assert!(!assigned.ack.is_revoked(), "a second start takes nothing away");
    drop(assigned);
    reader.close().await;
}

/// `next_partition`: each partition that is assigned is handed over once.
pub async fn each_partition_is_handed_over_once<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(4).await, fixture.group());
    let mut reader = Reader::join(&fixture, &group, &topic).await;
    let assigned = reader.all(4).await;
    let partitions: Vec<_> = assigned.iter().map(|assigned| assigned.partition.partition).collect();
    assert_eq!(partitions, [0, 1, 2, 3], "partitions that the only member is given");
    for (partition, mut assigned) in (0..).zip(assigned) {
        send(&fixture, &topic, partition, 0, 3).await;
        read(&mut assigned.messages, 0, 3, "each stream has its own partition's messages").await;
    }
    reader.close().await;
}

/// `next_partition`: dropping the future loses no partition.
pub async fn a_dropped_next_partition_loses_none<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(4).await, fixture.group());
    let mut reader = Reader::join(&fixture, &group, &topic).await;
    let mut partitions = BTreeSet::new();
    let mut held = Vec::new();
    eventually("every partition is handed over although calls are dropped", async || {
        if let Ok(next) = timeout(Duration::from_millis(2), reader.consumer.next_partition()).await {
            let assigned = next.expect("a consumer that works").expect("a partition");
            partitions.insert(assigned.partition.partition);
            held.push(assigned);
        }
        partitions.len() == 4
    })
    .await;
    drop(held);
    reader.close().await;
}

/// Delivery starts behind the group's committed offset. `close`: what was acknowledged is committed.
pub async fn a_new_member_continues_behind_what_is_committed<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(1).await, fixture.group());
    send(&fixture, &topic, 0, 0, 10).await;
    let mut reader = Reader::join(&fixture, &group, &topic).await;
    let mut assigned = reader.next().await;
    let offsets = read(&mut assigned.messages, 0, 10, "from the beginning").await;
    acknowledge(&assigned, &offsets[..4]).await;
    acknowledge(&assigned, &[]).await;
    acknowledge(&assigned, &offsets[..2]).await;
    drop(assigned);
    reader.close().await;
    assert_continues_at(&fixture, &group, &topic, 4, 6, "4 of 10 were acknowledged").await;
}

/// What is not acknowledged comes again.
pub async fn what_is_not_acknowledged_comes_again<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(1).await, fixture.group());
    send(&fixture, &topic, 0, 0, 3).await;
    for _ in 0..2 {
        assert_continues_at(&fixture, &group, &topic, 0, 3, "nothing was acknowledged").await;
    }
}

/// `commit`: a message behind one that is not done is remembered, and never committed past it.
pub async fn nothing_is_committed_past_what_is_not_done<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(1).await, fixture.group());
    send(&fixture, &topic, 0, 0, 5).await;
    let mut reader = Reader::join(&fixture, &group, &topic).await;
    let mut assigned = reader.next().await;
    let offsets = read(&mut assigned.messages, 0, 5, "from the beginning").await;
    acknowledge(&assigned, &offsets[2..]).await;
    drop(assigned);
    reader.close().await;

    let mut reader = Reader::join(&fixture, &group, &topic).await;
    let mut assigned = reader.next().await;
    let offsets = read(&mut assigned.messages, 0, 5, "the first two of five are not done").await;
    acknowledge(&assigned, &[offsets[2]]).await;
    acknowledge(&assigned, &[offsets[0]]).await;
    drop(assigned);
    reader.close().await;
    assert_continues_at(&fixture, &group, &topic, 1, 4, "the third and the first are done, not the second")
        .await;
}

/// `commit`: commits the position up to which all delivered messages are done, in whatever order they were marked.
pub async fn marks_out_of_order_commit_together<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(1).await, fixture.group());
    send(&fixture, &topic, 0, 0, 5).await;
    let mut reader = Reader::join(&fixture, &group, &topic).await;
    let mut assigned = reader.next().await;
    let offsets = read(&mut assigned.messages, 0, 5, "from the beginning").await;
    for n in [2, 0, 1] {
        acknowledge(&assigned, &[offsets[n]]).await;
    }
    drop(assigned);
    reader.close().await;
    assert_continues_at(&fixture, &group, &topic, 3, 2, "2, 0 and 1 are done").await;
}

/// `commit`: returns when the broker has the position: also a member that never closes has committed.
pub async fn a_commit_is_with_the_broker_when_it_returns<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(2).await, fixture.group());
    for partition in 0..2 {
        send(&fixture, &topic, partition, 0, 4).await;
    }
    let mut reader = Reader::join(&fixture, &group, &topic).await;
    for mut assigned in reader.all(2).await {
        let offsets = read(&mut assigned.messages, 0, 4, "from the beginning").await;
        acknowledge(&assigned, &offsets[..3]).await;
    }
    // as the end of its process
    drop(reader);
    let mut reader = Reader::join(&fixture, &group, &topic).await;
    for mut assigned in reader.all(2).await {
        read(&mut assigned.messages, 3, 1, "three of four were committed by a member that is gone").await;
    }
    reader.close().await;
}

/// `rewind`: delivers again from the first message that is not done, on a new stream; the old one ends.
pub async fn a_rewind_delivers_again_what_is_not_done<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(1).await, fixture.group());
    send(&fixture, &topic, 0, 0, 6).await;
    let mut reader = Reader::join(&fixture, &group, &topic).await;
    let mut assigned = reader.next().await;
    let offsets = read(&mut assigned.messages, 0, 4, "from the beginning").await;
    acknowledge(&assigned, &[offsets[0], offsets[2]]).await;
    let again =
        in_time("rewind", assigned.ack.rewind()).await.expect("the owner of a partition can rewind it");
    let mut old = std::mem::replace(&mut assigned.messages, again);
    assert_ends(&mut old, "the stream before a rewind ends").await;
    let offsets = read(&mut assigned.messages, 1, 5, "the first is done, the second is not").await;
    assert!(!assigned.ack.is_revoked(), "a rewound partition is still the consumer's");
    acknowledge(&assigned, &offsets[..2]).await;
    send(&fixture, &topic, 0, 6, 1).await;
    read(&mut assigned.messages, 6, 1, "a rewound stream goes on").await;
    drop(assigned);
    reader.close().await;
    assert_continues_at(&fixture, &group, &topic, 3, 4, "0, 1 and 2 are done").await;
}

/// `rewind`: with everything done, it goes on with what comes next.
pub async fn a_rewind_with_everything_done_goes_on<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(1).await, fixture.group());
    send(&fixture, &topic, 0, 0, 2).await;
    let mut reader = Reader::join(&fixture, &group, &topic).await;
    let mut assigned = reader.next().await;
    let offsets = read(&mut assigned.messages, 0, 2, "from the beginning").await;
    acknowledge(&assigned, &offsets).await;
    assigned.messages = in_time("rewind", assigned.ack.rewind()).await.expect("a rewind");
    send(&fixture, &topic, 0, 2, 2).await;
    read(&mut assigned.messages, 2, 2, "everything before it is done").await;
    drop(assigned);
    reader.close().await;
}

/// A partition that is not read is paused; it loses nothing and stops no other.
pub async fn a_partition_that_is_not_read_waits<F: ConsumerFixture>(fixture: F) {
    const MANY: usize = 600;
    let (topic, group) = (fixture.topic(2).await, fixture.group());
    for partition in 0..2 {
        send(&fixture, &topic, partition, 0, MANY).await;
    }
    let mut reader = Reader::join(&fixture, &group, &topic).await;
    let mut assigned = reader.all(2).await;
    let mut second = assigned.pop().expect("two partitions");
    let mut first = assigned.pop().expect("two partitions");
    let offsets = read(&mut second.messages, 0, MANY, "the other partition is not read").await;
    acknowledge(&second, &offsets).await;
    let offsets =
        read(&mut first.messages, 0, MANY, "nothing was lost or reordered while it was not read").await;
    acknowledge(&first, &offsets).await;
    drop((first, second));
    reader.close().await;
}

/// Groups have offsets of their own.
pub async fn groups_are_independent<F: ConsumerFixture>(fixture: F) {
    let topic = fixture.topic(1).await;
    let groups = [fixture.group(), fixture.group()];
    send(&fixture, &topic, 0, 0, 4).await;
    let mut first = Reader::join(&fixture, &groups[0], &topic).await;
    let mut second = Reader::join(&fixture, &groups[1], &topic).await;
    let mut assigned = first.next().await;
    let offsets = read(&mut assigned.messages, 0, 4, "the first group").await;
    acknowledge(&assigned, &offsets).await;
    let mut other = second.next().await;
    read(&mut other.messages, 0, 4, "another group's offsets are its own").await;
    drop((assigned, other));
    first.close().await;
    second.close().await;
    assert_continues_at(&fixture, &groups[1], &topic, 0, 4, "another group's commits are its own").await;
}

/// `close`: every stream ends; afterwards `next_partition` returns `None`.
pub async fn a_closed_consumer_gets_nothing<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(1).await, fixture.group());
    send(&fixture, &topic, 0, 0, 3).await;
    let mut reader = Reader::join(&fixture, &group, &topic).await;
    let AssignedPartition { mut messages, ack, .. } = reader.next().await;
    let ended = async {
        assert_ends(&mut messages, "the stream ends when the consumer is closed").await;
        assert!(ack.is_revoked(), "a partition of a consumer that closes is revoked");
        drop(ack);
    };
    let (closed, ()) = tokio::join!(in_time("close", reader.consumer.close()), ended);
    closed.expect("a consumer that works closes without an error");
    let next = in_time("next_partition", reader.consumer.next_partition()).await;
    assert!(next.expect("no error").is_none(), "next_partition after close returns None");
    reader.consumer.close().await.expect("a second close");
}

/// `close`: waits for handles with the drain deadline; what was acknowledged before the handle is dropped is committed.
pub async fn a_close_lets_partitions_finish<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(1).await, fixture.group());
    send(&fixture, &topic, 0, 0, 5).await;
    let mut reader = Reader::join(&fixture, &group, &topic).await;
    let mut assigned = reader.next().await;
    let offsets = read(&mut assigned.messages, 0, 5, "from the beginning").await;
    let finish = async {
        eventually("close revokes the partition", async || assigned.ack.is_revoked()).await;
        acknowledge(&assigned, &offsets[..3]).await;
        drop(assigned);
    };
    let (closed, ()) = tokio::join!(in_time("close", reader.consumer.close()), finish);
    closed.expect("a consumer that works closes without an error");
    assert_continues_at(&fixture, &group, &topic, 3, 2, "three were acknowledged while it closed").await;
}

/// `lost`: resolves when the partition is another's. `commit`, `rewind`: [`Closed`](ErrorKind::Closed) from then on. `close`: waits with
/// the drain deadline, not longer.
pub async fn a_partition_that_is_gone_cannot_be_acknowledged<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(1).await, fixture.group());
    send(&fixture, &topic, 0, 0, 3).await;
    let mut reader = Reader::join(&fixture, &group, &topic).await;
    let mut assigned = reader.next().await;
    let offsets = read(&mut assigned.messages, 0, 3, "from the beginning").await;
    acknowledge(&assigned, &offsets[..1]).await;
    assert!(!is_ready(assigned.ack.lost()).await, "a partition that is owned is not lost");
    assert!(!assigned.ack.is_revoked(), "a partition that is owned is not revoked");
    // whether this is an error is the consumer's to say: nothing that was acknowledged is missing
    let _ = in_time("close, with a handle that is not dropped", reader.consumer.close()).await;
    in_time("lost resolves for who held a partition too long", assigned.ack.lost()).await;
    assert!(assigned.ack.is_revoked(), "a lost partition is revoked");
    assert_closed(&*assigned.ack, &offsets).await;
    assert_continues_at(&fixture, &group, &topic, 1, 2, "what was acknowledged too late does not count")
        .await;
}

/// `consumer_group`: the group that the consumer joins, before and after `start`.
pub async fn a_consumer_names_its_own_group<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(1).await, fixture.group());
    let assert_own = |named: Option<&ConsumerGroup>, when: &str| {
        let is_own = named.is_none_or(|named| *named == group);
        assert!(is_own, "the group that a consumer names {when} is the one it was made for: {named:?}");
    };
    let mut consumer = fixture.consumer(&group, &topic).await;
    assert_own(consumer.consumer_group(), "before it has started");
    in_time("start", consumer.start()).await.expect("a consumer with valid settings starts");
    assert_own(consumer.consumer_group(), "once it has started");
    in_time("close", consumer.close()).await.expect("a consumer that works closes without an error");
}

/// `drain_deadline`: `close` waits for a handle at least that long.
pub async fn a_close_waits_as_long_as_the_consumer_says<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(1).await, fixture.group());
    let mut reader = Reader::join(&fixture, &group, &topic).await;
    let assigned = reader.next().await;
    let deadline = reader.consumer.drain_deadline().unwrap_or_default();
    let begun = Instant::now();
    // whether this is an error is the consumer's to say: nothing was acknowledged
    let _ = in_time("close, with a handle that is not dropped", reader.consumer.close()).await;
    let waited = begun.elapsed();
    assert!(waited >= deadline, "close waited {waited:?} for a handle, the consumer says {deadline:?}");
    drop(assigned);
}

async fn assert_closed(ack: &dyn AckHandle, offsets: &[i64]) {
    let committed = in_time("commit of a lost partition", ack.commit(offsets)).await;
    let error = committed.expect_err("a partition that is another's cannot be acknowledged");
    assert_eq!(error.kind(), ErrorKind::Closed, "kind of the error of commit: {error:?}");
    let rewound = in_time("rewind of a lost partition", ack.rewind()).await;
    let error = rewound.expect_err("a partition that is another's cannot be rewound");
    assert_eq!(error.kind(), ErrorKind::Closed, "kind of the error of rewind: {error:?}");
}

/// Members that come and go: every message is acknowledged once, by one of them, and in order.
pub async fn nothing_acknowledged_is_delivered_again<F: ConsumerFixture>(fixture: F) {
    const EACH: usize = 40;
    let (topic, group) = (fixture.topic(3).await, fixture.group());
    for partition in 0..3 {
        send(&fixture, &topic, partition, 0, EACH).await;
    }
    let mut done = [0; 3];
    while done.iter().any(|done| *done < EACH) {
        let mut reader = Reader::join(&fixture, &group, &topic).await;
        for mut assigned in reader.all(3).await {
            let done = &mut done[usize::try_from(assigned.partition.partition).expect("0 to 2")];
            let count = (EACH - *done).min(15);
            let offsets =
                read(&mut assigned.messages, *done, count, "behind what members before have done").await;
            acknowledge(&assigned, &offsets).await;
            *done += count;
        }
        reader.close().await;
    }
    for partition in 0..3 {
        send(&fixture, &topic, partition, EACH, 1).await;
    }
    let mut reader = Reader::join(&fixture, &group, &topic).await;
    for mut assigned in reader.all(3).await {
        read(&mut assigned.messages, EACH, 1, "everything before was acknowledged").await;
    }
    reader.close().await;
}
