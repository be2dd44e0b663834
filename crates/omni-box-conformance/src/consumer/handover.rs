//! Partitions that go from one member of a group to another.

use omni_box_core::{AssignedPartition, ConsumerGroup, Error, ErrorKind, EventConsumer};

use crate::ConsumerFixture;
use crate::delivery::{eventually, in_time};
use crate::member::{Reader, acknowledge, assert_ends, read, send};

/// One of several partitions moves to a member that joins.
struct HandOver<C> {
    first: Reader<C>,
    second: Reader<C>,
    /// What the first one keeps, or gets back at once.
    kept: Vec<AssignedPartition>,
    /// What it must let go.
    revoked: AssignedPartition,
    offsets: Vec<i64>,
}

/// A member with two partitions of ten messages, four of each acknowledged, when another joins.
async fn hand_over<F: ConsumerFixture>(
    fixture: &F,
    group: &ConsumerGroup,
    topic: &str,
) -> HandOver<F::Consumer> {
    for partition in 0..2 {
        send(fixture, topic, partition, 0, 10).await;
    }
    let mut first = Reader::join(fixture, group, topic).await;
    let mut kept = first.all(2).await;
    let mut offsets = Vec::new();
    for assigned in &mut kept {
        offsets = read(&mut assigned.messages, 0, 10, "from the beginning").await;
        acknowledge(assigned, &offsets[..4]).await;
    }
    let second = Reader::join(fixture, group, topic).await;
    eventually("a partition is revoked when another member joins", async || {
        kept.iter().any(|assigned| assigned.ack.is_revoked())
    })
    .await;
    // some assignors take everything away and give half of it back
    let at = kept.iter().position(|assigned| assigned.ack.is_revoked()).expect("it was revoked just now");
    let revoked = kept.remove(at);
    HandOver { first, second, kept, revoked, offsets }
}

/// The stream ends when the partition is revoked; what is done can still be acknowledged. The partition goes to its next owner when the
/// handle is dropped, and nothing that was acknowledged is delivered there.
pub async fn a_revoked_partition_goes_to_another_member<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(2).await, fixture.group());
    let HandOver { first, mut second, kept, mut revoked, offsets } =
        hand_over(&fixture, &group, &topic).await;
    assert_ends(&mut revoked.messages, "the stream of a revoked partition ends").await;
    acknowledge(&revoked, &offsets[..7]).await;
    let partition = revoked.partition.clone();
    drop(revoked);
    // one that keeps nothing lets everything go
    let kept: Vec<_> = kept.into_iter().filter(|assigned| !assigned.ack.is_revoked()).collect();
    let mut assigned = second.next().await;
    if assigned.partition == partition {
        read(&mut assigned.messages, 7, 3, "seven of ten were acknowledged by the owner before").await;
    } else {
        read(&mut assigned.messages, 4, 6, "four of ten were acknowledged by the owner before").await;
    }
    drop((assigned, kept));
    second.close().await;
    first.close().await;
}

/// `next_partition`: a partition that was taken away and given back comes again, with a new stream.
pub async fn a_partition_that_is_given_back_comes_again<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(2).await, fixture.group());
    let HandOver { mut first, mut second, kept, revoked, .. } = hand_over(&fixture, &group, &topic).await;
    drop(revoked);
    let mut held: Vec<_> = kept.into_iter().filter(|assigned| !assigned.ack.is_revoked()).collect();
    let theirs = second.next().await;
    let partition = theirs.partition.clone();
    drop(theirs);
    second.close().await;
    loop {
        let mut assigned = first.next().await;
        held.retain(|assigned| !assigned.ack.is_revoked());
        let is_back = assigned.partition == partition;
        if is_back {
            read(&mut assigned.messages, 4, 6, "it comes again with a stream of its own").await;
        }
        held.push(assigned);
        if is_back {
            break;
        }
    }
    drop(held);
    first.close().await;
}

/// `close`: partitions go to others at once.
pub async fn a_closed_member_leaves_its_partitions_to_others<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(2).await, fixture.group());
    let HandOver { first, mut second, kept, revoked, .. } = hand_over(&fixture, &group, &topic).await;
    drop(revoked);
    let mut held = vec![second.next().await];
    drop(kept);
    first.close().await;
    while held.len() < 2 {
        held.push(second.next().await);
        // some assignors take everything away and give it back
        held.retain(|assigned| !assigned.ack.is_revoked());
    }
    for assigned in &mut held {
        read(&mut assigned.messages, 4, 6, "four of ten were acknowledged").await;
    }
    drop(held);
    second.close().await;
}

/// `leaver`, where there is one. Called from any thread, it tells the member why, and takes its partitions as if its session had ended. They
/// go to others: nothing is lost, and nothing that was acknowledged is delivered again.
pub async fn a_member_that_is_taken_out_loses_its_partitions<F: ConsumerFixture>(fixture: F) {
    let (topic, group) = (fixture.topic(1).await, fixture.group());
    send(&fixture, &topic, 0, 0, 10).await;
    let consumer = fixture.consumer(&group, &topic).await;
    assert!(consumer.leaver().is_none(), "who has not started has no group to leave");
    let mut first = Reader::join(&fixture, &group, &topic).await;
    let mut assigned = first.next().await;
    let offsets = read(&mut assigned.messages, 0, 10, "from the beginning").await;
    acknowledge(&assigned, &offsets[..4]).await;
    let Some(leave) = first.consumer.leaver() else { return first.close().await };
    let begun =
        std::thread::spawn(move || leave(Error::new(ErrorKind::Internal, "its handlers stand still")));
    begun.join().expect("it may be called from any thread");
    let told = in_time("next_partition tells it", first.consumer.next_partition()).await;
    let error = told.expect_err("the error that the leaver was called with");
    assert_eq!(error.to_string(), "its handlers stand still");
    in_time("the partition is lost", assigned.ack.lost()).await;
    let commit = in_time("commit", assigned.ack.commit(&offsets)).await;
    let kind = commit.map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::Closed), "what is lost cannot be acknowledged");
    let mut second = Reader::join(&fixture, &group, &topic).await;
    let mut theirs = second.next().await;
    read(&mut theirs.messages, 4, 6, "four of ten were acknowledged by the owner before").await;
    drop((assigned, theirs));
    second.close().await;
}
