//! [`EventPublisher`]: each event is reported once, with the truth, and order is kept as promised.

use std::collections::BTreeSet;
use std::sync::Arc;

use omni_box_core::{ErrorKind, Event, EventPublisher, FailureClass, OutboxEvent, SendOrder};

use super::PublisherFixture;
use super::delivery::{Dispatch, among, event, events, eventually, first_appearances, ids, keyless, large};

/// What the publisher promises of what is in flight is what it is tested for.
pub async fn send_order_is_what_is_tested<F: PublisherFixture>(fixture: F, tested: SendOrder) {
    assert_send_order(fixture.publisher().await.send_order(), tested);
}

pub(super) fn assert_send_order(promised: SendOrder, tested: SendOrder) {
    assert_eq!(promised, tested, "send_order of the publisher, and what the suite was told");
    if promised == SendOrder::OnePerKey {
        println!("not applicable: the order of what is in flight (the publisher promises none)");
    }
}

/// `submit`: reports each event exactly once.
pub async fn each_event_is_reported_once<F: PublisherFixture>(fixture: F) {
    let topic = fixture.topic().await;
    let mut dispatch = Dispatch::new(&fixture).await;
    for batch in [1, 2, 40, 100] {
        let batch: Vec<_> = (0..batch).map(|n| event(&topic, &format!("key-{n}"))).collect();
        dispatch.submit(&batch).await;
        dispatch.settled().await;
        dispatch.assert_delivered(&batch);
    }
    dispatch.submit(&[]).await;
    dispatch.assert_nothing_more_is_reported(&topic).await;
}

/// `DeliveryReport::result`: `Ok` is reported only for what the broker has, where it can be read.
pub async fn what_is_reported_as_delivered_can_be_read<F: PublisherFixture>(fixture: F) {
    let topic = fixture.topic().await;
    let mut dispatch = Dispatch::new(&fixture).await;
    for _ in 0..10 {
        let batch: Vec<_> = (0..20).map(|n| event(&topic, &format!("key-{n}"))).collect();
        dispatch.submit(&batch).await;
        dispatch.settled().await;
        dispatch.assert_delivered(&batch);
        let read = fixture.read(&topic).await;
        for event in &batch {
            assert!(
                read.contains(&event.id()),
                "event {} was reported as delivered, and is not there",
                event.id()
            );
        }
    }
}

/// `SendOrder::Ordered`: events submitted in order arrive in order, however many are in flight. With `OnePerKey` the next event of a key is
/// submitted when the one before it is reported.
pub async fn events_of_a_key_arrive_in_order<F: PublisherFixture>(fixture: F) {
    let topic = fixture.topic().await;
    let mut dispatch = Dispatch::new(&fixture).await;
    let keys: Vec<Vec<Arc<OutboxEvent>>> =
        (0..7).map(|key| events(&topic, &format!("key-{key}"), 60)).collect();
    for round in 0..60 {
        let batch: Vec<_> = keys.iter().map(|events| Arc::clone(&events[round])).collect();
        dispatch.submit(&batch).await;
        if dispatch.publisher.send_order() == SendOrder::OnePerKey {
            dispatch.settled().await;
        }
    }
    dispatch.settled().await;
    let read = fixture.read(&topic).await;
    for (key, events) in keys.iter().enumerate() {
        dispatch.assert_delivered(events);
        assert_in_order(&read, events, &format!("events of key-{key}"));
    }
}

fn assert_in_order(read: &[omni_box_core::EventId], events: &[Arc<OutboxEvent>], what: &str) {
    let expected = ids(events);
    let appeared = first_appearances(&among(read, &expected));
    assert_eq!(appeared, expected, "first appearances of {what}, as they were submitted");
}

/// `SendOrder::Ordered`: the same for one call with many events of one key.
pub async fn a_batch_of_one_key_arrives_in_order<F: PublisherFixture>(fixture: F) {
    let topic = fixture.topic().await;
    let mut dispatch = Dispatch::new(&fixture).await;
    let batch = events(&topic, "key", 500);
    dispatch.submit(&batch).await;
    dispatch.settled().await;
    dispatch.assert_delivered(&batch);
    assert_in_order(&fixture.read(&topic).await, &batch, "a batch of one key");
}

