//! The messages of a partition that are in memory, in order.

use std::collections::{HashSet, VecDeque};

use omni_box_core::{Event, EventId};
use tokio::time::Instant;

use crate::transact::{InMemory, Item};

/// An ordered, bounded queue of messages.
#[derive(Debug)]
pub(crate) struct Window {
    items: VecDeque<Item>,
    capacity: usize,
    told: InMemory,
}

impl Window {
    /// `told` hears how many messages there are.
    pub(crate) fn new(capacity: usize, told: InMemory) -> Self {
        Self { items: VecDeque::new(), capacity, told }
    }

    /// How many more it takes.
    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.items.len())
    }

    /// The first offset that is not acknowledged.
    pub(crate) fn first_offset(&self) -> Option<i64> {
        self.first_open()?.offset
    }

    /// The message whose offset is the first that is not acknowledged.
    pub(crate) fn first_open(&self) -> Option<&Item> {
        self.items.iter().find(|item| item.offset.is_some())
    }

    /// What a group overtakes: messages before the last of it that are not in it, and whose offsets are not acknowledged.
    pub(crate) fn overtaken(&self, group: &[usize]) -> Vec<usize> {
        let Some(&last) = group.iter().rfind(|&&at| self.items[at].offset.is_some()) else {
            return Vec::new();
        };
        (0..last).filter(|at| self.items[*at].offset.is_some() && !group.contains(at)).collect()
    }

    pub(crate) fn push(&mut self, item: Item) {
        self.items.push_back(item);
        self.told.show(self.items.len());
    }

    pub(crate) fn get(&self, at: usize) -> &Item {
        &self.items[at]
    }

    pub(crate) fn get_mut(&mut self, at: usize) -> &mut Item {
        &mut self.items[at]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.told.show(0);
    }

    /// Drops messages by their event's id.
    pub(crate) fn remove(&mut self, is_gone: impl Fn(EventId) -> bool) {
        self.items.retain(|item| !item.event().is_some_and(|event| is_gone(event.id())));
        self.told.show(self.items.len());
    }

    /// Drops what is done. Places in the window change.
    pub(crate) fn sweep(&mut self) {
        self.items.retain(|item| !item.is_done);
        self.told.show(self.items.len());
    }

    /// Ends the waits whose time has come. A message behind another one of its key may stay for long after that. Its time must not be taken
    /// for one to wake up at.
    pub(crate) fn wake(&mut self, now: Instant) {
        for item in &mut self.items {
            item.due.take_if(|due| *due <= now);
        }
    }

    /// The first messages that are not stored yet, in order: none before those with the same key.
    pub(crate) fn unstored(&self, limit: usize) -> Vec<usize> {
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
    /// stored ones. One that goes alone is a group of its own as soon as it is the first.
    pub(crate) fn due(&self, limit: usize, only_stored: bool) -> Vec<usize> {
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
            if is_held_back || (item.is_alone && !group.is_empty()) {
                blocked.insert(&item.key);
                continue;
            }
            if !ids.insert(event.message_id()) {
                break;
            }
            group.push(at);
            if item.is_alone {
                break;
            }
        }
        group
    }

    /// When the next waiting message is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.items.iter().filter_map(|item| item.due).min()
    }
}
