//! A message on its way through a transaction.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use omni_box_core::{EventId, InboundMessage, InboxEvent};
use tokio::time::Instant;

use crate::batch::EventFailure;
use crate::outcome::Outcome;
use crate::step::Kept;

/// What keeps messages in order: they share a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// The event's partition key.
    Text(Box<str>),
    /// The event's key, where it is not text.
    Raw(Box<[u8]>),
    /// An event without a key: all of a partition are in order.
    Absent,
}

impl Key {
    pub(crate) fn of(event: &InboxEvent) -> Self {
        match (event.partition_key(), event.raw_key()) {
            (Some(text), _) => Self::Text(text.into()),
            (None, Some(bytes)) => Self::Raw(bytes.into()),
            (None, None) => Self::Absent,
        }
    }
}

/// What a message turned out to be.
#[derive(Debug)]
pub(crate) enum Body {
    /// An event.
    Event(Box<InboxEvent>),
    /// Something to be kept as raw bytes, and why.
    Refused(String),
}

/// How often a message was set back without an attempt being counted.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    pub(crate) contention: u32,
    /// Groups with this message in it that an infrastructure failure ended, in a row.
    pub(crate) infrastructure: u32,
    pub(crate) persist: u32,
    /// How many messages of the runner had been kept when this one was last refused at a commit.
    pub(crate) kept_by_then: Option<usize>,
    pub(crate) free: u32,
    pub(crate) held: u32,
}

/// A message in the window.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) body: Body,
    /// The event that is to be kept as raw bytes, since its table does not take it.
    pub(crate) refused: Option<Box<InboxEvent>>,
    /// The message itself; `None` for a row that was stored before.
    pub(crate) message: Option<InboundMessage>,
    pub(crate) key: Key,
    /// The offset, until it is acknowledged.
    pub(crate) offset: Option<i64>,
    /// Not to be tried before; `None` once that time has come.
    pub(crate) due: Option<Instant>,
    /// Its row is known to be stored.
    pub(crate) is_stored: bool,
    /// The attempt under way is counted in its row already.
    pub(crate) is_started: bool,
    /// It failed behind others in one transaction. It has a transaction of its own from then on.
    pub(crate) is_alone: bool,
    /// It leaves the window.
    pub(crate) is_done: bool,
    /// The outcome of its last transaction.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) tries: Tries,
    /// The id of its row, which may have been stored before it was delivered again.
    pub(crate) row: OnceLock<EventId>,
    /// What steps keep with it. Locked for a moment at a time: a group has its messages by reference.
    pub(crate) stepped: Mutex<Stepped>,
}

/// How far steps have come with a message.
#[derive(Debug, Default)]
pub(crate) struct Stepped {
    pub(crate) kept: Kept,
    /// Its start was told, and its end was not.
    pub(crate) is_open: bool,
    /// How it failed last.
    pub(crate) failure: Option<EventFailure>,
}

impl Item {
    pub(crate) fn received(body: Body, message: InboundMessage) -> Self {
        let key = match &body {
            Body::Event(event) => Key::of(event),
            Body::Refused(_) => Key::Absent,
        };
        let offset = Some(message.offset);
        Self { message: Some(message), offset, is_stored: false, ..Self::stored_body(body, key) }
    }

    pub(crate) fn stored(event: InboxEvent) -> Self {
        let key = Key::of(&event);
        Self::stored_body(Body::Event(Box::new(event)), key)
    }

    fn stored_body(body: Body, key: Key) -> Self {
        Self {
            body,
            refused: None,
            message: None,
            key,
            offset: None,
            due: None,
            is_stored: true,
            is_started: false,
            is_alone: false,
            is_done: false,
            outcome: None,
            tries: Tries::default(),
            row: OnceLock::new(),
            stepped: Mutex::default(),
        }
    }

    pub(crate) fn event(&self) -> Option<&InboxEvent> {
        match &self.body {
            Body::Event(event) => Some(event),
            Body::Refused(_) => None,
        }
    }

    /// Its id, as logs and results have it.
    pub(crate) fn message_id(&self) -> String {
        match (&self.body, &self.message) {
            (Body::Event(event), _) => event.message_id().to_owned(),
            (Body::Refused(_), message) => {
                message.as_ref().map_or_else(String::new, InboundMessage::coordinates)
            }
        }
    }

    /// Turns an event into raw bytes.
    pub(crate) fn refuse(&mut self, reason: String) {
        if let Body::Event(event) = std::mem::replace(&mut self.body, Body::Refused(reason)) {
            self.refused = Some(event);
        }
    }

    /// Takes that back: its bytes could not be kept either, so that the message may not have been at fault.
    pub(crate) fn accept(&mut self) {
        if let Some(event) = self.refused.take() {
            self.body = Body::Event(event);
        }
    }

    /// How far steps have come with it.
    pub(crate) fn stepped(&self) -> MutexGuard<'_, Stepped> {
        // what a panic left there is replaced at the next start
        self.stepped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn waits(&self) -> bool {
        self.due.is_some()
    }
}
