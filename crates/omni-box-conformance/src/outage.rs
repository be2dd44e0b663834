//! [`EventPublisher`] while its broker is away: waiting is not an error, giving up is complete, and nothing overtakes anything.

use std::sync::Arc;

use omni_box_core::{ErrorKind, EventPublisher, FailureClass, OutboxEvent, SendOrder};

use super::Outages;
use super::delivery::{Dispatch, among, event, events, eventually, first_appearances, ids, in_time};
use super::publisher::assert_send_order;

/// A publisher that has delivered something, so that it knows broker and topic.
async fn warm<F: Outages>(fixture: &F) -> (Dispatch<F::Publisher>, String) {
    let topic = fixture.topic().await;
    let mut dispatch = Dispatch::new(fixture).await;
    let first = events(&topic, "first", 1);
    dispatch.submit(&first).await;
    dispatch.settled().await;
    dispatch.assert_delivered(&first);
    (dispatch, topic)
}

/// Waits until the publisher says that the broker is back.
async fn recovered<P: EventPublisher>(dispatch: &Dispatch<P>) {
    eventually("check answers Ok when the broker is back", async || dispatch.publisher.check().await.is_ok())
        .await;
}

/// One event of each of several keys: what every publisher may have in flight at once.
fn one_of_each_key(topic: &str, count: usize) -> Vec<Arc<OutboxEvent>> {
    (0..count).map(|n| event(topic, &format!("key-{n}"))).collect()
}

/// What the publisher promises of what is in flight is what it is tested for.
pub async fn send_order_is_what_is_tested_in_outages<F: Outages>(fixture: F, tested: SendOrder) {
    assert_send_order(fixture.publisher().await.send_order(), tested);
}

/// `submit`: waiting for a broker that is down is not an error; what waits is delivered when it is back.
pub async fn waiting_for_the_broker_is_no_error<F: Outages>(fixture: F) {
    let (mut dispatch, topic) = warm(&fixture).await;
    fixture.cut().await;
    let batch = one_of_each_key(&topic, 20);
    dispatch.submit(&batch).await;
    fixture.restore().await;
    dispatch.settled().await;
    dispatch.assert_delivered(&batch);
    assert_eq!(
        among(&fixture.read(&topic).await, &ids(&batch)).len(),
        batch.len(),
        "events that waited for the broker, on the topic"
    );
}

/// `SendOrder::Ordered`: what waited through an outage arrives in order.
pub async fn what_waited_arrives_in_order<F: Outages>(fixture: F) {
    let (mut dispatch, topic) = warm(&fixture).await;
    let batch = events(&topic, "key", 60);
    dispatch.submit(&batch[..20]).await;
    fixture.cut().await;
    dispatch.submit(&batch[20..40]).await;
    fixture.restore().await;
    dispatch.submit(&batch[40..]).await;
    dispatch.settled().await;
    dispatch.assert_delivered(&batch);
    assert_eq!(
        first_appearances(&among(&fixture.read(&topic).await, &ids(&batch))),
        ids(&batch),
        "first appearances"
    );
}

/// `submit`: success is reported only for what the broker has; `purge` reports the rest as `Unavailable`, once.
pub async fn what_is_purged_in_an_outage_is_unavailable<F: Outages>(fixture: F) {
    let (mut dispatch, topic) = warm(&fixture).await;
    fixture.cut().await;
    let batch = one_of_each_key(&topic, 20);
    dispatch.submit(&batch).await;
    dispatch.purge().await;
    for event in &batch {
        let error = dispatch.result(event).as_ref().expect_err("a broker that is away has taken nothing");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "kind of what a purge gave up: {error:?}");
    }
    fixture.restore().await;
    recovered(&dispatch).await;
    dispatch.assert_nothing_more_is_reported(&topic).await;
}

/// `purge`: afterwards nothing of it is sent, also when the broker is back.
pub async fn what_was_purged_is_not_sent_when_the_broker_is_back<F: Outages>(fixture: F) {
    let (mut dispatch, topic) = warm(&fixture).await;
    fixture.cut().await;
    let purged = one_of_each_key(&topic, 20);
    dispatch.submit(&purged).await;
    dispatch.purge().await;
    fixture.restore().await;
    recovered(&dispatch).await;
    // each delivery is a time at which what was kept would have been sent too
    for next in events(&topic, "next", 5) {
        dispatch.submit(std::slice::from_ref(&next)).await;
        dispatch.settled().await;
        dispatch.assert_delivered(&[next]);
    }
    let read = fixture.read(&topic).await;
    assert_eq!(among(&read, &ids(&purged)), [], "events that were sent although a purge gave them up before");
}

/// `purge`: ready for new events when it returns. A relay that begins again at the first event that was not delivered keeps the order.
pub async fn beginning_again_after_a_purge_keeps_the_order<F: Outages>(fixture: F) {
    let (mut dispatch, topic) = warm(&fixture).await;
    let batch = events(&topic, "key", 30);
    let step = if dispatch.publisher.send_order() == SendOrder::OnePerKey { 1 } else { 10 };
    for outage in 0..3 {
        let from = first_undelivered(&dispatch, &batch);
        let until = (from + step).min(batch.len());
        dispatch.forget(&batch[from..until]);
        dispatch.submit(&batch[from..until]).await;
        fixture.cut().await;
        if step > 1 && outage > 0 {
            let more = (until + step).min(batch.len());
            dispatch.forget(&batch[until..more]);
            dispatch.submit(&batch[until..more]).await;
        }
        dispatch.purge().await;
        fixture.restore().await;
        recovered(&dispatch).await;
    }
    for from in first_undelivered(&dispatch, &batch)..batch.len() {
        dispatch.forget(&batch[from..=from]);
        dispatch.submit(&batch[from..=from]).await;
        dispatch.settled().await;
    }
    dispatch.assert_delivered(&batch);
    let appeared = first_appearances(&among(&fixture.read(&topic).await, &ids(&batch)));
    assert_eq!(appeared, ids(&batch), "first appearances after outages");
}

fn first_undelivered<P: EventPublisher>(dispatch: &Dispatch<P>, events: &[Arc<OutboxEvent>]) -> usize {
    let first = events.iter().position(|event| !dispatch.is_delivered(event)).unwrap_or(events.len());
    for event in &events[first..] {
        assert!(
            !dispatch.is_delivered(event),
            "an event was reported as delivered behind one that was given up: its key would be out of order"
        );
    }
    first
}

/// `check`: of infrastructure class while the broker cannot be used, `Ok` when it can again.
pub async fn the_check_follows_the_broker<F: Outages>(fixture: F) {
    let (dispatch, _) = warm(&fixture).await;
    for _ in 0..2 {
        fixture.cut().await;
        let checked = in_time("check answers", dispatch.publisher.check()).await;
        let error = checked.expect_err("a broker that is away fails the check");
        assert_eq!(error.class(), FailureClass::Infrastructure, "class of a failed check: {error:?}");
        fixture.restore().await;
        recovered(&dispatch).await;
    }
}

/// `purge`: can be called again and again, with nothing in flight.
pub async fn purges_can_be_repeated<F: Outages>(fixture: F) {
    let (mut dispatch, topic) = warm(&fixture).await;
    fixture.cut().await;
    for _ in 0..2 {
        let batch = one_of_each_key(&topic, 3);
        dispatch.submit(&batch).await;
        dispatch.purge().await;
        dispatch.purge().await;
    }
    fixture.restore().await;
    recovered(&dispatch).await;
    dispatch.purge().await;
    dispatch.assert_nothing_more_is_reported(&topic).await;
}
