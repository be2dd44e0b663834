//! All that settings turn into, as text.

use omni_box_core::Result;
use omni_box_settings::Settings;

/// What a service cannot do without.
pub(crate) const NEEDED: [(&str, &str); 4] = [
    ("OMNI_DATABASE__URL", "postgres://localhost/orders"),
    ("OMNI_KAFKA__BROKERS", "localhost:9092"),
    ("OMNI_INBOX__CONSUMER_GROUP", "shipping"),
    ("OMNI_INBOX__TOPICS", "orders"),
];

/// Everything that can be made of settings.
pub(crate) fn fingerprint(settings: &Settings) -> Result<String> {
    let publisher = settings.kafka_publisher()?;
    let producer = publisher.client_config()?;
    let consumer = settings.kafka_consumer()?;
    let client = consumer.client_config()?;
    let pool = settings.postgres_pool();
    let parts = [
        format!("{:?}", settings.relay()?),
        format!("{:?}", settings.inbox()?),
        format!("{:?}", settings.inbox_worker()?),
        format!("{:?}", settings.retry()?),
        format!("{:?}", settings.maintenance()),
        settings.database_url()?.expose().clone(),
        settings.postgres_server()?.get_host().to_owned(),
        format!("{:?}", settings.postgres()?),
        format!("{} {:?}", pool.get_max_connections(), pool.get_acquire_timeout()),
        format!("{:?}", settings.sqlite()?),
        format!("{:?} {publisher:?}", producer.config_map()),
        format!("{:?} {consumer:?}", client.config_map()),
    ];
    Ok(parts.join("\n"))
}
