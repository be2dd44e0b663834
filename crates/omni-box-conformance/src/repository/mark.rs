//! Marks change what their token has claimed, and only while it is pending.

use omni_box_core::{Attempt, ClaimToken, EventRepository, EventStatus, Retry};

use crate::table::{HOUR, Table, failure, ids, token};
use crate::{Specimen, StoreFixture};

/// `mark_processing`: `false` when another worker has it. What one's own token has, it may claim again.
pub async fn an_event_is_claimed_by_one<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let (table, elsewhere) = (Table::<_, E>::first(&fixture).await, Table::open(&fixture).await);
    let event = E::of("a");
    table.create_one(&event).await;
    let (mine, theirs) = (token(), token());
    assert!(table.mark_processing(&event, &mine).await, "a pending event without a claim is claimed");
    assert!(!elsewhere.mark_processing(&event, &theirs).await, "what another worker has is not claimed");
    assert!(
        table.mark_processing(&event, &mine).await,
        "a token may claim again what it has: the answer to its first call may have been lost"
    );
    assert!(table.mark_completed(&event, &mine).await, "the claim is still that of the first token");
}

/// `mark_processing`: of two that claim at once, one gets the event.
pub async fn of_two_that_claim_at_once_one_gets_the_event<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let (table, elsewhere) = (Table::<_, E>::first(&fixture).await, Table::open(&fixture).await);
    for event in &E::many(8) {
        table.create_one(event).await;
        let (mine, theirs) = (token(), token());
        let (a, b) =
            tokio::join!(table.mark_processing(event, &mine), elsewhere.mark_processing(event, &theirs));
        assert!(a != b, "of two that claim an event at once, exactly one is told that it has it ({a}, {b})");
        let winner = if a { &mine } else { &theirs };
        assert!(table.mark_completed(event, winner).await, "and that one has it");
    }
}

/// `mark_processing`: `false` when it is not pending.
pub async fn only_pending_events_are_claimed<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = [E::of("a"), E::of("b"), E::of("c")];
    table.create(&events[..2]).await;
    table.complete(&events[0]).await;
    table.fail(&events[1], Attempt::Counted, Retry::Never).await;
    for (event, what) in events.iter().zip(["completed", "failed", "unknown"]) {
        assert!(!table.mark_processing(event, &token()).await, "a {what} event cannot be claimed");
    }
    assert_eq!(table.row(&events[0]).await.status(), EventStatus::Completed, "it stays what it was");
    assert_eq!(table.row(&events[1]).await.status(), EventStatus::Failed, "it stays what it was");
}

/// `mark_completed`: completes a pending event that `token` has claimed, once.
pub async fn a_claimed_event_is_completed_once<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = [E::of("a"), E::of("b")];
    table.create(&events).await;
    let token = token();
    table.mark_processing(&events[0], &token).await;
    assert!(table.mark_completed(&events[0], &token).await, "a claimed event is completed");
    let done = table.row(&events[0]).await;
    assert_eq!(done.status(), EventStatus::Completed, "status after mark_completed");
    assert!(done.lifecycle().completed_at().is_some(), "a completed event has a completed_at");
    assert_eq!(table.pending().await, [events[1].id()], "a completed event is not fetched again");
    fixture.advance(HOUR).await;
    assert!(!table.mark_completed(&events[0], &token).await, "a completed event is not completed again");
    assert!(
        !table.mark_failed(&events[0], &token, &failure(Attempt::Counted, Retry::Never)).await,
        "a completed event cannot fail"
    );
    assert_eq!(table.row(&events[0]).await, done, "an event that is not pending is not changed");
}

/// `mark_completed`, `mark_failed`: `false` without the claim; nothing is changed.
pub async fn marks_without_the_claim_change_nothing<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = [E::of("claimed"), E::of("unclaimed")];
    table.create(&events).await;
    let (mine, theirs) = (token(), token());
    table.mark_processing(&events[0], &mine).await;
    for (event, what) in events.iter().zip(["that another token has claimed", "that no token has claimed"]) {
        let before = table.row(event).await;
        assert!(!table.mark_completed(event, &theirs).await, "an event {what} is not completed");
        for retry in [Retry::After(HOUR), Retry::OnRequest, Retry::Never] {
            let marked = table.mark_failed(event, &theirs, &failure(Attempt::Counted, retry)).await;
            assert!(!marked, "the failure of an event {what} is not recorded");
        }
        assert_eq!(
            table.row(event).await,
            before,
            "a mark that answers false changes nothing of an event {what}"
        );
    }
    assert!(table.mark_completed(&events[0], &mine).await, "the claim is still there");
    let unknown = E::of("unknown");
    assert!(!table.mark_completed(&unknown, &mine).await, "an unknown event is not completed");
}

