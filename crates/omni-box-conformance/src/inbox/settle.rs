//! Outcomes are written in the message's own transaction.

use std::time::Duration;

use omni_box_core::{
    Attempt, Event, EventRepository, EventStatus, InboxEvent, InboxRepository, InboxSettlement, Retry,
};

use super::{Inbox, message};
use crate::StoreFixture;
use crate::specimen::{content, group, inbox};
use crate::table::{HOUR, failure, ids, token};
use crate::transaction::retried;

/// `settle`: every outcome of a group is written.
pub async fn a_group_is_settled_to_its_last_message<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let events: Vec<InboxEvent> = (0..40).map(|n| message(&n.to_string(), n, "1")).collect();
    table.receive(&events).await;
    let settlement = InboxSettlement {
        completed: ids(&events[..20]),
        failures: events[20..]
            .iter()
            .map(|e| (e.id(), failure(Attempt::Counted, Retry::After(HOUR))))
            .collect(),
    };
    table.settle(&events, &settlement).await;
    for event in &events[..20] {
        let row = table.row(event).await;
        assert_eq!(row.status(), EventStatus::Completed, "each that took effect is completed");
        assert!(row.lifecycle().completed_at().is_some(), "a completed message has a completed_at");
        assert_eq!(row.lifecycle().attempts_made(), 0, "success costs no attempt");
    }
    for event in &events[20..] {
        let row = table.row(event).await;
        assert_eq!(row.status(), EventStatus::Pending, "each that will be tried again stays pending");
        assert_eq!(row.lifecycle().attempts_made(), 1, "Attempt::Counted costs an attempt");
        assert_eq!(row.lifecycle().last_error(), Some("no stock"), "the failure's text is kept");
    }
}

/// `Attempt`: counted ones add up, free ones cost nothing, refunded ones give back; within 0 and the maximum.
/// `Retry::Never`: fails.
pub async fn attempts_are_counted_as_the_failure_says<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let event = inbox(
        omni_box_core::NewInboxEvent::new("a", group(), "shop", content("order.placed", "1")).max_attempts(2),
    );
    table.receive_one(&event).await;
    for (attempt, retry, expected) in [
        (Attempt::Free, Retry::After(HOUR), 0),
        (Attempt::Refunded, Retry::After(HOUR), 0),
        (Attempt::Counted, Retry::OnRequest, 1),
        (Attempt::Free, Retry::After(HOUR), 1),
        (Attempt::Counted, Retry::After(HOUR), 2),
        (Attempt::Counted, Retry::OnRequest, 2),
        (Attempt::Refunded, Retry::After(HOUR), 1),
    ] {
        table.settle_failure(&event, failure(attempt, retry)).await;
        let row = table.row(&event).await;
        assert_eq!(
            row.lifecycle().attempts_made(),
            expected,
            "attempts_made after a failure that is {attempt:?} (maximum 2)"
        );
        assert_eq!(row.status(), EventStatus::Pending, "only Retry::Never fails a message");
    }
    table.settle_failure(&event, failure(Attempt::Counted, Retry::Never)).await;
    let row = table.row(&event).await;
    assert_eq!(row.status(), EventStatus::Failed, "Retry::Never fails a message");
    assert_eq!(row.lifecycle().attempts_made(), 2, "Attempt::Counted costs an attempt");
}

/// `settle`: changes pending rows only.
pub async fn only_pending_messages_are_settled<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let events = [message("done", 0, "1"), message("failed", 1, "1")];
    table.receive(&events).await;
    table.settle_completed(&events[0]).await;
    table.settle_failure(&events[1], failure(Attempt::Counted, Retry::Never)).await;
    let before = [table.row(&events[0]).await, table.row(&events[1]).await];
    fixture.advance(HOUR).await;
    for retry in [Retry::Never, Retry::OnRequest, Retry::After(HOUR)] {
        let failures = events.iter().map(|event| (event.id(), failure(Attempt::Counted, retry))).collect();
        table.settle(&events, &InboxSettlement { completed: ids(&events), failures: vec![] }).await;
        table.settle(&events, &InboxSettlement { completed: vec![], failures }).await;
    }
    let after = [table.row(&events[0]).await, table.row(&events[1]).await];
    assert_eq!(
        after, before,
        "a completed and a failed message stay as they are, whatever is written of them"
    );
}

/// `settle`: a claim ends with the outcome of its row.
pub async fn a_claim_ends_with_its_outcome<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let event = message("a", 0, "1");
    table.receive_one(&event).await;
    let claim = async || {
        let token = token();
        retried("claim a message", async || table.store.mark_processing(event.id(), &token).await).await
    };
    assert!(claim().await, "a pending message that no token has is claimed");
    table.settle_failure(&event, failure(Attempt::Counted, Retry::After(Duration::ZERO))).await;
    assert!(
        claim().await,
        "the outcome of a message ends the claim on it, so that the next worker can claim it"
    );
    table.settle_completed(&event).await;
    let life = table.row(&event).await.lifecycle().clone();
    assert_eq!(life.lock(), None, "a message that is done is claimed by no token");
}
