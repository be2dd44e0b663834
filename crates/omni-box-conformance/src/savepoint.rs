//! [`Savepoints`]: one message of a group fails alone.

use omni_box_core::{
    ErrorKind, Event, EventId, EventRepository, InboxEvent, InboxRepository, Savepoints, Store,
};

use super::table::Table;
use super::transaction::{begin, commit, rollback};
use super::{Specimen, StoreFixture};

/// A transaction with its savepoint, in which messages stand for what a handler writes.
struct Group<'a, S: Store> {
    table: &'a Table<S, InboxEvent>,
    tx: S::Tx,
}

impl<'a, S: InboxRepository> Group<'a, S> {
    async fn begin(table: &'a Table<S, InboxEvent>) -> Self {
        Self { table, tx: begin(&table.store).await }
    }

    fn savepoints(&self) -> &'a dyn Savepoints<S::Conn> {
        self.table.store.savepoints().expect("a store that is tested for savepoints has them")
    }

    async fn start(&mut self) {
        self.savepoints().start(&mut self.tx).await.expect("a savepoint is set");
    }

    async fn advance(&mut self) {
        self.savepoints().advance(&mut self.tx).await.expect("a savepoint is advanced");
    }

    async fn rollback(&mut self) {
        self.savepoints()
            .rollback(&mut self.tx)
            .await
            .expect("a transaction is rolled back to its savepoint");
    }

    async fn write(&mut self, key: &str) -> EventId {
        let event = InboxEvent::of(key);
        self.table.store.create(&mut self.tx, &event).await.expect("a message is stored");
        event.id()
    }

    async fn commit(self) {
        commit(&self.table.store, self.tx).await;
    }
}

async fn assert_left<S: InboxRepository>(
    table: &Table<S, InboxEvent>,
    kept: &[(EventId, &str)],
    undone: &[(EventId, &str)],
) {
    for (id, what) in kept {
        assert!(table.get(*id).await.is_some(), "{what} must be kept, but is gone");
    }
    for (id, what) in undone {
        assert!(table.get(*id).await.is_none(), "{what} must be undone, but is there");
    }
}

/// `start`, `rollback`: undoes what was written since, and nothing that was written before.
pub async fn a_rollback_undoes_what_was_written_since<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Table::<_, InboxEvent>::first(&fixture).await;
    let mut group = Group::begin(&table).await;
    let before = group.write("a").await;
    group.start().await;
    let [second, third] = [group.write("b").await, group.write("c").await];
    group.rollback().await;
    let after = group.write("d").await;
    group.commit().await;
    assert_left(
        &table,
        &[(before, "what was written before the savepoint"), (after, "what was written after the rollback")],
        &[
            (second, "what was written since the savepoint"),
            (third, "the last that was written since the savepoint"),
        ],
    )
    .await;
}

/// `advance`: keeps what was written since, and sets the savepoint anew.
pub async fn an_advanced_savepoint_keeps_what_was_written<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Table::<_, InboxEvent>::first(&fixture).await;
    let mut group = Group::begin(&table).await;
    group.start().await;
    let first = group.write("a").await;
    group.advance().await;
    let second = group.write("b").await;
    group.advance().await;
    let third = group.write("c").await;
    group.rollback().await;
    let fourth = group.write("d").await;
    group.advance().await;
    group.commit().await;
    assert_left(
        &table,
        &[
            (first, "what was written before the savepoint advanced twice"),
            (second, "what was written before the savepoint advanced"),
            (fourth, "what was written after the rollback"),
        ],
        &[(third, "what was written since the savepoint advanced")],
    )
    .await;
}

/// `rollback`: the savepoint stays set.
pub async fn a_savepoint_stays_set_after_a_rollback<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Table::<_, InboxEvent>::first(&fixture).await;
    let mut group = Group::begin(&table).await;
    group.start().await;
    let first = group.write("a").await;
    group.rollback().await;
    let second = group.write("b").await;
    group.rollback().await;
    group.rollback().await;
    let third = group.write("c").await;
    group.commit().await;
    assert_left(
        &table,
        &[(third, "what was written after the last rollback")],
        &[
            (first, "what was written before the first rollback"),
            (second, "what was written before the second rollback"),
        ],
    )
    .await;
}

/// `rollback`: works after a failed statement.
pub async fn a_rollback_works_after_a_failed_statement<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Table::<_, InboxEvent>::first(&fixture).await;
    let mut group = Group::begin(&table).await;
    let first = InboxEvent::of("a");
    table.store.create(&mut group.tx, &first).await.expect("a message is stored");
    group.start().await;
    // another message under an id that is taken: a database refuses the statement
    let clash = first.namesake();
    let refused = table.store.create(&mut group.tx, &clash).await;
    assert!(
        refused.is_err(),
        "two messages cannot have one id: the second one's insert must fail, or the first one's row has become the second one's"
    );
    group.rollback().await;
    let after = group.write("b").await;
    group.commit().await;
    assert_left(
        &table,
        &[
            (first.id(), "what was written before the savepoint"),
            (after, "what was written after the rollback"),
        ],
        &[],
    )
    .await;
    let row = table.row(&first).await;
    assert_eq!(row.message_id(), first.message_id(), "the row is that of the message that was stored first");
}

/// `Store::rollback`: undoes what a savepoint has kept as well.
pub async fn the_transaction_undoes_what_a_savepoint_kept<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Table::<_, InboxEvent>::first(&fixture).await;
    let mut group = Group::begin(&table).await;
    group.start().await;
    let first = group.write("a").await;
    group.advance().await;
    let second = group.write("b").await;
    let tx = group.tx;
    rollback(&table.store, tx).await;
    assert_left(
        &table,
        &[],
        &[(first, "what an advanced savepoint kept"), (second, "what was written since the savepoint")],
    )
    .await;
    let mut group = Group::begin(&table).await;
    group.start().await;
    let kept = group.write("c").await;
    group.commit().await;
    assert_left(&table, &[(kept, "what was written since a savepoint that is still set at the commit")], &[])
        .await;
}

/// `advance`, `rollback`: a savepoint that is gone is missed, since its transaction was ended by others.
pub async fn a_savepoint_that_is_gone_is_missed<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Table::<_, InboxEvent>::first(&fixture).await;
    let mut group = Group::begin(&table).await;
    let written = group.write("a").await;
    let advanced = group.savepoints().advance(&mut group.tx).await;
    rollback(&table.store, group.tx).await;
    let mut group = Group::begin(&table).await;
    let undone = group.savepoints().rollback(&mut group.tx).await;
    rollback(&table.store, group.tx).await;
    for (call, answer) in [("advance", advanced), ("rollback", undone)] {
        let kind = answer.err().map(|error| error.kind());
        assert_eq!(
            kind,
            Some(ErrorKind::NoTransaction),
            "{call} without a savepoint fails with NoTransaction, so that the engine knows who has ended its transaction"
        );
    }
    assert_left(&table, &[], &[(written, "what was written before a savepoint was missed")]).await;
}
