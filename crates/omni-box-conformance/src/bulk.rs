//! [`BulkOperations`](omni_box_core::BulkOperations): marks of whole batches.

use omni_box_core::{Attempt, ClaimToken, EventId, EventRepository, EventStatus, Retry};

use super::table::{HOUR, Table, ids, token};
use super::transaction::retried;
use super::{Specimen, StoreFixture};

impl<S: EventRepository<E>, E: Specimen> Table<S, E> {
    async fn complete_many(&self, ids: &[EventId], token: &ClaimToken) -> Vec<EventId> {
        let mut done =
            retried("complete a batch", async || self.bulk().complete_many(ids, token).await).await;
        done.sort();
        done
    }
}

/// `complete_many`: completes what `token` has claimed, every one of them.
pub async fn a_batch_is_completed_to_its_last_event<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let (table, elsewhere) = (Table::<_, E>::first(&fixture).await, Table::<_, E>::open(&fixture).await);
    let events = E::many(57);
    table.create(&events).await;
    let token = token();
    for event in &events {
        assert!(table.mark_processing(event, &token).await, "a pending event can be claimed");
    }
    assert_eq!(
        table.complete_many(&ids(&events), &token).await,
        ids(&events),
        "returned are all that were completed"
    );
    for event in &events {
        let row = elsewhere.row(event).await;
        assert_eq!(row.status(), EventStatus::Completed, "each of the batch is completed, for every process");
        assert!(row.lifecycle().completed_at().is_some(), "a completed event has a completed_at");
    }
    assert!(table.pending().await.is_empty(), "completed events are not fetched again");
    assert!(table.complete_many(&[], &token).await.is_empty(), "no events are a valid batch");
}

/// `complete_many`: returns those that were completed; the others are left as they are.
pub async fn a_batch_completes_only_what_its_token_has<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = E::many(5);
    table.create(&events).await;
    let (mine, theirs) = (token(), token());
    let [owned, foreign, unclaimed, completed, failed] = [0, 1, 2, 3, 4].map(|n| &events[n]);
    table.complete(completed).await;
    table.fail(failed, Attempt::Counted, Retry::Never).await;
    assert!(table.mark_processing(owned, &mine).await, "a pending event can be claimed");
    assert!(table.mark_processing(foreign, &theirs).await, "a pending event can be claimed");
    let others = [foreign, unclaimed, completed, failed];
    let mut before = Vec::new();
    for event in others {
        before.push(table.row(event).await);
    }
    fixture.advance(HOUR).await;
    let batch = [ids(&events), vec![EventId::generate()]].concat();
    assert_eq!(
        table.complete_many(&batch, &mine).await,
        [owned.id()],
        "completed is what the token has claimed: not what others have, what is unclaimed, is not pending, or does not exist"
    );
    for (event, before) in others.into_iter().zip(before) {
        assert_eq!(table.row(event).await, before, "what is not in the answer is not changed");
    }
    assert!(table.complete_many(&batch, &mine).await.is_empty(), "an event is completed once");
    assert_eq!(table.complete_many(&batch, &theirs).await, [foreign.id()], "the other claim is still there");
}
