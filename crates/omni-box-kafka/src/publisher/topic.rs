//! A topic that exists: what is known of it, and what is in flight to it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long messages go one at a time after a batch was refused.
const CAUTIOUS: Duration = Duration::from_secs(30);

/// A topic that exists.
#[derive(Debug)]
pub(super) struct Topic {
    facts: Facts,
    /// Bytes handed to librdkafka and not yet reported.
    in_flight: AtomicUsize,
    expired: AtomicBool,
    /// Until when messages go one at a time.
    cautious: Mutex<Option<Instant>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Facts {
    /// `max.message.bytes`, where we may know it.
    pub(super) limit: Option<usize>,
    pub(super) compacted: bool,
}

impl Topic {
    pub(super) fn new(facts: Facts) -> Self {
        Self {
            facts,
            in_flight: AtomicUsize::new(0),
            expired: AtomicBool::new(false),
            cautious: Mutex::new(None),
        }
    }

    pub(super) fn facts(&self) -> Facts {
        self.facts
    }

    pub(super) fn limit(&self) -> Option<usize> {
        self.facts.limit
    }

    pub(super) fn is_compacted(&self) -> bool {
        self.facts.compacted
    }

    /// The facts were confirmed.
    pub(super) fn refresh(&self) {
        self.expired.store(false, Ordering::Release);
    }

    pub(super) fn is_expired(&self) -> bool {
        self.expired.load(Ordering::Acquire)
    }

    /// Makes the next send ask again.
    pub(super) fn expire(&self) {
        self.expired.store(true, Ordering::Release);
    }

    /// Makes messages go one at a time for a while: the broker refused a batch, and only a batch of one says whose fault it was.
    pub(super) fn be_cautious(&self) {
        *self.cautious.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + CAUTIOUS);
    }

    pub(super) fn is_cautious(&self) -> bool {
        let mut until = self.cautious.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_some_and(|until| until < Instant::now()) {
            *until = None;
        }
        until.is_some()
    }

    /// Whether a message can join what is in flight. librdkafka batches without regard to a topic's limit, and a batch above it
    /// fails whole; so where batches can be larger than the limit, no more is in flight than fits one batch.
    pub(super) fn has_room(&self, bytes: usize, batch_bytes: usize) -> bool {
        let in_flight = self.in_flight.load(Ordering::Acquire);
        if in_flight == 0 {
            return true;
        }
        match self.facts.limit {
            _ if self.is_cautious() => false,
            Some(limit) if limit < batch_bytes => in_flight + bytes <= limit,
            _ => true,
        }
    }

    pub(super) fn taken(&self, bytes: usize) {
        self.in_flight.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(super) fn settled(&self, bytes: usize) {
        self.in_flight.fetch_sub(bytes, Ordering::AcqRel);
    }
}
