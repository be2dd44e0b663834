//! [`DistributedLocking`](omni_box_core::DistributedLocking): claims of batches.

use std::collections::HashSet;

use omni_box_core::{Attempt, ClaimToken, ErrorKind, EventId, EventRepository, FetchFilters, Retry};

use super::table::{DAY, HOUR, MINUTE, TTL, Table, failure, ids, size, token};
use super::transaction::{at_once, begin, commit, retried};
use super::{Specimen, StoreFixture};

impl<S: EventRepository<E>, E: Specimen> Table<S, E> {
    async fn refresh(&self, token: &ClaimToken, ids: &[EventId]) -> Vec<EventId> {
        let mut kept = retried("renew claims", async || self.locking().refresh(token, ids).await).await;
        kept.sort();
        kept
    }

    async fn release(&self, token: &ClaimToken, ids: &[EventId]) {
        retried("give claims back", async || self.locking().release(token, ids).await).await;
    }
}

/// `claim`: oldest first, at most one per key; what is claimed is skipped, and so is the rest of its key.
pub async fn heads_of_keys_are_claimed_once<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let (table, elsewhere) = (Table::<_, E>::first(&fixture).await, Table::open(&fixture).await);
    let events = [E::of("c"), E::of("a"), E::of("c"), E::of("b")];
    table.create(&events).await;
    let [c1, a1, c2, b1] = [0, 1, 2, 3].map(|n| events[n].id());
    let (mine, theirs) = (token(), token());
    assert_eq!(table.claim(&mine).await, [c1, a1, b1], "the oldest of each key, oldest first");
    assert!(
        elsewhere.claim(&theirs).await.is_empty(),
        "what another has claimed is skipped, and so is the rest of its key"
    );
    assert!(table.claim(&mine).await.is_empty(), "what a token has claimed itself is not handed out twice");
    assert!(elsewhere.pending().await.is_empty(), "what is claimed is not fetched either");
    assert!(table.mark_completed(&events[0], &mine).await, "the claims are those of the token");
    assert_eq!(elsewhere.claim(&theirs).await, [c2], "the next of a key follows when the one before is done");
}

/// `claim`: what is claimed is skipped, and so is the rest of its key. This holds for what is older too, as an event whose transaction
/// committed late, or one that an operator requeued.
pub async fn a_head_waits_for_what_is_claimed_behind_it<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let (table, elsewhere) = (Table::<_, E>::first(&fixture).await, Table::open(&fixture).await);
    let events = [E::of("a"), E::of("a"), E::of("a"), E::of("b")];
    table.create(&events).await;
    let [head, middle, _, other] = [0, 1, 2, 3].map(|n| events[n].id());
    let (mine, theirs) = (token(), token());
    assert!(table.mark_processing(&events[1], &mine).await, "a pending event without a claim is claimed");
    let why = "while one event of a key is at work, no other one of the key is claimed: both would be at work at once";
    assert_eq!(elsewhere.claim(&theirs).await, [other], "{why}");
    assert_eq!(table.claim(&mine).await, [], "{why}, not even by who has it");
    assert!(elsewhere.mark_completed(&events[3], &theirs).await, "it is claimed");
    fixture.advance(TTL * 2).await;
    assert_eq!(elsewhere.claim(&theirs).await, [head], "a claim older than the time to live holds nothing");
    elsewhere.release(&theirs, &[head]).await;
    assert_eq!(table.refresh(&mine, &[middle]).await, [middle], "no worker has taken it over");
    assert_eq!(elsewhere.claim(&theirs).await, [], "{why}, and a renewed claim is a young one");
    assert!(table.mark_completed(&events[1], &mine).await, "it is claimed");
    assert_eq!(elsewhere.claim(&theirs).await, [head], "the key goes on when that one is done");
}

/// `claim`: at most `limit`, and those are the oldest.
pub async fn a_claim_keeps_its_limit<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = E::many(9);
    table.create(&events).await;
    let token = token();
    let mut claimed = Vec::new();
    for limit in [1, 4, 10] {
        let batch = ids(&table.claim_some(&token, limit, &FetchFilters::new()).await);
        assert!(batch.len() <= limit as usize, "at most {limit} were asked for");
        claimed.extend(batch);
    }
    assert_eq!(claimed, ids(&events), "all of them, oldest first");
}

