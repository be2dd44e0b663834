//! The messages of a partition that are in memory, in order.

use std::collections::{HashSet, VecDeque};

use omni_box_core::{InboundMessage, InboxEvent};
use tokio::time::Instant;

/// What keeps messages in order: they share a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// The event's partition key.
    Text(Box<str>),
    /// The event's key, which is no text.
    Raw(Box<[u8]>),
    /// An event without a key: all of a partition are in order.
    Absent,
}

impl Key {
    pub(super) fn of(event: &InboxEvent) -> Self {
        match (event.partition_key(), event.raw_key()) {
            (Some(text), _) => Self::Text(text.into()),
            (None, Some(bytes)) => Self::Raw(bytes.into()),
            (None, None) => Self::Absent,
        }
    }
}

/// What a message turned out to be.
#[derive(Debug)]
pub(super) enum Body {
    /// An event.
    Event(Box<InboxEvent>),
    /// Something to be kept as raw bytes, and why.
    Refused(String),
}

/// How often a message was set back without an attempt being counted.
#[derive(Debug, Default)]
pub(super) struct Tries {
    pub(super) contention: u32,
    /// Groups with this message in it that an infrastructure failure ended, in a row.
    pub(super) infrastructure: u32,
    pub(super) persist: u32,
    pub(super) free: u32,
    pub(super) held: u32,
}

/// A message in the window.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) body: Body,
    /// The message itself; `None` for a row that was stored before.
    pub(super) message: Option<InboundMessage>,
    pub(super) key: Key,
    /// The offset, until it is acknowledged.
    pub(super) offset: Option<i64>,
    /// Not to be tried before; `None` once that time has come.
    pub(super) due: Option<Instant>,
    /// Its row is known to be stored.
    pub(super) is_stored: bool,
    /// The attempt under way is counted in its row already.
    pub(super) is_started: bool,
    /// It leaves the window.
    pub(super) is_done: bool,
    pub(super) tries: Tries,
}

impl Item {
    pub(super) fn received(body: Body, message: InboundMessage) -> Self {
        let key = match &body {
            Body::Event(event) => Key::of(event),
            Body::Refused(_) => Key::Absent,
        };
        let offset = Some(message.offset);
        Self { message: Some(message), offset, is_stored: false, ..Self::stored_body(body, key) }
    }

    pub(super) fn stored(event: InboxEvent) -> Self {
        let key = Key::of(&event);
        Self::stored_body(Body::Event(Box::new(event)), key)
    }

    fn stored_body(body: Body, key: Key) -> Self {
        Self {
            body,
            message: None,
            key,
            offset: None,
            due: None,
            is_stored: true,
            is_started: false,
            is_done: false,
            tries: Tries::default(),
        }
    }

    pub(super) fn event(&self) -> Option<&InboxEvent> {
        match &self.body {
            Body::Event(event) => Some(event),
            Body::Refused(_) => None,
        }
    }

    /// Its id, as logs and results have it.
    pub(super) fn message_id(&self) -> String {
        match (&self.body, &self.message) {
            (Body::Event(event), _) => event.message_id().to_owned(),
            (Body::Refused(_), message) => {
                message.as_ref().map_or_else(String::new, InboundMessage::coordinates)
            }
        }
    }

    fn waits(&self) -> bool {
        self.due.is_some()
    }
}

/// An ordered, bounded queue of messages.
#[derive(Debug)]
pub(super) struct Window {
    items: VecDeque<Item>,
    capacity: usize,
}

impl Window {
    pub(super) fn new(capacity: usize) -> Self {
        Self { items: VecDeque::new(), capacity }
    }

    /// How many more it takes.
    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.items.len())
    }

    pub(super) fn push(&mut self, item: Item) {
        self.items.push_back(item);
    }

    pub(super) fn get(&self, at: usize) -> &Item {
        &self.items[at]
    }

    pub(super) fn get_mut(&mut self, at: usize) -> &mut Item {
        &mut self.items[at]
    }

    /// Drops what is done. Places in the window change.
    pub(super) fn sweep(&mut self) {
        self.items.retain(|item| !item.is_done);
    }

    /// Ends the waits whose time has come. A message behind another one of its key may stay for long after that, and its time must not be
    /// taken for one to wake up at.
    pub(super) fn wake(&mut self, now: Instant) {
        for item in &mut self.items {
            item.due.take_if(|due| *due <= now);
        }
    }

    /// The first messages that are not stored yet, in order: none before those with the same key.
    pub(super) fn unstored(&self, limit: usize) -> Vec<usize> {
        let mut blocked = HashSet::new();
        let mut ids = HashSet::new();
        let mut group = Vec::new();
        for (at, item) in self.items.iter().enumerate().filter(|(_, item)| !item.is_stored) {
            if group.len() == limit {
                break;
            }
            let Some(event) = item.event() else {
                if !item.waits() {
                    group.push(at);
                }
                continue;
            };
            if item.waits() || blocked.contains(&item.key) {
                blocked.insert(&item.key);
                continue;
            }
            if !ids.insert(event.message_id()) {
                break;
            }
            group.push(at);
        }
        group
    }

    /// The first messages that are due and whose keys wait for nothing, in order; no id twice. Of a runner that stores first, only
    /// stored ones.
    pub(super) fn due(&self, limit: usize, only_stored: bool) -> Vec<usize> {
        let mut blocked = HashSet::new();
        let mut ids = HashSet::new();
        let mut group = Vec::new();
        for (at, item) in self.items.iter().enumerate() {
            if group.len() == limit {
                break;
            }
            let is_held_back = item.waits() || (only_stored && !item.is_stored);
            let Some(event) = item.event() else {
                // keeping raw bytes has no order to keep
                if !is_held_back {
                    group.push(at);
                }
                continue;
            };
            if blocked.contains(&item.key) {
                continue;
            }
            if is_held_back {
                blocked.insert(&item.key);
                continue;
            }
            if !ids.insert(event.message_id()) {
                break;
            }
            group.push(at);
        }
        group
    }

    /// When the next waiting message is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.items.iter().filter_map(|item| item.due).min()
    }
}
