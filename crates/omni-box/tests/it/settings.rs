//! A service that has its settings from a file and the environment, on real servers.

use std::time::Duration;

use omni_box::kafka::{KafkaEventConsumer, KafkaEventPublisher};
use omni_box::postgres::PgStore;
use omni_box::prelude::*;
use omni_box::settings::Settings;
use omni_box_harness::topic::create_topic;
use omni_box_harness::{TestDatabase, eventually, servers};

async fn ship(mut cx: InboxContext<'_, PgStore>) -> Result<(), HandlerError> {
    let id = cx.event.message_id().to_owned();
    sqlx::query("insert into s.shipments (id) values ($1)").bind(id).execute(cx.conn()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_inbox_and_upkeep_run_by_a_file_and_variables() {
    let Some(servers) = servers() else { return };
    let database = TestDatabase::create().await.unwrap();
    let topic = create_topic(&servers.kafka_brokers, "settings", 1, &[]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("url");
    std::fs::write(&secret, database.url()).unwrap();
    let file = directory.path().join("omni-box.toml");
    let text = format!(
        "[database]\nurl_file = {secret:?}\nschema = \"s\"\nmax_connections = 12\n\
         [kafka]\nclient_id = \"shop\"\nrecord_time = \"created\"\n\
         [inbox]\nconsumer_group = \"{topic}\"\ntopics = [\"{topic}\"]\ndrain_deadline = \"40s\"\n\
         [outbox_processor]\nlease_ttl = \"2s\"\nlongest_poll = \"500ms\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let variables = [("OMNI_KAFKA__BROKERS".into(), servers.kafka_brokers.into())];
    let settings = Settings::read(Some(&file), variables).unwrap();

    let server = settings.postgres_server().unwrap();
    let pool = settings.postgres_pool().connect_with(server).await.unwrap();
    let store = PgStore::new(pool.clone(), settings.postgres().unwrap());
    store.migrate().await.unwrap();
    sqlx::query("create table s.shipments (id text not null)").execute(&pool).await.unwrap();
    let order = NewOutboxEvent::new("order.placed", &topic, &serde_json::json!({"id": 7}));
    let mut tx = store.begin().await.unwrap();
    let order = store.enqueue(&mut tx, order).await.unwrap().into_event();
    store.commit(tx).await.unwrap();

    let publisher =
        KafkaEventPublisher::from_config(settings.kafka_publisher().unwrap(), EnvelopeEventConverter)
            .unwrap();
    let relay =
        OutboxRelay::builder(store.clone(), publisher).config(settings.relay().unwrap()).build().unwrap();
    let consumer = KafkaEventConsumer::from_config(settings.kafka_consumer().unwrap()).unwrap();
    let inbox = InboxConsumerRunner::builder(consumer, store.clone())
        .config(settings.inbox().unwrap())
        .handler(on("order.placed", ship))
        .build()
        .unwrap();
    let maintenance = settings.maintenance().outbox(store.clone()).inbox(store);
    let shipped = eventually(Duration::from_secs(60), async || {
        let ids: Vec<String> =
            sqlx::query_scalar("select id from s.shipments").fetch_all(&pool).await.unwrap();
        ids == [order.id().to_string()]
    });
    Workers::new().relay(relay).inbox(inbox).maintenance(maintenance).run_until(shipped).await.unwrap();
    pool.close().await;
    database.close().await.unwrap();
}
