//! A fetch returns what may be worked on, in order.

use omni_box_core::{Attempt, ErrorKind, EventRepository, FetchFilters, Retry};

use crate::table::{DAY, HOUR, MINUTE, Table, ids, size, token};
use crate::{Specimen, StoreFixture};

/// `fetch_pending`: oldest first, at most one event per key, the oldest that is pending.
pub async fn heads_of_keys_come_oldest_first<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = [E::of("c"), E::of("a"), E::of("c"), E::of("b"), E::of("a"), E::of("c")];
    table.create(&events[..3]).await;
    table.create(&events[3..]).await;
    let [c1, a1, c2, b1, a2, c3] = [0, 1, 2, 3, 4, 5].map(|n| events[n].id());
    assert_eq!(table.pending().await, [c1, a1, b1], "one event of each key, its oldest; oldest first");
    assert_eq!(table.pending().await, [c1, a1, b1], "a fetch claims nothing: the next one returns the same");
    table.complete(&events[0]).await;
    assert_eq!(
        sorted(table.pending().await),
        sorted(vec![a1, c2, b1]),
        "then the next of the completed one's key"
    );
    table.complete(&events[2]).await;
    table.complete(&events[1]).await;
    assert_eq!(
        sorted(table.pending().await),
        sorted(vec![b1, a2, c3]),
        "and so on, until the last of the key"
    );
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}

/// `fetch_pending`: at most `limit`, and those are the oldest.
pub async fn a_fetch_keeps_its_limit<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = E::many(9);
    table.create(&events).await;
    for limit in [1, 4, 9, 10] {
        let fetched = ids(&table.fetch(limit, &FetchFilters::new()).await);
        let expected = &ids(&events)[..events.len().min(limit as usize)];
        assert_eq!(fetched, expected, "the oldest, at most the limit of {limit}");
    }
}

/// `fetch_pending`: no worker has claimed it, nor another event of its key.
pub async fn what_is_claimed_is_left_out_with_its_key<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let (table, elsewhere) = (Table::<_, E>::first(&fixture).await, Table::open(&fixture).await);
    let events = [E::of("a"), E::of("a"), E::of("b"), E::of("b"), E::of("c")];
    table.create(&events).await;
    for claimed in [&events[1], &events[2]] {
        assert!(table.mark_processing(claimed, &token()).await, "a pending event can be claimed");
    }
    for (who, table) in [("the claimer's process", &table), ("another process", &elsewhere)] {
        assert_eq!(
            table.pending().await,
            [events[4].id()],
            "{who}: a claimed event is left out, and so is what comes before or behind it in its key"
        );
    }
}

/// `fetch_pending`: an event whose retry is not due holds its key, and no other.
pub async fn a_retry_holds_its_key_until_it_is_due<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = [E::of("a"), E::of("a"), E::of("b")];
    table.create(&events).await;
    let [head, follower, other] = [0, 1, 2].map(|n| events[n].id());
    table.fail(&events[0], Attempt::Counted, Retry::After(HOUR)).await;
    assert_eq!(
        table.pending().await,
        [other],
        "an event that waits for its retry holds its key, and no other"
    );
    fixture.advance(HOUR - MINUTE).await;
    assert_eq!(table.pending().await, [other], "a retry is not due before its time");
    fixture.advance(2 * MINUTE).await;
    assert_eq!(
        sorted(table.pending().await),
        sorted(vec![head, other]),
        "a retry is due when its time has come"
    );
    table.complete(&events[0]).await;
    assert_eq!(
        sorted(table.pending().await),
        sorted(vec![follower, other]),
        "what waited behind it goes on once it is completed"
    );
}

/// `Retry::OnRequest`: tried again only when an operator says so; until then it holds its key.
pub async fn what_waits_for_an_operator_is_never_due<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = [E::of("a"), E::of("a"), E::of("b")];
    table.create(&events).await;
    table.fail(&events[0], Attempt::Counted, Retry::OnRequest).await;
    for _ in 0..2 {
        assert_eq!(
            table.pending().await,
            [events[2].id()],
            "an event that waits for an operator never becomes due by itself, and holds its key"
        );
        fixture.advance(400 * DAY).await;
    }
}

/// `fetch_pending`: filters combine by "and", the values of one by "or".
pub async fn filters_narrow_a_fetch<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    for (filters, passes, stays) in E::filters() {
        table.create(&[stays.clone(), passes.clone()]).await;
        assert_eq!(ids(&table.fetch(1, &filters).await), [passes.id()], "fetched by {filters:?}");
        assert_eq!(ids(&table.fetch(100, &filters).await), [passes.id()], "fetched by {filters:?}");
        table.complete(&passes).await;
        table.complete(&stays).await;
    }
}

/// `FetchFilters`: a condition on what this kind of event does not have is refused, not ignored.
pub async fn filters_of_the_other_kind_are_refused<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    table.create_one(&E::of("a")).await;
    for filters in E::foreign_filters() {
        let refused = table.store.fetch_pending(size(10), &filters).await;
        assert!(
            refused.as_ref().is_err_and(|error| error.kind() == ErrorKind::Invalid),
            "{filters:?} names what these events do not have: ErrorKind::Invalid was expected, since to ignore it would work on \
             events that were not asked for"
        );
    }
}
