//! The judge finds faults that are planted in real tables and topics.

use anyhow::Result;
use omni_box_harness::judge::InboxExpectation;
use omni_box_harness::topic::{self, Message};

use omni_box_chaos::world::World;

#[tokio::test]
async fn planted_faults_are_found() -> Result<()> {
    let Some(world) = World::new("planted_faults/ordering").await? else { return Ok(()) };
    let Some(shipping) = World::new("planted_faults/shipping").await? else { return Ok(()) };
    let topic = world.topic("orders", 1).await?;
    // 1 committed before 2 was enqueued; 3 and 4 are of one transaction; 5 was never published; 9 was rolled back
    world
        .execute_with(
            "insert into chaos_journal (event_id, topic, partition_key, tx, started)
             select format('00000000-0000-0000-0000-00000000000%s', n)::uuid, $1, 'k', tx, started
             from (values (1, 1, 1), (2, 2, 3), (3, 3, 5), (4, 3, 6), (5, 4, 8)) as t (n, tx, started)",
            &topic,
        )
        .await?;
    world.execute("insert into chaos_commits values (1, 2), (2, 4), (3, 7), (4, 9)").await?;
    world
        .execute_with(
            "insert into chaos_rollbacks values ('00000000-0000-0000-0000-000000000009', $1)",
            &topic,
        )
        .await?;
    let messages = [2, 1, 4, 3, 2, 9].map(|number| Message {
        key: Some(b"k".to_vec()),
        value: Some(b"{}".to_vec()),
        headers: vec![("event_id".into(), Some(id(number).into_bytes()))],
        ..Message::default()
    });
    topic::produce(&world.brokers, &topic, &messages).await?;
    // in the other database: 1 took effect twice, 2 never, 3 before it was its turn; 7 is not on the topic, and it alone added an event that is gone
    shipping
        .execute(
            "insert into chaos_effects (message_id, consumer_group, emitted, handled)
             select format('00000000-0000-0000-0000-00000000000%s', n), 'g', emitted::uuid, handled
             from (values (1, null, 12), (1, null, 13), (4, null, 11), (3, null, 10), (9, null, 14),
                          (7, '00000000-0000-0000-0000-000000000008', 15)) as t (n, emitted, handled)",
        )
        .await?;
    // and an event that was not published there
    let shipments = shipping.topic("shipments", 1).await?;
    shipping
        .execute_with(
            "insert into chaos_journal (event_id, topic, tx) values ('00000000-0000-0000-0000-00000000000a', $1, 1)",
            &shipments,
        )
        .await?;
    let inbox = InboxExpectation {
        group: "g".into(),
        topics: vec![topic.clone()],
        handler_topic: Some("added".into()),
        ..InboxExpectation::default()
    };
    let verdict =
        world.judge().outbox(shipping.database()).inbox(shipping.database(), inbox).verdict().await?;
    let found: Vec<_> = verdict
        .findings()
        .iter()
        .filter(|(_, finding)| !finding.is_empty())
        .map(|(name, finding)| (*name, finding.count))
        .collect();
    assert_eq!(
        found,
        [
            ("missing", 2),
            ("phantom", 1),
            ("out_of_order", 2),
            ("missing_effects", 1),
            ("duplicate_effects", 1),
            ("unexpected_effects", 1),
            ("effects_out_of_order", 2),
            ("lost_events", 1),
        ],
        "{verdict}"
    );
    assert_eq!((verdict.committed, verdict.rolled_back, verdict.published, verdict.duplicates), (6, 1, 4, 1));
    Ok(())
}

fn id(number: u8) -> String {
    format!("00000000-0000-0000-0000-00000000000{number}")
}