/// `claim`: two that claim at once never get the same event, nor two of one key.
pub async fn two_claimers_never_share_a_key<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let (table, elsewhere) = (Table::<_, E>::first(&fixture).await, Table::open(&fixture).await);
    let events: Vec<E> = (0..60).map(|n| E::of(&format!("key-{}", n % 20))).collect();
    table.create(&events).await;
    let (mine, theirs) = (token(), token());
    let mut seen = HashSet::new();
    for _ in 0..20 {
        let filters = FetchFilters::new();
        let (a, b) =
            tokio::join!(table.claim_some(&mine, 5, &filters), elsewhere.claim_some(&theirs, 5, &filters));
        for event in a.iter().chain(&b) {
            assert!(seen.insert(event.id()), "an event was claimed by two");
        }
        let (a, b) = (ids(&a), ids(&b));
        let place = |id: &EventId| {
            events.iter().position(|event| event.id() == *id).expect("an event of the case") % 20
        };
        let keys: HashSet<usize> = a.iter().chain(&b).map(place).collect();
        assert_eq!(keys.len(), a.len() + b.len(), "two events of one key were claimed at a time");
        for (table, ids, token) in [(&table, &a, &mine), (&elsewhere, &b, &theirs)] {
            for id in ids {
                let done =
                    table.store.mark_completed(*id, token).await.expect("the store completes an event");
                assert!(done, "a claimed event is completed");
            }
        }
    }
    assert_eq!(seen.len(), 60, "all were claimed in the end");
}

/// `claim`: only what others have claimed within `ttl` is skipped; an older claim is taken over, and its owner's marks come to
/// nothing.
pub async fn a_stale_claim_is_taken_over<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let (table, elsewhere) = (Table::<_, E>::first(&fixture).await, Table::open(&fixture).await);
    let events = [E::of("a"), E::of("a"), E::of("b")];
    table.create(&events).await;
    let heads = [events[0].id(), events[2].id()];
    let (mine, theirs) = (token(), token());
    assert_eq!(table.claim(&mine).await, heads, "the heads of both keys");
    fixture.advance(TTL / 2).await;
    assert!(elsewhere.claim(&theirs).await.is_empty(), "a claim younger than the time to live is respected");
    fixture.advance(TTL).await;
    assert_eq!(elsewhere.claim(&theirs).await, heads, "a claim older than the time to live is taken over");

    let before = table.row(&events[0]).await;
    assert!(!table.mark_completed(&events[0], &mine).await, "a claim that was taken over completes nothing");
    assert!(
        !table.mark_failed(&events[0], &mine, &failure(Attempt::Counted, Retry::Never)).await,
        "a claim that was taken over fails nothing"
    );
    assert!(table.refresh(&mine, &heads).await.is_empty(), "a claim that was taken over is not renewed");
    table.release(&mine, &heads).await;
    assert_eq!(table.row(&events[0]).await, before, "nothing was changed by the one that lost the claim");
    assert!(table.pending().await.is_empty(), "the claims are still those of the other");
    assert!(elsewhere.mark_completed(&events[0], &theirs).await, "the new claim counts");
}

/// `refresh`: renews claims; returns those that `token` still has.
pub async fn a_renewed_claim_is_not_taken<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let (table, elsewhere) = (Table::<_, E>::first(&fixture).await, Table::open(&fixture).await);
    let events = E::many(4);
    table.create(&events).await;
    let (mine, theirs) = (token(), token());
    assert_eq!(
        ids(&table.claim_some(&mine, 3, &FetchFilters::new()).await),
        ids(&events[..3]),
        "the oldest three"
    );
    assert_eq!(table.claim(&theirs).await, [events[3].id()], "the rest");
    assert!(table.mark_completed(&events[2], &mine).await, "one is done");
    fixture.advance(TTL * 2 / 3).await;
    assert_eq!(
        table.refresh(&mine, &[ids(&events), vec![EventId::generate()]].concat()).await,
        ids(&events[..2]),
        "returned are those that the token has: not what others have, what is completed, or what does not exist"
    );
    fixture.advance(TTL * 2 / 3).await;
    assert_eq!(
        elsewhere.claim(&token()).await,
        [events[3].id()],
        "a renewed claim is as young as its renewal; one that was not renewed is stale by now"
    );
    assert!(table.mark_completed(&events[0], &mine).await, "the renewed claim counts");
}

