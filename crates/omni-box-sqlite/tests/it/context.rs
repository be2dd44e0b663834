//! A handler's part in a transaction of sqlx's own.

use omni_box_core::{
    ConsumerGroup, ErrorKind, EventContent, InboxContext, InboxEvent, NewInboxEvent, OmniBoxDomainService,
    Payload, Store, WorkerId,
};
use omni_box_sqlite::{InboxContextExt, SqliteStore};
use sqlx::{Sqlite, Transaction};

use crate::database::Database;

async fn helper(tx: &mut Transaction<'_, Sqlite>, number: i32) -> sqlx::Result<()> {
    sqlx::query("insert into effects (n) values ($1)").bind(number).execute(&mut **tx).await?;
    Ok(())
}

fn message() -> InboxEvent {
    let content = EventContent::new("t", Payload::from_text("{}").unwrap());
    let event = NewInboxEvent::new("m", ConsumerGroup::new("g").unwrap(), "orders", content);
    OmniBoxDomainService::default().create_inbox_event(event).unwrap()
}

async fn effects(store: &SqliteStore) -> Vec<i32> {
    sqlx::query_scalar("select n from effects order by n").fetch_all(store.pool()).await.unwrap()
}

async fn a_part_is_kept_or_undone_alone(store: &SqliteStore) {
    sqlx::query("create table effects (n integer)").execute(store.pool()).await.unwrap();
    let (event, worker) = (message(), WorkerId::new("w").unwrap());
    let mut tx = store.begin().await.unwrap();
    let mut cx = InboxContext::new(&event, &mut *tx, store, &worker);
    sqlx::query("insert into effects (n) values (1)").execute(cx.conn()).await.unwrap();
    // kept
    let mut part = cx.savepoint().await.unwrap();
    helper(&mut part, 2).await.unwrap();
    part.commit().await.unwrap();
    // dropped
    let mut part = cx.savepoint().await.unwrap();
    helper(&mut part, 3).await.unwrap();
    drop(part);
    // failed within, and given up
    let mut part = cx.savepoint().await.unwrap();
    helper(&mut part, 4).await.unwrap();
    sqlx::query("select no_such_column").execute(&mut *part).await.unwrap_err();
    part.rollback().await.unwrap();
    // one within another
    let mut part = cx.savepoint().await.unwrap();
    helper(&mut part, 5).await.unwrap();
    let mut inner = sqlx::Connection::begin(&mut *part).await.unwrap();
    helper(&mut inner, 6).await.unwrap();
    drop(inner);
    part.commit().await.unwrap();
    store.commit(tx).await.unwrap();
    assert_eq!(effects(store).await, [1, 2, 5]);

    // none is made where it would be the whole transaction
    let mut conn = store.pool().acquire().await.unwrap();
    let mut cx = InboxContext::new(&event, &mut *conn, store, &worker);
    assert_eq!(cx.savepoint().await.unwrap_err().kind(), ErrorKind::NoTransaction);
}

#[tokio::test]
async fn a_part_of_a_handler_is_kept_or_undone_alone() {
    let db = Database::create().await;
    a_part_is_kept_or_undone_alone(&db.store).await;
}
