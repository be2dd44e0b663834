//! A sequence of events that starts over, as after a cut-over by logical replication or a restore that left it out.

use std::sync::Arc;

use omni_box_core::{DeliveryMode, ErrorKind, OutboxRepository};
use omni_box_postgres::{PgConfig, PgStore, SchemaDifference, Table};
use sqlx::{AssertSqlSafe, Executor, PgConnection};

use crate::database::{Database, event, run, run_with};

const START_OVER: &str = "select setval(pg_get_serial_sequence('outbox_events', 'seq'), 1, false)";

#[tokio::test]
async fn a_sequence_that_starts_over_is_named_and_stops_a_relay_until_it_is_set_forward() {
    run(async |db: Arc<Database>| {
        db.enqueue(&["a", "b", "c"].map(event)).await;
        assert_eq!(db.store.verify().await.unwrap(), []);
        assert_eq!(db.store.delivery_mode().await.unwrap(), DeliveryMode::Lanes);

        db.execute(START_OVER).await;
        let table = db.store.config().qualified(Table::OutboxEvents);
        let found = db.store.verify().await.unwrap();
        assert_eq!(found, [SchemaDifference::SequenceBehind { table, last: 0, pending: 3 }]);
        // one new event does not mend it
        db.enqueue(&[event("d")]).await;
        let error = db.store.delivery_mode().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        let text = error.to_string();
        assert!(text.contains("is at 1, and an event that waits has 3"), "{text}");

        let (_, mend) = text.split_once("Set it forward: ").unwrap();
        db.execute(mend).await;
        assert_eq!(db.store.verify().await.unwrap(), []);
        assert_eq!(db.store.delivery_mode().await.unwrap(), DeliveryMode::Lanes);
    })
    .await;
}

#[tokio::test]
async fn verify_looks_at_events_that_are_held_or_scheduled_too() {
    run(async |db: Arc<Database>| {
        for change in [
            "held = true, head = true",
            "held = true, head = false",
            "scheduled_at = created_at + interval '1 h'",
        ] {
            db.enqueue(&[event("a")]).await;
            db.execute(&format!("update outbox_events set {change}")).await;
            db.execute(START_OVER).await;
            let found = db.store.verify().await.unwrap();
            assert!(matches!(found[..], [SchemaDifference::SequenceBehind { .. }]), "{change}: {found:?}");
            db.execute("delete from outbox_events").await;
        }
        // nothing waits, so nothing is overtaken
        assert_eq!(db.store.verify().await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn names_with_quotes_and_a_role_that_may_not_see_the_sequence_are_no_obstacle() {
    let config =
        PgConfig::builder().schema("it's").table(Table::OutboxEvents, "Events \"of\" it's").build().unwrap();
    run_with(config, async |db: Arc<Database>| {
        db.store.migrate().await.unwrap();
        db.enqueue(&[event("a")]).await;
        let table = db.store.config().qualified(Table::OutboxEvents).replace('\'', "''");
        db.execute(&format!("select setval(pg_get_serial_sequence('{table}', 'seq'), 1, false)")).await;
        let error = db.store.delivery_mode().await.unwrap_err().to_string();
        let (_, mend) = error.split_once("Set it forward: ").unwrap();

        let role = format!("omni_box_{}", uuid::Uuid::new_v4().simple());
        db.execute(&format!(
            r#"create role {role}; grant usage on schema "it's" to {role}; grant select on all tables in schema "it's" to {role}"#
        ))
        .await;
        let set_role = format!("set local role {role}");
        let store = PgStore::new(db.pool.clone(), db.store.config().clone()).on_begin(Hook(set_role));
        assert_eq!(store.delivery_mode().await.unwrap(), DeliveryMode::Lanes);
        db.execute(&format!("drop owned by {role}; drop role {role}")).await;

        db.execute(mend).await;
        assert_eq!(db.store.verify().await.unwrap(), []);
    })
    .await;
}

struct Hook(String);

impl omni_box_postgres::BeginHook for Hook {
    async fn begin(&self, conn: &mut PgConnection) -> Result<(), omni_box_postgres::HookError> {
        conn.execute(sqlx::raw_sql(AssertSqlSafe(self.0.clone()))).await?;
        Ok(())
    }
}
