//! Rows that another program has written, and that no omni-box would write.

use omni_box_core::DeliveryMode;
use sqlx::AssertSqlSafe;

use super::*;

/// Inserts a row with the columns that matter, and returns its id.
async fn insert(world: &World, topic: &str, payload: &str, headers: &str) -> Result<EventId> {
    let query = "insert into outbox_events (event_type, topic, partition_key, payload, headers) \
        values ('foreign', $1, 'key', $2::json, $3::jsonb) returning id";
    let row = sqlx::query_scalar::<_, uuid::Uuid>(AssertSqlSafe(query));
    Ok(row.bind(topic).bind(payload).bind(headers).fetch_one(world.database.pool()).await?.into())
}

async fn last_error(world: &World, id: EventId) -> Result<(String, String)> {
    let query = "select status, coalesce(last_error, '') from outbox_events where id = $1";
    Ok(sqlx::query_as(query).bind(id.as_uuid()).fetch_one(world.database.pool()).await?)
}

#[tokio::test]
async fn what_no_broker_takes_fails_and_holds_up_nothing() -> Result<()> {
    for mode in [DeliveryMode::Lanes, DeliveryMode::Rows] {
        let Some(world) = World::new().await? else { return Ok(()) };
        world.store.set_delivery_mode(mode).await?;
        let mut refused = Vec::new();
        for topic in ["", "no topic", "..", &"t".repeat(255)] {
            // twice: what comes behind it in its key goes the same way
            for _ in 0..2 {
                refused.push(insert(&world, topic, r#"{"a": 1}"#, "{}").await?);
            }
        }
        let good = insert(&world, &world.topic, r#"{"a": 1}"#, "{}").await?;
        let running = world.relay();
        world.drained().await;
        running.stop().await?;
        for id in refused {
            let (status, error) = last_error(&world, id).await?;
            assert_eq!(status, "failed", "{error} in mode {mode}");
            assert!(error.contains("topic"), "{error:?} in mode {mode}");
        }
        assert_eq!(last_error(&world, good).await?, ("completed".to_owned(), String::new()));
        world.close().await?;
    }
    Ok(())
}

/// A row is trusted: what a broker can take is published as it stands.
#[tokio::test]
async fn what_a_broker_takes_is_published_in_order() -> Result<()> {
    for mode in [DeliveryMode::Lanes, DeliveryMode::Rows] {
        let Some(world) = World::new().await? else { return Ok(()) };
        world.store.set_delivery_mode(mode).await?;
        let long = serde_json::json!({ "long": "x".repeat(5_000), "": "no name", "line": "a\nb" });
        let many: serde_json::Map<_, _> =
            (0..500).map(|number| (format!("header-{number}"), number.into())).collect();
        let mut ids = Vec::new();
        for (payload, headers) in [
            ("[1, 2]", "null"),
            ("\"text\"", "[1, 2]"),
            ("null", "\"text\""),
            (r#"{"a": "\u0000"}"#, r#"{"number": 1, "nothing": null, "event_id": "not ours"}"#),
            (r#"{"a": 1}"#, &long.to_string()),
            (r#"{"a": 1}"#, &serde_json::Value::from(many).to_string()),
        ] {
            ids.push(insert(&world, &world.topic, payload, headers).await?);
        }
        let good = world.event("key", 1);
        ids.push(good.id());
        world.enqueue(&[good]).await?;
        let running = world.relay();
        world.drained().await;
        running.stop().await?;
        assert_eq!(world.count("status = 'completed' and last_error is null").await, 7, "mode {mode}");
        let (published, repeats) = world.published().await?;
        assert_eq!((&published["key"], repeats), (&ids, 0), "mode {mode}");
        world.close().await?;
    }
    Ok(())
}
