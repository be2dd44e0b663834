//! [`DeadLetters`](omni_box_core::store::DeadLetters): what was given up is listed, requeued, replayed and deleted.

use omni_box_core::store::{DeadLetters, Replayed};
use omni_box_core::{Attempt, ErrorKind, EventId, EventRepository, EventStatus, FetchFilters, Retry};

use super::table::{DAY, HOUR, Table, ids, size};
use super::transaction::retried;
use super::{Specimen, StoreFixture};

impl<S: EventRepository<E>, E: Specimen> Table<S, E> {
    fn dead_letters(&self) -> &dyn DeadLetters<E> {
        self.store.dead_letters().expect("a store that is tested for dead letters has them")
    }

    async fn failed(&self, filters: &FetchFilters, after: Option<&E>, limit: u32) -> Vec<E> {
        retried("list failed events", async || self.dead_letters().list(filters, after, size(limit)).await)
            .await
    }

    async fn all_failed(&self) -> Vec<EventId> {
        ids(&self.failed(&FetchFilters::new(), None, 100).await)
    }

    async fn uncopied(&self, after: Option<&E>, limit: u32) -> Vec<E> {
        let everything = FetchFilters::new();
        retried("list what has no copy", async || {
            self.dead_letters().list_uncopied(&everything, after, size(limit)).await
        })
        .await
    }

    async fn mark_copied(&self, events: &[E]) {
        retried("note copies", async || self.dead_letters().mark_copied(events).await).await;
    }

    async fn requeue(&self, ids: &[EventId]) -> Vec<EventId> {
        let mut requeued = retried("requeue events", async || self.dead_letters().requeue(ids).await).await;
        requeued.sort();
        requeued
    }

    async fn replay(&self, ids: &[EventId]) -> Vec<Replayed> {
        retried("replay events", async || self.dead_letters().replay_as_new(ids).await).await
    }

    async fn purge_failed(&self, older_than: std::time::Duration, limit: u32) -> u64 {
        retried("delete failed events", async || self.dead_letters().purge(older_than, size(limit)).await)
            .await
    }
}

/// `list`: failed events alone, in the order in which they failed, page by page.
pub async fn what_was_given_up_is_listed_in_its_order<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = E::many(6);
    table.create(&events).await;
    table.fail(&events[5], Attempt::Counted, Retry::After(HOUR)).await;
    table.complete(&events[4]).await;
    let order = [2, 0, 3];
    for at in order {
        table.fail(&events[at], Attempt::Counted, Retry::Never).await;
        fixture.advance(HOUR).await;
    }
    let expected: Vec<EventId> = order.iter().map(|at| events[*at].id()).collect();
    assert_eq!(table.all_failed().await, expected, "failed events alone, the first that failed first");
    let first = table.failed(&FetchFilters::new(), None, 2).await;
    assert_eq!(ids(&first), expected[..2], "a page has its limit");
    let second = table.failed(&FetchFilters::new(), first.last(), 2).await;
    assert_eq!(ids(&second), expected[2..], "the next page begins behind the last one of the page before");
    assert!(
        table.failed(&FetchFilters::new(), second.last(), 2).await.is_empty(),
        "nothing is behind the last"
    );
    assert_eq!(second[0].lifecycle().last_error(), Some("no stock"), "the reason is in the row");
}

/// `list`: only what passes the filters; a filter of the other kind is refused.
pub async fn filters_narrow_a_list<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    for (filters, passes, stays) in E::filters() {
        table.create(&[stays.clone(), passes.clone()]).await;
        table.fail(&stays, Attempt::Counted, Retry::Never).await;
        table.fail(&passes, Attempt::Counted, Retry::Never).await;
        assert_eq!(ids(&table.failed(&filters, None, 100).await), [passes.id()], "listed by {filters:?}");
        table.requeue(&[stays.id(), passes.id()]).await;
        table.complete(&stays).await;
        table.complete(&passes).await;
    }
    for filters in E::foreign_filters() {
        let refused = table.dead_letters().list(&filters, None, size(10)).await;
        let is_invalid = refused.is_err_and(|error| error.kind() == ErrorKind::Invalid);
        assert!(
            is_invalid,
            "{filters:?} names what these events do not have: ErrorKind::Invalid was expected"
        );
    }
}

/// `requeue`: a failed event is pending, due, and has all its attempts; what is not failed is left as it is.
pub async fn what_is_requeued_is_tried_again<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = E::many(3);
    table.create(&events).await;
    table.fail(&events[0], Attempt::Counted, Retry::Never).await;
    table.complete(&events[1]).await;
    let others = [table.row(&events[1]).await, table.row(&events[2]).await];
    let all: Vec<EventId> = events.iter().map(|event| event.id()).collect();
    assert_eq!(table.requeue(&all).await, [events[0].id()], "only what is failed is requeued");
    let row = table.row(&events[0]).await;
    assert_eq!(row.status(), EventStatus::Pending, "it is pending");
    assert_eq!(row.lifecycle().attempts_made(), 0, "it has all its attempts");
    assert_eq!(row.content(), events[0].content(), "it is the event that it was");
    assert!(table.pending().await.contains(&events[0].id()), "it is due at once");
    assert_eq!(
        [table.row(&events[1]).await, table.row(&events[2]).await],
        others,
        "others are left as they are"
    );
    assert!(table.requeue(&all).await.is_empty(), "a call that is repeated requeues nothing twice");
    assert!(table.all_failed().await.is_empty(), "it is not a dead letter any more");
}

