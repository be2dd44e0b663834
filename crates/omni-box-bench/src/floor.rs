//! The same work on the same servers with nothing of ours in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use omni_box::message::Encoded;
use omni_box::prelude::*;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use sqlx::{PgPool, Row};
use uuid::Uuid;

use crate::table;

/// Rows of one fetch, as the relay's default.
const BATCH: i64 = 2_000;

/// Fetches and marks all pending rows by the leanest SQL on one connection; returns rows per second. `lanes` is how many lanes
/// have rows, which share the batch.
pub(crate) async fn sql(pool: &PgPool, lanes: i64) -> Result<f64> {
    let mut connection = pool.acquire().await?;
    let start = Instant::now();
    let mut total = 0usize;
    // everything was committed before, so that a cursor for each lane is right
    let mut read_to = [0i64; 16];
    loop {
        let rows = sqlx::query(
            "select e.id, e.topic, e.partition_key, e.payload::text, e.headers::text, e.event_type, e.created_at, e.lane, e.seq
             from unnest($2::bigint[]) with ordinality as l (read_to, number)
             cross join lateral (
                 select * from outbox_events o
                 where o.lane = l.number - 1 and o.aside is null and o.seq > l.read_to
                 order by o.seq limit $1
             ) e",
        )
        .bind(BATCH / lanes)
        .bind(read_to.as_slice())
        .fetch_all(&mut *connection)
        .await?;
        if rows.is_empty() {
            return Ok(total as f64 / start.elapsed().as_secs_f64());
        }
        let ids: Vec<Uuid> = rows.iter().map(|row| row.get(0)).collect();
        for row in &rows {
            let (lane, seq): (i16, i64) = (row.get(7), row.get(8));
            read_to[usize::from(lane.unsigned_abs())] = seq;
        }
        sqlx::query("update outbox_events set status = 'completed', completed_at = now() where id = any($1)")
            .bind(&ids)
            .execute(&mut *connection)
            .await?;
        total += rows.len();
    }
}

#[derive(Default, Clone)]
struct Counted(Arc<AtomicUsize>);

impl ClientContext for Counted {}

impl ProducerContext for Counted {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_ok() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A message as the relay sends it.
struct Message {
    key: String,
    payload: String,
    headers: OwnedHeaders,
}

fn message(domain: &OmniBoxDomainService, topic: &str, keys: usize, number: usize) -> Result<Message> {
    let event = table::numbered(domain, topic, keys, number)?;
    let mut headers = OwnedHeaders::new();
    for (key, value) in Encoded::of(&event, &RawEventConverter)?.wire_headers(&event) {
        headers = headers.insert(Header { key, value: Some(value.as_bytes()) });
    }
    let key = event.partition_key().unwrap_or_default().to_owned();
    Ok(Message { key, payload: event.payload().as_str().to_owned(), headers })
}

/// Produces the same messages, which are made before, acks=all, idempotent, and awaits them all; returns messages per second.
pub(crate) async fn kafka(brokers: &str, topic: &str, events: usize, keys: usize) -> Result<f64> {
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    tokio::task::spawn_blocking(move || {
        let counted = Counted::default();
        let producer: BaseProducer<Counted> = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "1000000")
            .create_with_context(counted.clone())?;
        // the connection is made before the clock starts, as the relay's is
        producer.client().fetch_metadata(Some(&topic), Duration::from_secs(10))?;
        let domain = OmniBoxDomainService::default();
        let messages: Vec<Message> =
            (0..events).map(|number| message(&domain, &topic, keys, number)).collect::<Result<_>>()?;
        let start = Instant::now();
        for (number, Message { key, payload, headers }) in messages.into_iter().enumerate() {
            let mut record = BaseRecord::to(&topic).key(&key).payload(&payload).headers(headers);
            while let Err((error, back)) = producer.send(record) {
                let KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) = error else {
                    return Err(error.into());
                };
                producer.poll(Duration::from_millis(1));
                record = back;
            }
            if number % 500 == 0 {
                producer.poll(Duration::ZERO);
            }
        }
        while counted.0.load(Ordering::Relaxed) < events {
            producer.poll(Duration::from_millis(5));
        }
        Ok(events as f64 / start.elapsed().as_secs_f64())
    })
    .await?
}
