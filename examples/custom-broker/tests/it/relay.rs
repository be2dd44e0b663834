//! The real relay on the publisher: retries, order, and what fails for good.

use std::time::Duration;

use axum::http::StatusCode;
use omni_box::event::EventStatus;
use omni_box::prelude::*;
use omni_box::retry::Jitter;
use omni_box::{EventId, RetryPolicy};
use omni_box_testkit::MemoryStore;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::receiver::Receiver;

fn event(key: &str) -> OutboxEvent {
    let event = NewOutboxEvent::from_json("order.placed", "orders", r#"{"order": 7}"#).partition_key(key);
    OmniBoxDomainService::default().create_outbox_event(event).unwrap()
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within a minute");
        sleep(Duration::from_millis(5)).await;
    }
}

/// What the receiver answered to an event, time after time.
fn answers_to(receiver: &Receiver, id: EventId) -> Vec<u16> {
    let answers = receiver.answers().into_iter();
    answers.filter(|(asked, _)| *asked == id.to_string()).map(|(_, status)| status.as_u16()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_receiver_refuses_for_now_is_sent_again_and_what_it_rejects_is_not() {
    let (store, receiver) = (MemoryStore::new(), Receiver::start().await);
    let [ada, bob, cleo] = ["ada", "bob", "cleo"].map(|key| [event(key), event(key), event(key)]);
    // down for a moment, no more than that for this event, never
    receiver.refuse_event(ada[0].id(), StatusCode::SERVICE_UNAVAILABLE, 1);
    receiver.refuse_event(bob[1].id(), StatusCode::BAD_REQUEST, usize::MAX);
    receiver.refuse_event(cleo[0].id(), StatusCode::INTERNAL_SERVER_ERROR, 1);

    let shutdown = CancellationToken::new();
    let soon = RetryPolicy::new(Duration::from_millis(20), Duration::from_millis(50), Jitter::Equal).unwrap();
    let relay = OutboxRelay::builder(store.clone(), receiver.publisher())
        .retry(soon)
        .outage_retry(soon)
        .poll_interval(Duration::from_millis(5), Duration::from_millis(20))
        .build()
        .unwrap();
    let relay = tokio::spawn(relay.run(shutdown.clone()));
    // an event's own failure is told from an outage, if the two do not come at once
    for events in [[&ada, &bob].as_slice(), &[&cleo]] {
        let mut tx = store.begin().await.unwrap();
        for events in events {
            store.create_many(&mut tx, *events).await.unwrap();
        }
        store.commit(tx).await.unwrap();
        eventually("nothing is pending", || {
            store.outbox_events().iter().all(|event| event.status() != EventStatus::Pending)
        })
        .await;
    }
    shutdown.cancel();
    relay.await.unwrap().unwrap();

    // the receiver takes nothing whose signature it cannot verify, and answers 401
    assert!(receiver.answers().iter().all(|(_, status)| *status != StatusCode::UNAUTHORIZED));
    let taken = receiver.taken("orders");
    let mut first_appearances: Vec<&str> = Vec::new();
    for (id, _) in &taken {
        if !first_appearances.contains(&id.as_str()) {
            first_appearances.push(id);
        }
    }
    for (key, expected) in [
        ("ada", &[&ada[0], &ada[1], &ada[2]][..]),
        ("bob", &[&bob[0], &bob[2]]),
        ("cleo", &[&cleo[0], &cleo[1], &cleo[2]]),
    ] {
        let of_key =
            [&ada, &bob, &cleo].into_iter().flatten().filter(|event| event.partition_key() == Some(key));
        let of_key: Vec<String> = of_key.map(|event| event.id().to_string()).collect();
        let appeared: Vec<&str> =
            first_appearances.iter().copied().filter(|id| of_key.iter().any(|of| of == id)).collect();
        let expected: Vec<String> = expected.iter().map(|event| event.id().to_string()).collect();
        assert_eq!(appeared, expected, "first appearances of {key}");
    }

    assert_eq!(answers_to(&receiver, ada[0].id())[..2], [503, 204], "refused, then sent again");
    assert_eq!(answers_to(&receiver, cleo[0].id())[..2], [500, 204], "failed, then sent again");
    for stored in store.outbox_events() {
        let (status, attempts) = (stored.status(), stored.lifecycle().attempts_made());
        if stored.id() == bob[1].id() {
            assert_eq!(status, EventStatus::Failed, "what is rejected fails for good");
            let error = stored.lifecycle().last_error().unwrap_or_default().to_owned();
            assert!(error.contains("400"), "{error}");
        } else {
            let own_failures = u32::from(stored.id() == cleo[0].id());
            assert_eq!(
                (status, attempts),
                (EventStatus::Completed, own_failures),
                "an outage costs no attempt"
            );
        }
    }
}
