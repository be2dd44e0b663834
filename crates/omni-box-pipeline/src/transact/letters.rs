//! Messages that are given up, as outbox events of the transaction that gives them up.

use async_trait::async_trait;
use omni_box_core::{
    Event, EventId, EventLimits, EventStatus, InboxEvent, LifecycleRecord, OutboxEvent, OutboxRecord,
    OutboxRepository, Result, Store,
};

use crate::settings::misconfigured;

/// Most characters of a causation id.
const TRACE_ID: usize = 64;
/// Most characters of a topic's name.
const TOPIC: usize = 255;

/// A message that is given up in a transaction.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) event: InboxEvent,
    pub(crate) error: String,
    /// Attempts that were counted, with the last one.
    pub(crate) attempts: u32,
}

/// Where letters go, in the transaction that they are of.
#[async_trait]
pub(crate) trait Letters<S: Store>: Send + Sync {
    async fn write(&self, store: &S, conn: &mut S::Conn, letters: &[Letter]) -> Result<()>;
}

/// A topic, by way of the outbox.
pub(crate) struct Topic(String);

impl Topic {
    /// Refuses what no topic is called.
    pub(crate) fn new(name: String) -> Result<Self> {
        let characters = name.chars().count();
        if (1..=TOPIC).contains(&characters) && !name.contains('\0') {
            return Ok(Self(name));
        }
        Err(misconfigured(format!(
            "dead_letter_topic has {characters} characters, needs 1 to {TOPIC} and no NUL"
        )))
    }

    /// The event as it goes out. Nothing is refused: what fits into the inbox fits into the outbox, and a converter leaves out headers
    /// that repeat a field's name.
    fn event(&self, letter: &Letter) -> OutboxEvent {
        let Letter { event, error, attempts } = letter;
        let mut content = event.content().clone();
        content.causation_id =
            Some(event.message_id().to_owned()).filter(|id| id.chars().count() <= TRACE_ID);
        content.idempotency_key = None;
        let position = event
            .position()
            .map(|at| format!("{}:{}:{}", at.topic, at.partition, at.offset))
            .unwrap_or_default();
        for (name, value) in [
            ("dead_letter_error", error.as_str()),
            ("dead_letter_attempts", &attempts.to_string()),
            ("dead_letter_message_id", event.message_id()),
            ("dead_letter_group", event.consumer_group().as_str()),
            ("dead_letter_source", event.source()),
            ("dead_letter_position", &position),
        ] {
            content.headers.push(name, value);
        }
        let record = OutboxRecord {
            id: EventId::generate(),
            content,
            aggregate_type: None,
            aggregate_id: None,
            topic: self.0.clone(),
            partition_key: event.partition_key().map(str::to_owned),
        };
        let created_at = event.lifecycle().created_at();
        let life = LifecycleRecord {
            status: EventStatus::Pending,
            attempts_made: 0,
            max_attempts: EventLimits::default().max_attempts,
            last_error: None,
            scheduled_at: None,
            completed_at: None,
            lock: None,
            created_at,
            updated_at: created_at,
        };
        OutboxEvent::restore(record, life.into())
    }
}

#[async_trait]
impl<S: OutboxRepository> Letters<S> for Topic {
    async fn write(&self, store: &S, conn: &mut S::Conn, letters: &[Letter]) -> Result<()> {
        let events: Vec<OutboxEvent> = letters.iter().map(|letter| self.event(letter)).collect();
        store.create_many(conn, &events).await.map(|_| ())
    }
}
