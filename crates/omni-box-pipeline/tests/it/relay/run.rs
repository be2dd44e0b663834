//! `OutboxRelay`: order, hand-over, topics that are missing, events that cannot be published.

use omni_box_core::{DeliveryMode, NewOutboxEvent, OmniBoxDomainService};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::*;

#[tokio::test]
async fn publishes_everything_once_in_the_order_of_its_key() -> Result<()> {
    let Some(world) = World::new().await? else { return Ok(()) };
    let running = world.relay();
    let events: Vec<_> =
        (0..5_000).map(|number| world.event(&format!("key-{}", number % 37), number)).collect();
    for batch in events.chunks(500) {
        world.enqueue(batch).await?;
    }
    world.drained().await;
    running.stop().await?;
    assert_eq!(world.published().await?, (ids_by_key(&events), 0));
    assert_eq!(
        world.count("status = 'completed' and completed_at is not null and locked_by is null").await,
        5_000
    );
    world.close().await
}

#[tokio::test]
async fn is_woken_by_writers_on_other_connections() -> Result<()> {
    let Some(world) = World::new().await? else { return Ok(()) };
    let running = world.relay();
    // long polls: only a wake-up explains a prompt delivery
    eventually(SOON, async || idle_lanes(&world).await == 16).await;
    let event = world.event("key", 1);
    let mut tx = world.database.pool().begin().await?;
    world.store.create(&mut tx, &event).await?;
    tx.commit().await?;
    world.drained().await;
    running.stop().await?;
    world.close().await
}

async fn idle_lanes(world: &World) -> i64 {
    sqlx::query_scalar("select count(*) from outbox_lanes where idle")
        .fetch_one(world.database.pool())
        .await
        .expect("query is valid")
}

#[tokio::test]
async fn relays_of_one_name_share_the_lanes_and_hand_them_over() -> Result<()> {
    let Some(world) = World::new().await? else { return Ok(()) };
    let relay = || {
        let builder =
            OutboxRelay::builder(world.store.clone(), world.publisher()).lease_ttl(Duration::from_secs(60));
        // the heartbeat is a quarter of the lease: hand-over must not wait for a lease to expire
        world.run(builder.worker_id("publisher-1").build().unwrap())
    };
    let owners = async || -> i64 {
        let query = "select count(distinct owner) from outbox_lanes where owner is not null";
        sqlx::query_scalar(query).fetch_one(world.database.pool()).await.unwrap()
    };
    let first = relay();
    eventually(SOON, async || owners().await == 1).await;
    let second = relay();
    let events: Vec<_> =
        (0..4_000).map(|number| world.event(&format!("key-{}", number % 11), number)).collect();
    for batch in events.chunks(100) {
        world.enqueue(batch).await?;
    }
    eventually(SOON, async || owners().await == 2).await;
    first.stop().await?;
    world.drained().await;
    second.stop().await?;
    assert_eq!(owners().await, 0);
    assert_eq!(world.published().await?, (ids_by_key(&events), 0));
    world.close().await
}

#[tokio::test]
async fn a_missing_topic_holds_its_own_keys_and_costs_no_attempt() -> Result<()> {
    let Some(world) = World::new().await? else { return Ok(()) };
    let missing = format!("{}-missing", world.topic);
    let domain = OmniBoxDomainService::default();
    let lost: Vec<_> = (0..300)
        .map(|number| {
            let event = NewOutboxEvent::new("test.event", &missing, &serde_json::json!({"number": number}));
            domain.create_outbox_event(event.partition_key(format!("key-{}", number % 3))).unwrap()
        })
        .collect();
    world.enqueue(&lost).await?;
    let running = world.relay();
    eventually(SOON, async || {
        eprintln!("DBG {:?} held {}", std::time::Instant::now(), world.count("held").await);
        world.count("held").await == 300
    })
    .await;

    let events: Vec<_> = (0..100).map(|number| world.event("key-0", number)).collect();
    world.enqueue(&events).await?;
    eventually(SOON, async || world.count("status = 'completed'").await == 100).await;
    assert_eq!(world.count("held and attempts_made = 0").await, 300);

    create_exactly(&world.servers.kafka_brokers, &missing).await?;
    world.drained().await;
    running.stop().await?;
    assert_eq!(world.published().await?, (ids_by_key(&events), 0));
    let world = World { topic: missing, ..world };
    assert_eq!(world.published().await?, (ids_by_key(&lost), 0));
    world.close().await
}