/// `release`: gives claims back at once, without counting an attempt.
pub async fn a_released_claim_is_free_and_costs_nothing<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let (table, elsewhere) = (Table::<_, E>::first(&fixture).await, Table::open(&fixture).await);
    let events = [E::of("a"), E::of("a"), E::of("b")];
    table.create(&events).await;
    let (mine, theirs) = (token(), token());
    let claimed = table.claim(&mine).await;
    elsewhere.release(&theirs, &claimed).await;
    assert!(elsewhere.claim(&theirs).await.is_empty(), "a token cannot give back what another has claimed");
    table.release(&mine, &claimed).await;
    let row = table.row(&events[0]).await;
    assert_eq!(row.lifecycle().attempts_made(), 0, "a claim that is given back costs no attempt");
    assert!(row.lifecycle().lock().is_none(), "a claim that is given back is gone");
    assert!(!table.mark_completed(&events[0], &mine).await, "who gave a claim back has none");
    assert_eq!(
        elsewhere.claim(&theirs).await,
        claimed,
        "the same events are due again at once, in their order"
    );
}

/// `claim`: due events only; one that waits for its retry holds its key.
pub async fn only_due_events_are_claimed<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = [E::of("a"), E::of("a"), E::of("b"), E::of("b"), E::of("c"), E::of("c")];
    table.create(&events).await;
    table.fail(&events[0], Attempt::Counted, Retry::After(HOUR)).await;
    table.fail(&events[2], Attempt::Counted, Retry::OnRequest).await;
    table.fail(&events[4], Attempt::Counted, Retry::Never).await;
    let mine = token();
    let [retry, after_failed] = [events[0].id(), events[5].id()];
    assert_eq!(
        table.claim(&mine).await,
        [after_failed],
        "what waits for a retry or an operator holds its key; what failed for good does not"
    );
    assert!(table.mark_completed(&events[5], &mine).await, "it is done");
    fixture.advance(HOUR - MINUTE).await;
    assert!(table.claim(&mine).await.is_empty(), "a retry is not due before its time");
    fixture.advance(2 * MINUTE).await;
    assert_eq!(table.claim(&mine).await, [retry], "a retry is due when its time has come");
    fixture.advance(400 * DAY).await;
    assert_eq!(
        table.claim(&token()).await,
        [retry],
        "what waits for an operator never becomes due by itself"
    );
}

/// `claim`: filters combine by "and", the values of one by "or"; those of the other kind are refused.
pub async fn filters_narrow_a_claim<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let token = token();
    for (filters, passes, stays) in E::filters() {
        table.create(&[stays.clone(), passes.clone()]).await;
        assert_eq!(
            ids(&table.claim_some(&token, 1, &filters).await),
            [passes.id()],
            "claimed by {filters:?}"
        );
        assert!(table.claim_some(&token, 100, &filters).await.is_empty(), "the other one is not let through");
        assert!(table.mark_completed(&passes, &token).await, "it is claimed");
        table.complete(&stays).await;
    }
    for filters in E::foreign_filters() {
        let refused = table.locking().claim(&token, size(10), TTL, &filters).await;
        assert!(
            refused.is_err_and(|error| error.kind() == ErrorKind::Invalid),
            "{filters:?} names what these events do not have: ErrorKind::Invalid was expected"
        );
    }
}

/// `claim`: never what has not committed, nor does it wait for it.
pub async fn a_claim_leaves_out_what_has_not_committed<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let (table, elsewhere) = (Table::<_, E>::first(&fixture).await, Table::open(&fixture).await);
    let events = [E::of("a"), E::of("a")];
    table.create(&events[..1]).await;
    let mut tx = begin(&table.store).await;
    table.store.create(&mut tx, &events[1]).await.expect("a valid event is created");
    let token = token();
    {
        let mut claiming = std::pin::pin!(elsewhere.claim(&token));
        // a store with one writer at a time waits
        let early = at_once(claiming.as_mut()).await;
        commit(&table.store, tx).await;
        let claimed = match early {
            Some(claimed) => claimed,
            None => claiming.await,
        };
        assert_eq!(claimed, [events[0].id()], "what had committed is claimed, and nothing else");
    }
    assert!(elsewhere.mark_completed(&events[0], &token).await, "it is claimed");
    assert_eq!(
        elsewhere.claim(&token).await,
        [events[1].id()],
        "the other one follows once it has committed"
    );
}
