//! What a handler leaves to the next one in their transaction.

use omni_box_core::HandlerOutcome;
use serde_json::json;

use super::service::{Effects, Service};

/// Messages that are there at once, of which each handler does this before it succeeds.
async fn undisturbed(messages: usize, statement: &'static str) {
    let Some(service) = Service::new(1).await else { return };
    let act = Effects::new(move |_, _, conn| {
        Box::pin(async move {
            sqlx::raw_sql(statement).execute(conn).await?;
            Ok(HandlerOutcome::Completed)
        })
    });
    for n in 0..messages {
        service.broker.send(0, &format!("m{n}"), &format!("k{}", n % 50), json!({"n": n}));
    }
    let running = service.run(&act);
    service.drained().await;
    running.stop().await;
    let messages = i64::try_from(messages).unwrap();
    assert_eq!(service.count("select count(distinct message_id) from effects").await, messages);
    assert_eq!(service.count("select count(*) from effects").await, messages);
    let innocent = "select count(*) from inbox_events where status = 'completed' and attempts_made = 0";
    assert_eq!(service.count(innocent).await, messages);
    let displaced = "select count(*) from (select substr(message_id, 2)::int n,
        lag(substr(message_id, 2)::int) over (partition by key order by seq) b from effects) e where n < b";
    assert_eq!(service.count(displaced).await, 0, "the order of each key");
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_temporary_table_that_is_dropped_at_commit_charges_no_message() {
    undisturbed(200, "create temp table t (n int) on commit drop").await;
}

#[tokio::test]
async fn a_setting_that_a_neighbour_left_charges_no_message() {
    // refused where it is set already: the table is not found under the path that a neighbour has set
    undisturbed(20, "select count(*) from effects; set local search_path = nowhere").await;
}
