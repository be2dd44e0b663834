//! [`RetentionPolicies`](omni_box_core::RetentionPolicies): upkeep deletes what is old and done, and nothing else.

use std::time::Duration;

use omni_box_core::{Attempt, EventRepository, Retry};

use super::table::{DAY, HOUR, Table, ids, size, token};
use super::transaction::retried;
use super::{Specimen, StoreFixture};

impl<S: EventRepository<E>, E: Specimen> Table<S, E> {
    async fn clean_up(&self, retention: Duration, batch: u32, max_iterations: u32) -> u64 {
        retried("clean up", async || {
            self.retention().cleanup_old_events(retention, size(batch), max_iterations).await
        })
        .await
    }

    async fn release_stale(&self, older_than: Duration) -> u64 {
        retried("give stale claims back", async || self.retention().release_stale_locks(older_than).await)
            .await
    }

    async fn is_there(&self, event: &E) -> bool {
        self.get(event.id()).await.is_some()
    }
}

/// `cleanup_old_events`: deletes completed events older than `retention`, counted from their completion.
pub async fn old_completed_events_are_deleted<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = E::many(2);
    table.create(&events).await;
    fixture.advance(10 * DAY).await;
    table.complete(&events[0]).await;
    fixture.advance(2 * HOUR).await;
    table.complete(&events[1]).await;
    assert_eq!(table.clean_up(3 * HOUR, 10, 10).await, 0, "nothing was completed that long ago");
    assert!(table.is_there(&events[0]).await, "an event's age counts from its completion, not its creation");
    assert_eq!(table.clean_up(HOUR, 10, 10).await, 1, "one was completed more than an hour ago");
    assert!(!table.is_there(&events[0]).await, "it is deleted");
    assert!(table.is_there(&events[1]).await, "what was completed just now stays");
}

/// `cleanup_old_events`: pending and failed events are never deleted.
pub async fn pending_and_failed_events_are_never_deleted<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = E::many(6);
    table.create(&events).await;
    table.fail(&events[1], Attempt::Counted, Retry::Never).await;
    table.fail(&events[2], Attempt::Counted, Retry::OnRequest).await;
    table.fail(&events[3], Attempt::Counted, Retry::After(HOUR)).await;
    table.mark_processing(&events[4], &token()).await;
    table.complete(&events[5]).await;
    fixture.advance(1000 * DAY).await;
    assert_eq!(table.clean_up(HOUR, 10, 10).await, 1, "only the completed one is deleted");
    for (event, what) in events.iter().zip(["pending", "failed", "waiting", "retried", "claimed"]) {
        assert!(table.is_there(event).await, "a {what} event was deleted, however old: it is lost");
    }
}

/// `cleanup_old_events`: `batch` at a time, at most `max_iterations` times; returns how many.
pub async fn a_clean_up_is_bounded<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = E::many(25);
    table.create(&events).await;
    for event in &events {
        table.complete(event).await;
    }
    fixture.advance(DAY).await;
    assert_eq!(table.clean_up(HOUR, 10, 0).await, 0, "no iteration deletes nothing");
    assert_eq!(table.clean_up(HOUR, 5, 1).await, 5, "one iteration deletes one batch");
    assert_eq!(table.clean_up(HOUR, 4, 3).await, 12, "three iterations delete three batches");
    let mut left = 0;
    for event in &events {
        left += u32::from(table.is_there(event).await);
    }
    assert_eq!(left, 8, "what is returned is what was deleted");
    assert_eq!(table.clean_up(HOUR, 5, 100).await, 8, "it ends when nothing is left");
    assert_eq!(table.clean_up(HOUR, 5, 100).await, 0, "nothing is left");
}

/// `release_stale_locks`: gives back claims older than `older_than`, and no others; returns how many.
pub async fn stale_claims_are_given_back<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let (table, elsewhere) = (Table::<_, E>::first(&fixture).await, Table::<_, E>::open(&fixture).await);
    let events = E::many(4);
    table.create(&events).await;
    let (old, young) = (token(), token());
    assert!(table.mark_processing(&events[0], &old).await, "a pending event can be claimed");
    assert!(table.mark_processing(&events[1], &old).await, "a pending event can be claimed");
    assert!(table.mark_completed(&events[1], &old).await, "a claimed event can be completed");
    fixture.advance(2 * HOUR).await;
    assert!(table.mark_processing(&events[2], &young).await, "a pending event can be claimed");
    assert_eq!(table.release_stale(3 * HOUR).await, 0, "no claim is that old");
    assert_eq!(table.release_stale(HOUR).await, 1, "one claim of a pending event is older than an hour");
    assert_eq!(
        elsewhere.pending().await,
        [ids(&events[..1]), ids(&events[3..])].concat(),
        "the stale one is due again; the young one is still claimed"
    );
    assert_eq!(table.row(&events[0]).await.lifecycle().attempts_made(), 0, "it costs no attempt");
    assert!(!table.mark_completed(&events[0], &old).await, "a claim that was given back completes nothing");
    assert!(table.mark_completed(&events[2], &young).await, "the young claim counts");
}