/// `submit`: a full queue is waited for, it is not an error.
pub async fn a_large_batch_is_no_error<F: PublisherFixture>(fixture: F) {
    let topic = fixture.topic().await;
    let mut dispatch = Dispatch::new(&fixture).await;
    let batch: Vec<_> = (0..3_000).map(|n| event(&topic, &format!("key-{n}"))).collect();
    dispatch.submit(&batch).await;
    dispatch.settled().await;
    dispatch.assert_delivered(&batch);
    let read: BTreeSet<_> = fixture.read(&topic).await.into_iter().collect();
    assert_eq!(read.len(), batch.len(), "events on the topic, of a large batch");
}

/// `submit`: several topics, keys and events without one at a time.
pub async fn events_go_to_their_topics<F: PublisherFixture>(fixture: F) {
    let topics = [fixture.topic().await, fixture.topic().await];
    let mut dispatch = Dispatch::new(&fixture).await;
    let batch: Vec<_> = topics
        .iter()
        .flat_map(|topic| [event(topic, "a"), keyless(topic), event(topic, "b"), keyless(topic)])
        .collect();
    dispatch.submit(&batch).await;
    dispatch.settled().await;
    dispatch.assert_delivered(&batch);
    for topic in &topics {
        let read: BTreeSet<_> = fixture.read(topic).await.into_iter().collect();
        let own: BTreeSet<_> =
            batch.iter().filter(|event| event.topic() == topic).map(|event| event.id()).collect();
        assert_eq!(read, own, "events on a topic");
    }
}

/// `DeliveryReport::result`: an event that the broker does not take for its own sake fails alone: not as infrastructure.
pub async fn an_event_that_is_too_large_fails_alone<F: PublisherFixture>(fixture: F) {
    let topic = fixture.topic().await;
    let mut dispatch = Dispatch::new(&fixture).await;
    let odd = large(&topic, "key", 4_000_000);
    let around = assert_goes_around(&mut dispatch, &topic, &odd).await;
    if let Err(error) = dispatch.result(&odd) {
        assert_eq!(
            error.class(),
            FailureClass::Permanent,
            "class of the failure of an event too large: {error:?}"
        );
    }
    assert_read(&fixture, &dispatch, &topic, &around).await;
}

/// `DeliveryReport::result`: [`TopicUnavailable`](ErrorKind::TopicUnavailable) is one event's own. A broker may also make the topic.
pub async fn a_missing_topic_stops_no_other<F: PublisherFixture>(fixture: F) {
    let topic = fixture.topic().await;
    let mut dispatch = Dispatch::new(&fixture).await;
    let odd = event(&format!("{topic}-missing"), "key");
    let around = assert_goes_around(&mut dispatch, &topic, &odd).await;
    if let Err(error) = dispatch.result(&odd) {
        let is_own =
            error.kind() == ErrorKind::TopicUnavailable || error.class() != FailureClass::Infrastructure;
        assert!(is_own, "a topic that is missing is not a failure of the broker: {error:?}");
    }
    assert_read(&fixture, &dispatch, &topic, &around).await;
}

/// Submits an event between others, of one call and of calls before and after.
async fn assert_goes_around<P: EventPublisher>(
    dispatch: &mut Dispatch<P>,
    topic: &str,
    odd: &Arc<OutboxEvent>,
) -> Vec<Arc<OutboxEvent>> {
    let around: Vec<_> = (0..8).map(|n| event(topic, &format!("key-{n}"))).collect();
    dispatch.submit(&around[..2]).await;
    let batch = [&around[2..4], std::slice::from_ref(odd), &around[4..6]].concat();
    dispatch.submit(&batch).await;
    dispatch.submit(&around[6..]).await;
    dispatch.settled().await;
    dispatch.assert_delivered(&around);
    around
}