async fn create_exactly(brokers: &str, name: &str) -> Result<()> {
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    use rdkafka::client::DefaultClientContext;
    let admin: AdminClient<DefaultClientContext> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let topic = NewTopic::new(name, 4, TopicReplication::Fixed(1));
    for result in admin.create_topics([&topic], &AdminOptions::new()).await? {
        result.map_err(|(name, code)| anyhow::anyhow!("{name}: {code}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_topic_without_leaders_holds_its_own_keys_and_costs_no_attempt() -> Result<()> {
    let Some(mut world) = World::new().await? else { return Ok(()) };
    // a server that is alone leads whatever it has
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1)?;
    world.servers.kafka_brokers = cluster.bootstrap_servers();
    let starved = "starved".to_owned();
    for topic in [&world.topic, &starved] {
        cluster.create_topic(topic, 2, 1)?;
    }
    let lead =
        |leader| (0..2).try_for_each(|partition| cluster.partition_leader(&starved, partition, leader));
    lead(None)?;
    let stuck: Vec<_> =
        (0..300).map(|number| event(&starved, &format!("key-{}", number % 3), number)).collect();
    world.enqueue(&stuck).await?;
    // not by `from_config`, which asks for the topics' settings: this cluster never answers that
    let config = KafkaPublisherConfig::new(&world.servers.kafka_brokers);
    let publisher = KafkaEventPublisher::with_factory(move || config.producer(), EnvelopeEventConverter);
    let relay = OutboxRelay::builder(world.store.clone(), publisher).lease_ttl(Duration::from_secs(2));
    let running = world.run(relay.build()?);
    eventually(SOON, async || world.count("held").await == 300).await;

    let events: Vec<_> = (0..100).map(|number| world.event("key-0", number)).collect();
    world.enqueue(&events).await?;
    eventually(SOON, async || world.count("status = 'completed'").await == 100).await;
    assert_eq!(world.count("attempts_made = 0 and status = 'pending'").await, 300);

    lead(Some(1))?;
    world.drained().await;
    running.stop().await?;
    assert_eq!(world.count("attempts_made = 0 and status = 'completed'").await, 400);
    assert_eq!(world.published().await?, (ids_by_key(&events), 0));
    world.topic = starved;
    assert_eq!(world.published().await?.0, ids_by_key(&stuck));
    world.close().await
}

#[tokio::test]
async fn an_event_that_is_too_large_for_its_topic_fails_alone() -> Result<()> {
    let Some(mut world) = World::new().await? else { return Ok(()) };
    let small = [("max.message.bytes", "2000")];
    world.topic = topic::create_topic(&world.servers.kafka_brokers, "small", 4, &small).await?;
    let mut events: Vec<_> = (0..3).map(|number| world.event("key", number)).collect();
    let large =
        NewOutboxEvent::new("test.event", &world.topic, &serde_json::json!({"text": "x".repeat(5_000)}));
    let large = OmniBoxDomainService::default().create_outbox_event(large.partition_key("key"))?;
    events.insert(1, large.clone());
    world.enqueue(&events).await?;
    let running = world.relay();
    world.drained().await;
    running.stop().await?;
    events.remove(1);
    assert_eq!(world.published().await?, (ids_by_key(&events), 0));
    assert_eq!(world.count("status = 'failed' and last_error is not null and not held").await, 1);
    world.close().await
}

/// Another writer knows none of this library's columns, nor its limits.
#[tokio::test]
async fn a_row_that_the_limits_would_refuse_is_published_and_blocks_nothing() -> Result<()> {
    let Some(world) = World::new().await? else { return Ok(()) };
    let statement = "insert into outbox_events (event_type, topic, partition_key, payload, headers)
        values ('t', $1, 'key', '{}', jsonb_build_object('long', repeat('x', 600))), ('t', $1, 'key', '[]', null)";
    sqlx::query(statement).bind(&world.topic).execute(world.database.pool()).await?;
    world.enqueue(&[world.event("key", 1)]).await?;
    let order = "select array_agg(id order by seq) from outbox_events";
    let ids: Vec<uuid::Uuid> = sqlx::query_scalar(order).fetch_one(world.database.pool()).await?;
    let running = world.relay();
    world.drained().await;
    running.stop().await?;
    let ids = ids.into_iter().map(EventId::from).collect();
    assert_eq!(world.published().await?, (HashMap::from([("key".to_owned(), ids)]), 0));
    world.close().await
}

#[tokio::test]
async fn a_scheduled_event_comes_when_it_is_due_and_holds_nothing() -> Result<()> {
    let Some(world) = World::new().await? else { return Ok(()) };
    let later = NewOutboxEvent::new("test.event", &world.topic, &serde_json::json!({"number": 0}))
        .partition_key("key")
        .scheduled_at(chrono::Utc::now() + Duration::from_secs(3));
    let later = OmniBoxDomainService::default().create_outbox_event(later)?;
    let now = world.event("key", 1);
    world.enqueue(&[later.clone(), now.clone()]).await?;
    let running = world.relay();
    world.drained().await;
    running.stop().await?;
    assert_eq!(world.published().await?, (ids_by_key(&[now, later]), 0));
    world.close().await
}

#[tokio::test]
async fn a_low_seq_that_commits_late_is_published_too() -> Result<()> {
    let Some(world) = World::new().await? else { return Ok(()) };
    let running = world.relay();
    let early = world.event("key", 0);
    let mut late_commit = world.database.pool().begin().await?;
    world.store.create(&mut late_commit, &early).await?;
    let others: Vec<_> =
        (1..2_000).map(|number| world.event(&format!("key-{}", number % 5), number)).collect();
    for batch in others.chunks(50) {
        world.enqueue(batch).await?;
    }
    eventually(SOON, async || world.count("status = 'pending'").await == 0).await;
    late_commit.commit().await?;
    let last = world.event("key", 1);
    world.enqueue(std::slice::from_ref(&last)).await?;
    eventually(SOON, async || world.count("status = 'completed'").await == 2_001).await;
    running.stop().await?;
    let (published, repeats) = world.published().await?;
    assert_eq!((&published["key"], repeats), (&vec![early.id(), last.id()], 0));
    world.close().await
}

#[tokio::test]
async fn works_in_mode_rows_too() -> Result<()> {
    let Some(world) = World::new().await? else { return Ok(()) };
    world.store.set_delivery_mode(DeliveryMode::Rows).await?;
    let events: Vec<_> =
        (0..200).map(|number| world.event(&format!("key-{}", number % 40), number)).collect();
    world.enqueue(&events).await?;
    let running = [world.relay(), world.relay()];
    world.drained().await;
    for relay in running {
        relay.stop().await?;
    }
    assert_eq!(world.published().await?, (ids_by_key(&events), 0));
    world.close().await
}

#[tokio::test]
async fn refuses_a_database_without_its_schema() -> Result<()> {
    let Some(world) = World::new().await? else { return Ok(()) };
    sqlx::raw_sql("drop table omni_box_control").execute(world.database.pool()).await?;
    let relay = OutboxRelay::builder(world.store.clone(), world.publisher()).build()?;
    let error = relay.run(CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), omni_box_core::ErrorKind::Misconfigured);
    world.close().await
}
