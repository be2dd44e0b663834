//! An event exists exactly when the transaction that created it committed, and once for its identity.

use std::pin::pin;
use std::time::Duration;

use chrono::TimeDelta;
use omni_box_core::{Created, ErrorKind, Event, EventId, EventRepository, EventStatus, Store};

use crate::table::{DAY, Table, ids};
use crate::transaction::{at_once, begin, commit, rollback};
use crate::{Specimen, StoreFixture};

/// `create`: exists after the transaction commits. `Store::commit`: `Ok` means durable.
pub async fn an_event_exists_after_the_commit<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let (table, elsewhere) = (Table::<_, E>::first(&fixture).await, Table::open(&fixture).await);
    let event = E::of("a");
    let mut tx = begin(&table.store).await;
    let created = table.store.create(&mut tx, &event).await.expect("a valid event is created");
    assert!(created.is_new(), "an event with an identity of its own is Created::New");
    commit(&table.store, tx).await;
    assert!(table.get(event.id()).await.is_some(), "a created event is there after the commit");
    assert!(elsewhere.get(event.id()).await.is_some(), "another process finds what was committed");
    assert_eq!(elsewhere.pending().await, [event.id()], "another process fetches what was committed");
}

/// `create`: exists only after the transaction commits; until then no other transaction sees it.
pub async fn an_event_is_invisible_before_the_commit<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let (table, elsewhere) = (Table::<_, E>::first(&fixture).await, Table::open(&fixture).await);
    let event = E::of("a");
    let mut tx = begin(&table.store).await;
    table.store.create(&mut tx, &event).await.expect("a valid event is created");
    let inside = table.store.get_by_id(&mut tx, event.id()).await.expect("its own transaction looks it up");
    assert!(inside.is_some(), "a transaction sees what it has written itself");
    // a store may let readers wait instead
    let mut fetched = pin!(elsewhere.pending());
    let mut found = pin!(elsewhere.get(event.id()));
    let fetched_early = at_once(fetched.as_mut()).await;
    assert!(
        fetched_early.as_ref().is_none_or(Vec::is_empty),
        "an event was fetched before its transaction had committed: it may still be rolled back"
    );
    let found_early = at_once(found.as_mut()).await;
    assert!(
        !matches!(found_early, Some(Some(_))),
        "another transaction sees an event whose transaction has not committed"
    );
    commit(&table.store, tx).await;
    if fetched_early.is_none() {
        fetched.await;
    }
    if found_early.is_none() {
        found.await;
    }
    assert_eq!(elsewhere.pending().await, [event.id()], "it is there once its transaction has committed");
}

/// `create`: never exists if the transaction rolls back.
pub async fn a_rollback_leaves_nothing<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = [E::of("a"), E::named("b", "same")];
    let mut tx = begin(&table.store).await;
    table.store.create(&mut tx, &events[0]).await.expect("a valid event is created");
    table.store.create_many(&mut tx, &events[1..]).await.expect("valid events are created");
    rollback(&table.store, tx).await;
    assert_left_nothing(&table, &events, "rolled back").await;
    let again = table.create_one(&E::named("b", "same")).await;
    assert!(again.is_new(), "the identity of an event that was rolled back is free again");
}

/// `Store::Tx`: dropping it rolls back.
pub async fn a_dropped_transaction_leaves_nothing<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let event = E::of("a");
    let mut tx = begin(&table.store).await;
    table.store.create(&mut tx, &event).await.expect("a valid event is created");
    drop(tx);
    assert_left_nothing(&table, &[event], "dropped").await;
}

/// `Store::abandon`: the transaction ends without effect, and its connection keeps no locks.
pub async fn an_abandoned_transaction_leaves_nothing<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let event = E::named("a", "same");
    let mut tx = begin(&table.store).await;
    table.store.create(&mut tx, &event).await.expect("a valid event is created");
    table.store.abandon(tx).await;
    assert_left_nothing(&table, &[event], "abandoned").await;
    assert!(table.create_one(&E::named("a", "same")).await.is_new(), "it keeps no lock on the identity");
}

/// `Store::begin_handling`: a transaction like any other, as long as its time is not over.
pub async fn a_handling_transaction_commits_and_rolls_back<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = [E::of("a"), E::of("b")];
    for event in &events {
        let timeout = Duration::from_secs(30);
        let mut tx = table.store.begin_handling(timeout).await.expect("a transaction for handlers opens");
        table.store.create(&mut tx, event).await.expect("a valid event is created");
        if event == &events[0] {
            commit(&table.store, tx).await;
        } else {
            rollback(&table.store, tx).await;
        }
    }
    assert_eq!(table.pending().await, [events[0].id()], "what was committed is there, and nothing else");
}

