//! The same as in `ended`, on a file of SQLite.

use async_trait::async_trait;
use omni_box_core::{ConsumerGroup, HandlerError, HandlerOutcome, InboxContext, InboxHandler, Result};
use omni_box_harness::eventually;
use omni_box_pipeline::InboxConsumerRunner;
use omni_box_sqlite::{SqliteConfig, SqliteStore};
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::broker::Broker;
use super::service::{GROUP, LONG, Running};

/// Writes an effect; `m` ends the transaction then.
struct Ends(&'static str);

#[async_trait]
impl InboxHandler<SqliteStore> for Ends {
    async fn handle(&self, mut cx: InboxContext<'_, SqliteStore>) -> Result<HandlerOutcome, HandlerError> {
        let id = cx.event.message_id();
        sqlx::query("insert into effects (message_id) values (?1)").bind(id).execute(cx.conn()).await?;
        if id == "m" {
            sqlx::raw_sql(self.0).execute(cx.conn()).await?;
        }
        Ok(HandlerOutcome::Completed)
    }
}

/// Where the transaction is sealed, as many messages come before.
async fn check(store: &SqliteStore, end: &'static str, size: usize, place: usize, is_sealed: bool) {
    let case = format!("{end:?} as {place} of {size}, sealed {is_sealed}");
    let execute = async |sql: &'static str| sqlx::raw_sql(sql).execute(store.pool()).await.unwrap();
    let count = async |what: &str| -> i64 {
        let sql = format!("select count(*) from {what}");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(store.pool()).await.unwrap()
    };
    execute("delete from effects; delete from inbox_events").await;
    let broker = Broker::new(1);
    for n in 0..if is_sealed { size } else { 0 } {
        broker.send(0, &format!("warm {n}"), "k", json!({"n": n}));
    }
    for n in 0..size {
        let id = if n == place { "m".to_owned() } else { format!("n{n}") };
        broker.send(0, &id, &format!("k{n}"), json!({"n": n}));
    }
    let group = ConsumerGroup::new(GROUP).unwrap();
    let builder = InboxConsumerRunner::builder(broker.consumer(), store.clone()).consumer_group(group);
    let builder = builder.handler(Ends(end));
    let running = Running::new(if is_sealed { builder.group_size(size) } else { builder });
    eventually(LONG, async || broker.is_drained()).await;
    running.stop().await;
    let neighbours = i64::try_from(size - 1).unwrap();
    assert_eq!(count("effects where message_id like 'n%'").await, neighbours, "{case}");
    let distinct = "(select distinct message_id from effects where message_id like 'n%')";
    assert_eq!(count(distinct).await, neighbours, "{case}");
    let done = "inbox_events where message_id like 'n%' and status = 'completed' and attempts_made = 0";
    assert_eq!(count(done).await, neighbours, "{case}");
    let given_up = "inbox_events where message_id = 'm' and status = 'failed' and last_error like '%ended its transaction%'";
    assert_eq!(count(given_up).await, 1, "{case}");
}

#[tokio::test]
async fn a_handler_that_ends_its_transaction_neither_loses_nor_doubles_its_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("inbox.db"), SqliteConfig::default()).await.unwrap();
    store.migrate().await.unwrap();
    sqlx::raw_sql("create table effects (message_id text) strict").execute(store.pool()).await.unwrap();
    for end in ["rollback", "commit", "end", "commit; begin", "rollback; begin"] {
        for (size, place) in [(2, 1), (10, 5), (10, 9), (1, 0)] {
            check(&store, end, size, place, false).await;
        }
        for place in [0, 2, 4] {
            check(&store, end, 5, place, true).await;
        }
    }
    store.pool().close().await;
}
