//! A topic that exists: what is known of it, and what is in flight to it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long messages go one at a time after a batch was refused.
const CAUTIOUS: Duration = Duration::from_secs(30);

/// How long a topic that refused a message is not tried again, at first and at most.
const FIRST_REFUSAL: Duration = Duration::from_secs(1);
const LONGEST_REFUSAL: Duration = Duration::from_secs(60);

/// A topic that exists.
#[derive(Debug)]
pub(super) struct Topic {
    facts: Facts,
    /// Bytes handed to librdkafka and not yet reported.
    in_flight: AtomicUsize,
    expired: AtomicBool,
    /// Until when messages go one at a time.
    cautious: Mutex<Option<Instant>>,
    refusal: Arc<Refusal>,
}

/// Whether the topic takes messages of this user. It outlives what is known of the topic otherwise.
#[derive(Debug, Default)]
struct Refusal {
    is_refused: AtomicBool,
    next: Mutex<Next>,
}

/// When a topic that refused is tried again.
#[derive(Debug, Default)]
struct Next {
    wait: Duration,
    try_at: Option<Instant>,
    /// The message on its way tells whether the topic takes messages again.
    is_probed: bool,
}

/// Whether a message may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Open,
    Refused,
    /// This one only, and apart from others.
    Probe,
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
            refusal: Arc::default(),
        }
    }

    /// Other facts of the same topic.
    pub(super) fn renewed(&self, facts: Facts) -> Self {
        Self { refusal: Arc::clone(&self.refusal), ..Self::new(facts) }
    }

    /// Whether a message may be sent. Until the report of a probe no other is asked for.
    pub(super) fn admission(&self) -> Admission {
        if !self.refusal.is_refused.load(Ordering::Acquire) {
            return Admission::Open;
        }
        let mut next = self.refusal.next();
        match next.try_at {
            Some(time) if time <= Instant::now() => {
                // should its report never come, there is another some time
                *next = Next { try_at: Some(Instant::now() + LONGEST_REFUSAL), is_probed: true, ..*next };
                Admission::Probe
            }
            _ => Admission::Refused,
        }
    }

    /// Notes that the topic refused a message: others are refused here, each time longer.
    pub(super) fn refused(&self, name: &str) {
        let mut next = self.refusal.next();
        // others of the same batch are refused too
        if next.is_probed || next.try_at.is_none() {
            let wait = (next.wait * 2).clamp(FIRST_REFUSAL, LONGEST_REFUSAL);
            *next = Next { wait, try_at: Some(Instant::now() + wait), is_probed: false };
        }
        if !self.refusal.is_refused.swap(true, Ordering::AcqRel) {
            tracing::warn!(topic = name, "topic refuses messages of this user, trying one from time to time");
        }
    }

    /// Notes that the topic took a message.
    pub(super) fn accepted(&self, name: &str) {
        if self.refusal.is_refused.load(Ordering::Acquire) {
            *self.refusal.next() = Next::default();
            self.refusal.is_refused.store(false, Ordering::Release);
            tracing::info!(topic = name, "topic takes messages of this user again");
        }
    }

    /// Notes that a message failed for another reason: the next is tried later.
    pub(super) fn not_probed(&self, name: &str) {
        if self.refusal.is_refused.load(Ordering::Acquire) {
            self.refused(name);
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

    /// Makes messages go one at a time for a while. The broker refused a batch, and only a batch of one says whose fault it was.
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
    /// fails whole. So where batches can be larger than the limit, no more is in flight than fits one batch.
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

impl Refusal {
    fn next(&self) -> MutexGuard<'_, Next> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