/// `replay_as_new`: another event with the same content is pending and due, and knows the failed one, which is done; once.
pub async fn what_is_replayed_is_another_event<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = [E::full(), E::of("b"), E::of("c")];
    table.create(&events).await;
    table.fail(&events[0], Attempt::Counted, Retry::Never).await;
    table.complete(&events[1]).await;
    fixture.advance(HOUR).await;
    let others = [table.row(&events[1]).await, table.row(&events[2]).await];
    let [failed, ..] = &events;
    let all = [failed.id(), events[1].id(), events[2].id(), failed.id(), EventId::generate()];
    let replayed = table.replay(&all).await;
    assert_eq!(
        replayed.iter().map(|replayed| replayed.failed).collect::<Vec<_>>(),
        [failed.id()],
        "only what is failed is replayed, and an id that is given twice once"
    );
    let fresh = table.get(replayed[0].by).await.expect("the new event is stored");
    assert_ne!(fresh.id(), failed.id(), "it is another event");
    assert_eq!(fresh.status(), EventStatus::Pending, "it is pending");
    assert_eq!(fresh.lifecycle().attempts_made(), 0, "it has all its attempts");
    assert_eq!(
        fresh.lifecycle().max_attempts(),
        failed.lifecycle().max_attempts(),
        "as many as the failed one"
    );
    assert_eq!(fresh.lifecycle().last_error(), None, "nothing was tried yet");
    assert!(table.pending().await.contains(&fresh.id()), "it is due at once");
    let causation = failed.id().to_string();
    assert_eq!(fresh.content().causation_id.as_deref(), Some(causation.as_str()), "it knows the failed one");
    E::assert_replayed(failed, &fresh);
    let old = table.row(failed).await;
    assert_eq!(old.status(), EventStatus::Completed, "the failed one is done");
    assert_eq!(old.lifecycle().last_error(), Some("no stock"), "and keeps its error");
    assert_eq!(old.content(), failed.content(), "and what it was");
    assert_eq!(
        [table.row(&events[1]).await, table.row(&events[2]).await],
        others,
        "others are left as they are"
    );
    assert!(table.replay(&all).await.is_empty(), "a call that is repeated replays nothing twice");
    assert!(table.all_failed().await.is_empty(), "it is not a dead letter any more");
    assert!(!table.create_one(failed).await.is_new(), "what the failed one was known by is still known");
}

/// `purge`: failed events that are old enough, at most so many; nothing else.
pub async fn old_failed_events_are_deleted_in_bounds<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = E::many(7);
    table.create(&events).await;
    for event in &events[..3] {
        table.fail(event, Attempt::Counted, Retry::Never).await;
    }
    table.complete(&events[4]).await;
    table.fail(&events[5], Attempt::Counted, Retry::After(HOUR)).await;
    fixture.advance(10 * DAY).await;
    table.fail(&events[3], Attempt::Counted, Retry::Never).await;
    fixture.advance(HOUR).await;
    assert_eq!(table.purge_failed(DAY, 2).await, 2, "at most the limit");
    assert_eq!(table.purge_failed(DAY, 2).await, 1, "one more is old enough");
    assert_eq!(table.all_failed().await, [events[3].id()], "what failed just now stays");
    for event in [&events[4], &events[5], &events[6]] {
        assert!(table.get(event.id()).await.is_some(), "what is not failed is never deleted");
    }
}

/// `list_uncopied`, `mark_copied`: a failure has no copy until that is noted; another failure of the same event has none.
pub async fn a_failure_is_copied_once<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = E::many(4);
    table.create(&events).await;
    for event in &events[..3] {
        table.fail(event, Attempt::Counted, Retry::Never).await;
        fixture.advance(HOUR).await;
    }
    let seen = table.uncopied(None, 2).await;
    assert_eq!(ids(&seen), ids(&events[..2]), "the first that failed first, and a page has its limit");
    let rest = table.uncopied(seen.last(), 10).await;
    assert_eq!(ids(&rest), [events[2].id()], "the next page begins behind the last one of the page before");
    table.mark_copied(&seen[..1]).await;
    let expected = [events[1].id(), events[2].id()];
    assert_eq!(ids(&table.uncopied(None, 10).await), expected, "what has a copy is not listed");
    let failed = ids(&events[..3]);
    assert_eq!(table.all_failed().await, failed, "it is a dead letter as before, at its place");
    table.requeue(&failed[..2]).await;
    table.mark_copied(&seen[1..]).await;
    for event in &events[..2] {
        table.fail(event, Attempt::Counted, Retry::Never).await;
        fixture.advance(HOUR).await;
    }
    let expected = [events[2].id(), events[0].id(), events[1].id()];
    let seen = table.uncopied(None, 10).await;
    assert_eq!(ids(&seen), expected, "what is given up again has no copy of that");
    table.mark_copied(&seen).await;
    table.mark_copied(&seen).await;
    assert!(table.uncopied(None, 10).await.is_empty(), "each has one now");
}