async fn assert_left_nothing<S: EventRepository<E>, E: Specimen>(
    table: &Table<S, E>,
    events: &[E],
    how: &str,
) {
    for event in events {
        assert!(
            table.get(event.id()).await.is_none(),
            "an event is there although its transaction was {how}"
        );
    }
    assert!(table.pending().await.is_empty(), "an event was fetched although its transaction was {how}");
}

/// `create`: what is returned and what is read back are the event that was given, to the byte.
pub async fn an_event_is_stored_as_it_was_given<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let given = E::full();
    let Created::New(created) = table.create_one(&given).await else {
        panic!("an event with an identity of its own is Created::New")
    };
    let read = table.row(&given).await;
    for (what, stored) in [("what create returned", &created), ("what was read back", &read)] {
        assert_eq!(stored.id(), given.id(), "id of {what}");
        assert_eq!(
            stored.payload().as_str(),
            given.payload().as_str(),
            "the payload's text of {what}: it is kept as it is, not parsed and written anew"
        );
        assert_eq!(stored.content(), given.content(), "content of {what}");
        E::assert_same_fields(&given, stored);
        let life = stored.lifecycle();
        assert_eq!(life.status(), EventStatus::Pending, "status of {what}");
        assert_eq!((life.attempts_made(), life.max_attempts()), (0, 9), "attempts of {what}");
        assert!(life.last_error().is_none() && life.lock().is_none(), "{what} is fresh");
    }
    assert_eq!(created, read, "create returns the event as it is stored, times included");
}

/// `create`: `scheduled_at` and `created_at` come from the database's clock unless a schedule was given.
pub async fn times_come_from_the_stores_clock<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = [E::of("a"), E::of("b")];
    table.create_one(&events[0]).await;
    fixture.advance(10 * DAY).await;
    table.create_one(&events[1]).await;
    let rows = [table.row(&events[0]).await, table.row(&events[1]).await];
    let [first, second] = rows.each_ref().map(Event::lifecycle);
    let bounds = TimeDelta::days(10)..TimeDelta::days(11);
    assert!(
        bounds.contains(&(second.created_at() - first.created_at())),
        "created_at is the store's time at which the event was stored: ten days lie between the two"
    );
    let due = [first, second].map(|life| life.scheduled_at().expect("a stored event has a scheduled_at"));
    assert!(bounds.contains(&(due[1] - due[0])), "scheduled_at is the store's time unless one was given");
    assert_eq!(table.pending().await, ids(&events), "an event without a schedule is due at once");
}

/// `create_many`: stores several events in order, every one of them.
pub async fn many_are_stored_in_order<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = E::many(57);
    let created = table.create(&events).await;
    assert!(created.iter().all(Created::is_new), "each is Created::New");
    let returned: Vec<EventId> = created.into_iter().map(|created| created.into_event().id()).collect();
    assert_eq!(returned, ids(&events), "one answer for each event, in the order given");
    assert_eq!(table.pending().await, ids(&events), "every one was stored, in the order given");
    assert!(table.create(&[]).await.is_empty(), "no events are a valid batch");
}

/// `create`: with an identity that is there already, stores nothing and returns the existing event.
pub async fn an_identity_is_stored_once<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let first = E::named("a", "same");
    table.create_one(&first).await;
    let again = E::named("a", "same");
    assert_existing(table.create_one(&again).await, &first);
    let batch = [E::of("b"), E::named("a", "same"), E::of("c")];
    let mut created = table.create(&batch).await;
    assert_eq!(created.len(), 3, "one answer for each event");
    let (last, middle) = (created.remove(2), created.remove(1));
    assert_existing(middle, &first);
    assert!(created[0].is_new() && last.is_new(), "the others of its batch are stored all the same");
    let stored = [first.id(), batch[0].id(), batch[2].id()];
    assert_eq!(table.pending().await, stored, "a repeat stores nothing");
    assert!(table.get(again.id()).await.is_none(), "the id of a repeat does not exist");

    table.complete(&first).await;
    let Created::Existing(existing) = table.create_one(&E::named("a", "same")).await else {
        panic!("an identity stays taken when its event is completed: the effect must not happen again")
    };
    assert_eq!(existing.status(), EventStatus::Completed, "the existing event comes as it is stored now");
}