/// `mark_completed`: a failed event is not completed.
pub async fn a_failed_event_stays_failed<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let event = E::of("a");
    table.create_one(&event).await;
    let token = token();
    table.mark_processing(&event, &token).await;
    assert!(table.mark_failed(&event, &token, &failure(Attempt::Counted, Retry::Never)).await, "it fails");
    let before = table.row(&event).await;
    assert!(!table.mark_completed(&event, &token).await, "a failed event is not completed");
    assert_eq!(table.row(&event).await, before, "a failed event is not changed");
}

/// `mark_failed`: records the failure and gives the claim back. `Retry::After`: pending, due after this long.
pub async fn a_failure_is_recorded_and_gives_the_claim_back<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let event = E::of("a");
    table.create_one(&event).await;
    let mine = token();
    table.mark_processing(&event, &mine).await;
    let later = failure(Attempt::Counted, Retry::After(HOUR));
    assert!(table.mark_failed(&event, &mine, &later).await, "the failure of a claimed event is recorded");
    let row = table.row(&event).await;
    assert_eq!(row.status(), EventStatus::Pending, "an event that will be tried again stays pending");
    assert_eq!(row.lifecycle().attempts_made(), 1, "Attempt::Counted costs an attempt");
    assert_eq!(row.lifecycle().last_error(), Some("no stock"), "the failure's text is kept");
    assert!(row.lifecycle().lock().is_none(), "the claim is given back with the failure");
    assert!(
        !table.mark_failed(&event, &mine, &later).await,
        "the claim is gone: no second failure is recorded"
    );
    assert_eq!(table.row(&event).await.lifecycle().attempts_made(), 1, "a failure is counted once");
}

/// `Attempt`: counted ones add up, free ones cost nothing, refunded ones give back; within 0 and the maximum.
pub async fn attempts_are_counted_as_the_failure_says<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let event = E::make("a", None, 2);
    table.create_one(&event).await;
    for (attempt, expected) in [
        (Attempt::Free, 0),
        (Attempt::Refunded, 0),
        (Attempt::Counted, 1),
        (Attempt::Free, 1),
        (Attempt::Counted, 2),
        (Attempt::Counted, 2),
        (Attempt::Refunded, 1),
    ] {
        table.fail(&event, attempt, Retry::After(HOUR)).await;
        let row = table.row(&event).await;
        assert_eq!(
            row.lifecycle().attempts_made(),
            expected,
            "attempts_made after a failure that is {attempt:?} (maximum 2)"
        );
        assert_eq!(row.status(), EventStatus::Pending, "only Retry::Never fails an event");
    }
}

/// `Retry::Never`: the status becomes `failed`, and the key goes on.
pub async fn a_failure_for_good_lets_the_key_go_on<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = [E::of("a"), E::of("a")];
    table.create(&events).await;
    table.fail(&events[0], Attempt::Counted, Retry::Never).await;
    let row = table.row(&events[0]).await;
    assert_eq!(row.status(), EventStatus::Failed, "status after Retry::Never");
    assert_eq!(row.lifecycle().attempts_made(), 1, "Attempt::Counted costs an attempt");
    assert_eq!(row.lifecycle().last_error(), Some("no stock"), "the failure's text is kept");
    assert_eq!(table.pending().await, [events[1].id()], "a failed event is not fetched, and its key goes on");
}

/// `ClaimToken`: two workers of one name never mark each other's events.
pub async fn workers_of_one_name_have_claims_of_their_own<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = E::many(2);
    table.create(&events).await;
    // the longest there are differ at their end only
    let worker = omni_box_core::WorkerId::new("w".repeat(255)).expect("a valid name");
    let tokens = [0; 2].map(|_| ClaimToken::new(&worker, omni_box_core::OwnerId::generate()));
    for (event, token) in events.iter().zip(&tokens) {
        assert!(table.mark_processing(event, token).await, "each claims its own");
    }
    assert!(!table.mark_completed(&events[0], &tokens[1]).await, "the whole token counts, not its beginning");
    assert!(table.mark_completed(&events[0], &tokens[0]).await, "the whole token is kept");
    assert_eq!(table.pending().await, ids(&events[2..]), "the other one stays claimed");
}
