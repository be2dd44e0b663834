//! [`SealedTransactions`]: a whole group, of which a message that is left for later is never lost.

use std::time::Duration;

use omni_box_core::store::SealedTransactions;
use omni_box_core::{
    Attempt, Event, EventId, EventRepository, EventStatus, InboxEvent, InboxRepository, Received, Result,
    Retry, Store,
};

use super::table::Table;
use super::transaction::{commit, retried, rollback};
use super::{Specimen, StoreFixture};

/// A sealed transaction.
struct Group<'a, S: Store> {
    table: &'a Table<S, InboxEvent>,
    tx: S::Tx,
}

impl<'a, S: InboxRepository> Group<'a, S> {
    async fn begin(table: &'a Table<S, InboxEvent>) -> Self {
        let sealed = Self::sealed(table);
        let tx = retried("begin a sealed transaction", async || {
            sealed.begin_sealed(Duration::from_secs(20)).await
        });
        Self { table, tx: tx.await }
    }

    fn sealed(table: &Table<S, InboxEvent>) -> &dyn SealedTransactions<S> {
        table.store.sealed().expect("a store that is tested for sealed transactions has them")
    }

    async fn receive(&mut self, events: &[&InboxEvent]) -> Vec<Received> {
        let received = Self::sealed(self.table).receive_completed(&mut self.tx, events).await;
        received.expect("messages are received in a sealed transaction")
    }

    async fn set_back(&mut self, ids: &[EventId]) -> Result<()> {
        Self::sealed(self.table).set_back(&mut self.tx, ids).await
    }

    async fn commit(self) {
        commit(&self.table.store, self.tx).await;
    }
}

/// `receive_completed`: what is new is completed once the transaction commits, and not visible before.
pub async fn a_new_message_is_completed_by_the_commit<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Table::<_, InboxEvent>::first(&fixture).await;
    let given = [InboxEvent::full(), InboxEvent::of("b")];
    let mut group = Group::begin(&table).await;
    let received = group.receive(&[&given[0], &given[1]]).await;
    assert_eq!(received, vec![Received::New; 2], "messages that were not there are New");
    group.commit().await;
    for event in &given {
        let row = table.row(event).await;
        assert_eq!(row.status(), EventStatus::Completed, "a new message is completed");
        assert!(row.lifecycle().completed_at().is_some(), "a completed message has a completed_at");
        assert_eq!(row.lifecycle().attempts_made(), 0, "success costs no attempt");
        assert_eq!(row.payload().as_str(), event.payload().as_str(), "the payload's text is kept as it is");
        InboxEvent::assert_same_fields(event, &row);
    }
}

/// `receive_completed`: what is there is judged by its row, and stays as it is.
pub async fn a_known_message_is_judged_by_its_row<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Table::<_, InboxEvent>::first(&fixture).await;
    let [pending, failed, new] = [InboxEvent::of("a"), InboxEvent::of("b"), InboxEvent::of("c")];
    table.create(&[pending.clone(), failed.clone()]).await;
    table.fail(&failed, Attempt::Counted, Retry::Never).await;
    let mut group = Group::begin(&table).await;
    let received = group.receive(&[&failed, &new, &pending]).await;
    assert!(matches!(received[0], Received::Failed(_)), "given up before: {:?}", received[0]);
    assert_eq!(received[1], Received::New, "a message that was not there is New, whatever stands around it");
    assert!(
        matches!(&received[2], Received::Pending { event, wait } if event.id() == pending.id() && wait.is_zero()),
        "a message that is there and pending is Pending: {:?}",
        received[2]
    );
    group.commit().await;
    for (event, status) in
        [(&pending, EventStatus::Pending), (&failed, EventStatus::Failed), (&new, EventStatus::Completed)]
    {
        assert_eq!(table.row(event).await.status(), status, "only what was new is completed");
    }
}

/// `set_back`: a message that is left for later is pending, as if it had been received without being completed.
pub async fn what_is_left_for_later_is_pending<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Table::<_, InboxEvent>::first(&fixture).await;
    let events: Vec<InboxEvent> = ["a", "b", "c", "d"].into_iter().map(InboxEvent::of).collect();
    let mut group = Group::begin(&table).await;
    group.receive(&events.iter().collect::<Vec<_>>()).await;
    group.set_back(&[events[1].id(), events[3].id()]).await.expect("messages are set back");
    group.set_back(&[]).await.expect("no message is a valid batch");
    group.commit().await;
    for (event, is_left) in events.iter().zip([false, true, false, true]) {
        let row = table.row(event).await;
        let status = if is_left { EventStatus::Pending } else { EventStatus::Completed };
        assert_eq!(
            row.status(),
            status,
            "what is left for later is pending, to the last one: completed, it would be lost"
        );
        assert_eq!(row.lifecycle().completed_at().is_some(), !is_left, "completed_at");
        assert_eq!(row.lifecycle().attempts_made(), 0, "what is left for later costs no attempt");
    }
    let pending = table.pending().await;
    assert_eq!(pending, [events[1].id(), events[3].id()], "what is left for later is due at once");
}

/// `Store::rollback`: undoes what was stored as completed.
pub async fn a_rollback_leaves_nothing<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Table::<_, InboxEvent>::first(&fixture).await;
    let [one, two] = [InboxEvent::of("a"), InboxEvent::of("b")];
    let mut group = Group::begin(&table).await;
    group.receive(&[&one]).await;
    rollback(&table.store, group.tx).await;
    let mut group = Group::begin(&table).await;
    group.receive(&[&two]).await;
    table.store.abandon(group.tx).await;
    assert!(table.get(one.id()).await.is_none(), "a sealed transaction that is rolled back leaves nothing");
    assert!(table.get(two.id()).await.is_none(), "a sealed transaction that is abandoned leaves nothing");
    let mut group = Group::begin(&table).await;
    assert_eq!(group.receive(&[&one, &two]).await, vec![Received::New; 2], "the next one begins afresh");
    group.commit().await;
    assert_eq!(table.row(&two).await.status(), EventStatus::Completed, "what the next one stored");
}

/// `Store::commit`: fails behind a failed statement that was not undone.
pub async fn a_commit_behind_a_failed_statement_tells_the_truth<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Table::<_, InboxEvent>::first(&fixture).await;
    let [known, event] = [InboxEvent::of("a"), InboxEvent::of("b")];
    table.create_one(&known).await;
    let mut group = Group::begin(&table).await;
    group.receive(&[&event]).await;
    let refused = table.store.create(&mut group.tx, &known.namesake()).await;
    assert!(refused.is_err(), "an id belongs to one event: another one of that id must be refused");
    let committed = table.store.commit(group.tx).await;
    let is_there = table.get(event.id()).await.is_some();
    assert_eq!(
        committed.is_ok(),
        is_there,
        "whether the message is there, beside what the commit said: {committed:?}"
    );
}