/// `create_many`: an identity that a batch holds twice is stored once.
pub async fn an_identity_repeated_in_a_batch_is_stored_once<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = [E::named("a", "one"), E::named("b", "two"), E::named("a", "one")];
    let mut created = table.create(&events).await;
    assert_eq!(created.len(), 3, "one answer for each event");
    let repeat = created.remove(2);
    assert!(created.iter().all(Created::is_new), "the first of each identity is Created::New");
    assert_existing(repeat, &events[0]);
    assert_eq!(table.pending().await, ids(&events[..2]), "a repeat stores nothing");
}

/// `create`: when two transactions race for an identity, one waits for the other; the loser gets the winner's event.
pub async fn of_two_that_race_for_an_identity_one_waits<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let (table, elsewhere) = (Table::<_, E>::first(&fixture).await, Table::open(&fixture).await);
    for (identity, first_commits) in [("committed", true), ("rolled back", false)] {
        let [first, second] = [E::named("a", identity), E::named("a", identity)];
        let mut tx = begin(&table.store).await;
        table.store.create(&mut tx, &first).await.expect("a valid event is created");
        let mut racing = pin!(elsewhere.create_one(&second));
        assert!(
            at_once(racing.as_mut()).await.is_none(),
            "create answered although another transaction has created the identity and has not ended: whether this one is new \
             is not known before"
        );
        if first_commits {
            commit(&table.store, tx).await;
            assert_existing(racing.await, &first);
        } else {
            rollback(&table.store, tx).await;
            assert!(racing.await.is_new(), "the other transaction was rolled back: this one stores");
        }
    }
    assert_eq!(table.pending().await.len(), 1, "one event of a key is fetched");
}

/// `create`: of several that begin at once, one stores and all know which.
pub async fn racing_creates_agree_on_one_event<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let tables =
        [Table::<_, E>::open(&fixture).await, Table::open(&fixture).await, Table::open(&fixture).await];
    for round in 0..8 {
        let identity = format!("round-{round}");
        let events = [0; 3].map(|_| E::named(&identity, &identity));
        let (a, b, c) = tokio::join!(
            tables[0].create_one(&events[0]),
            tables[1].create_one(&events[1]),
            tables[2].create_one(&events[2]),
        );
        let created = [a, b, c];
        let new = created.iter().filter(|created| created.is_new()).count();
        assert_eq!(new, 1, "of transactions that create one identity at once, one stores it");
        let [a, b, c] = created.map(|created| created.into_event().id());
        assert!(a == b && b == c, "all are told the one event that was stored");
    }
    assert_eq!(table.pending().await.len(), 8, "one event is stored for each identity");
}

/// `create`: an id that belongs to another event is refused; that event is not overwritten.
pub async fn an_id_belongs_to_one_event<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let first = E::of("a");
    table.create_one(&first).await;
    let before = table.row(&first).await;
    let mut tx = begin(&table.store).await;
    let refused = table.store.create(&mut tx, &first.namesake()).await.map(|_| ());
    let error = refused.expect_err("an id belongs to one event: another one of that id must be refused");
    assert_eq!(error.kind(), ErrorKind::Conflict, "kind of the error: {error:?}");
    rollback(&table.store, tx).await;
    assert_eq!(table.row(&first).await, before, "the event that was stored first is as it was");
}

/// `Store::commit`: `Ok` means durable, also behind a statement that failed and whose error was not heeded. A database that has given
/// the transaction up by then must not be taken at its word.
pub async fn a_commit_behind_a_failed_statement_tells_the_truth<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let [known, event] = [E::of("a"), E::of("b")];
    table.create_one(&known).await;
    let mut tx = begin(&table.store).await;
    table.store.create(&mut tx, &event).await.expect("a valid event is created");
    let refused = table.store.create(&mut tx, &known.namesake()).await;
    assert!(refused.is_err(), "an id belongs to one event: another one of that id must be refused");
    let committed = table.store.commit(tx).await;
    let is_there = table.get(event.id()).await.is_some();
    assert_eq!(
        committed.is_ok(),
        is_there,
        "whether the event is there, beside what the commit said: {committed:?}"
    );
}

/// `get_by_id`: an unknown id is `None`.
pub async fn an_unknown_id_is_none<F, E>(fixture: F)
where
    F: StoreFixture<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    table.create_one(&E::of("a")).await;
    assert!(table.get(EventId::generate()).await.is_none(), "an id that was never stored is None");
}

fn assert_existing<E: Specimen>(created: Created<E>, first: &E) {
    let Created::Existing(existing) = created else {
        panic!("an identity that is there already is not stored again: Created::Existing was expected")
    };
    assert_eq!(existing.id(), first.id(), "Created::Existing holds the event that was stored first");
    assert_eq!(
        existing.content(),
        first.content(),
        "Created::Existing holds the event that was stored first"
    );
}