async fn assert_read<F: PublisherFixture>(
    fixture: &F,
    dispatch: &Dispatch<F::Publisher>,
    topic: &str,
    around: &[Arc<OutboxEvent>],
) {
    let read = fixture.read(topic).await;
    for event in around {
        assert!(dispatch.is_delivered(event) && read.contains(&event.id()), "the events around it are there");
    }
}

/// `purge`: everything is reported when it returns, as `Unavailable` or as it turned out; the publisher is ready for new events.
pub async fn a_purge_reports_everything_once<F: PublisherFixture>(fixture: F) {
    let topic = fixture.topic().await;
    let mut dispatch = Dispatch::new(&fixture).await;
    dispatch.purge().await;
    for _ in 0..5 {
        let batch: Vec<_> = (0..200).map(|n| event(&topic, &format!("key-{n}"))).collect();
        dispatch.submit(&batch).await;
        dispatch.purge().await;
        for event in &batch {
            if let Err(error) = dispatch.result(event) {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "kind of what a purge gave up: {error:?}");
            }
        }
        let next = events(&topic, "next", 1);
        dispatch.submit(&next).await;
        dispatch.settled().await;
        dispatch.assert_delivered(&next);
        let read = fixture.read(&topic).await;
        for event in batch.iter().filter(|event| dispatch.is_delivered(event)) {
            assert!(read.contains(&event.id()), "what was reported as delivered is there");
        }
    }
    dispatch.assert_nothing_more_is_reported(&topic).await;
}

/// `purge`: nothing of what it gave up is sent later.
pub async fn what_was_purged_is_not_sent_later<F: PublisherFixture>(fixture: F) {
    let topic = fixture.topic().await;
    let mut dispatch = Dispatch::new(&fixture).await;
    let purged: Vec<_> = (0..200).map(|n| event(&topic, &format!("key-{n}"))).collect();
    dispatch.submit(&purged).await;
    dispatch.purge().await;
    // where it is now is as far as it got before the purge
    let before: BTreeSet<_> = among(&fixture.read(&topic).await, &ids(&purged)).into_iter().collect();
    for event in events(&topic, "next", 3) {
        dispatch.submit(std::slice::from_ref(&event)).await;
        dispatch.settled().await;
        dispatch.assert_delivered(&[event]);
    }
    let after: BTreeSet<_> = among(&fixture.read(&topic).await, &ids(&purged)).into_iter().collect();
    assert_eq!(
        after.difference(&before).count(),
        0,
        "events that were sent after the purge that gave them up"
    );
}

/// `submit`: dropped halfway, some events may be sent without a report; after a purge the publisher works as before.
pub async fn a_submit_that_was_dropped_does_no_harm<F: PublisherFixture>(fixture: F) {
    let topic = fixture.topic().await;
    let mut dispatch = Dispatch::new(&fixture).await;
    let dropped: Vec<_> = (0..50).map(|n| event(&topic, &format!("key-{n}"))).collect();
    dispatch.submit_and_drop(&dropped);
    dispatch.publisher.purge().await;
    dispatch.collect();
    dispatch.discard(&dropped);
    let batch: Vec<_> = (0..50).map(|n| event(&topic, &format!("key-{n}"))).collect();
    dispatch.submit(&batch).await;
    dispatch.settled().await;
    dispatch.assert_delivered(&batch);
    let read = fixture.read(&topic).await;
    for (first, second) in dropped.iter().zip(&batch) {
        let appeared = among(&read, &[first.id(), second.id()]);
        assert_eq!(
            appeared.last(),
            Some(&second.id()),
            "an event whose submit was dropped does not arrive after the one of its key that was submitted later"
        );
    }
}

/// `check`: answers `Ok` when the broker can be used.
pub async fn a_broker_that_works_passes_the_check<F: PublisherFixture>(fixture: F) {
    let topic = fixture.topic().await;
    let mut dispatch = Dispatch::new(&fixture).await;
    eventually("check answers Ok", async || dispatch.publisher.check().await.is_ok()).await;
    let batch = events(&topic, "key", 1);
    dispatch.submit(&batch).await;
    dispatch.settled().await;
    dispatch.assert_delivered(&batch);
}
