//! Ready means that it did its work once: a query, a produce.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use sqlx::{Connection, PgConnection};

use super::Service;

const PAUSE: Duration = Duration::from_millis(50);
const ATTEMPT: Duration = Duration::from_secs(5);

/// Waits until `service` at `address` did its work once.
pub(super) async fn answers(service: Service, address: &str, within: Duration) -> Result<()> {
    answers_while(service, address, within, || Ok(())).await
}

/// The same, and gives up at once when `alive` says that the server's process is gone.
pub(super) async fn answers_while(
    service: Service,
    address: &str,
    within: Duration,
    mut alive: impl FnMut() -> Result<()>,
) -> Result<()> {
    let deadline = Instant::now() + within;
    loop {
        alive()?;
        let attempt = async {
            match service {
                Service::Postgres => query(address).await,
                Service::Kafka => produce(address).await,
            }
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let outcome = tokio::time::timeout(ATTEMPT.min(left), attempt).await;
        let error = match outcome {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => anyhow!("no answer within {ATTEMPT:?}"),
        };
        if Instant::now() + PAUSE >= deadline {
            return Err(error.context(format!("{service} is not ready after {} s", within.as_secs())));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn query(url: &str) -> Result<()> {
    let mut conn = PgConnection::connect(url).await?;
    let one: i32 = sqlx::query_scalar("select 1").fetch_one(&mut conn).await?;
    anyhow::ensure!(one == 1, "select 1 gave {one}");
    conn.close().await?;
    Ok(())
}

async fn produce(brokers: &str) -> Result<()> {
    // librdkafka backs off after a refused connection: a plain connect first finds the moment sooner.
    for broker in brokers.split(',') {
        tokio::net::TcpStream::connect(broker.trim())
            .await
            .with_context(|| format!("no connection to {broker}"))?;
    }
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("message.timeout.ms", "4000");
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(4)));
    let topic = format!("omni-box-ready-{}", uuid::Uuid::new_v4());
    let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1));
    for result in admin.create_topics([&new], &options).await? {
        result.map_err(|(_, code)| anyhow!("cannot create a topic: {code}"))?;
    }
    let producer: FutureProducer = config.create()?;
    let sent =
        producer.send(FutureRecord::<(), _>::to(&topic).payload("ready"), Duration::from_secs(1)).await;
    admin.delete_topics(&[&topic], &options).await?;
    sent.map_err(|(error, _)| error)?;
    Ok(())
}
