//! `OutboxPublisher::publish_batch`, one batch a call.

use omni_box_core::{BatchSize, DeliveryMode, ErrorKind, FetchFilters, WorkerId};
use omni_box_pipeline::OutboxPublisher;

use super::*;

fn publisher(world: &World) -> OutboxPublisher<PgStore> {
    OutboxPublisher::builder(world.store.clone(), world.publisher()).build().expect("settings are valid")
}

async fn guide_loop(outbox: &OutboxPublisher<PgStore>, worker: &str, batch_size: u32) -> Result<usize> {
    let (worker, size) = (WorkerId::new(worker)?, BatchSize::new(batch_size)?);
    let mut published = 0;
    loop {
        let shutdown = CancellationToken::new();
        let result = outbox.publish_batch(&worker, size, &FetchFilters::default(), &shutdown).await?;
        if result.processed_event_ids.is_empty() {
            return Ok(published);
        }
        published += result.processed_event_ids.len();
    }
}

#[tokio::test]
async fn the_guides_loop_publishes_everything_in_order() -> Result<()> {
    for mode in [DeliveryMode::Lanes, DeliveryMode::Rows] {
        let Some(world) = World::new().await? else { return Ok(()) };
        world.store.set_delivery_mode(mode).await?;
        let events: Vec<_> =
            (0..500).map(|number| world.event(&format!("key-{}", number % 50), number)).collect();
        world.enqueue(&events).await?;
        let outbox = publisher(&world);
        assert_eq!(guide_loop(&outbox, "publisher-1", 100).await?, 500);
        outbox.close().await?;
        assert_eq!(world.published().await?, (ids_by_key(&events), 0));
        world.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn replicas_of_one_name_do_not_publish_twice() -> Result<()> {
    let Some(world) = World::new().await? else { return Ok(()) };
    let events: Vec<_> =
        (0..2_000).map(|number| world.event(&format!("key-{}", number % 50), number)).collect();
    world.enqueue(&events).await?;
    let replicas = [publisher(&world), publisher(&world), publisher(&world)];
    eventually(SOON, async || {
        let loops = replicas.iter().map(|outbox| guide_loop(outbox, "publisher-1", 100));
        for published in futures_util::future::join_all(loops).await {
            published.unwrap();
        }
        world.count("status = 'pending'").await == 0
    })
    .await;
    assert_eq!(world.published().await?, (ids_by_key(&events), 0));
    world.close().await
}

#[tokio::test]
async fn filters_choose_in_mode_rows_and_are_refused_in_mode_lanes() -> Result<()> {
    let Some(world) = World::new().await? else { return Ok(()) };
    let other = topic::create_topic(&world.servers.kafka_brokers, "other", 1, &[]).await?;
    world.enqueue(&[world.event("a", 1)]).await?;
    let outbox = publisher(&world);
    let (worker, size) = (WorkerId::new("worker")?, BatchSize::new(10)?);
    let (filters, shutdown) = (FetchFilters::new().topic(other), CancellationToken::new());
    let error = outbox.publish_batch(&worker, size, &filters, &shutdown).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    outbox.close().await?;

    world.store.set_delivery_mode(DeliveryMode::Rows).await?;
    assert!(outbox.publish_batch(&worker, size, &filters, &shutdown).await?.is_empty());
    let filters = FetchFilters::new().topic(&world.topic);
    assert_eq!(outbox.publish_batch(&worker, size, &filters, &shutdown).await?.processed_event_ids.len(), 1);
    world.close().await
}

#[tokio::test]
async fn a_cancelled_batch_is_released_without_an_attempt() -> Result<()> {
    for mode in [DeliveryMode::Lanes, DeliveryMode::Rows] {
        let Some(world) = World::new().await? else { return Ok(()) };
        world.store.set_delivery_mode(mode).await?;
        world.enqueue(&[world.event("a", 1), world.event("b", 2)]).await?;
        // no process listens on port 1: the broker never answers
        let config = KafkaPublisherConfig::new("127.0.0.1:1");
        let nowhere = KafkaEventPublisher::from_config(config, EnvelopeEventConverter)?;
        let outbox = OutboxPublisher::builder(world.store.clone(), nowhere).build()?;
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        // more than one for each lane, since both keys may be in the same
        let (worker, size, filters) =
            (WorkerId::new("worker")?, BatchSize::new(100)?, FetchFilters::default());
        let result = outbox.publish_batch(&worker, size, &filters, &shutdown).await?;
        assert_eq!((result.released_event_ids.len(), result.processed_event_ids.len()), (2, 0));
        assert_eq!(world.count("status = 'pending' and attempts_made = 0 and locked_by is null").await, 2);
        world.close().await?;
    }
    Ok(())
}
