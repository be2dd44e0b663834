//! What the judge found.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How often something was found, and where to start looking.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How many there are.
    pub count: u64,
    /// The first few of them.
    pub examples: Vec<String>,
}

impl Finding {
    const EXAMPLES: usize = 5;

    /// Adds one; the text is made only if it is kept.
    pub fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < Self::EXAMPLES {
            self.examples.push(example());
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds what another judge found.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        let room = Self::EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.into_iter().take(room));
    }
}

/// The judge's answer. Every [`Finding`] is a broken promise; the plain numbers are for information.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Events that were enqueued and committed.
    pub committed: u64,
    /// Events that were enqueued and rolled back on purpose.
    pub rolled_back: u64,
    /// Committed events that are on their topic.
    pub published: u64,
    /// Repeats on the topics; allowed, except in fenced mode.
    pub duplicates: u64,
    /// Effects that committed.
    pub effects: u64,
    /// Committed, but not on the topic.
    pub missing: Finding,
    /// On the topic, but never committed.
    pub phantom: Finding,
    /// On another topic or with another key than enqueued, or one key on two partitions.
    pub misrouted: Finding,
    /// First appearances that come behind one that was enqueued later.
    pub out_of_order: Finding,
    /// Rows of the outbox or inbox that are not completed and were not expected to be parked.
    pub not_completed: Finding,
    /// Messages on the topic that took no effect, and are neither parked, quarantined nor expected to be lost. Also those that took one
    /// effect where two were expected.
    pub missing_effects: Finding,
    /// Effects beyond the first of a message, or beyond the second where two were expected.
    pub duplicate_effects: Finding,
    /// Effects of messages that are not on the topic, or that are parked, quarantined or expected to be lost.
    pub unexpected_effects: Finding,
    /// Effects that came behind that of a later message of the same key.
    pub effects_out_of_order: Finding,
    /// Events that an effect added and that are not in the outbox.
    pub lost_events: Finding,
    /// Events in the outbox that no effect added, on a topic that only handlers write to.
    pub orphan_events: Finding,
    /// Parked messages that were not expected to be, and expected ones that are not.
    pub parked: Finding,
    /// Quarantined messages that were not expected to be, and expected ones that are not.
    pub quarantined: Finding,
}

impl Verdict {
    /// Every finding with its name.
    pub fn findings(&self) -> [(&'static str, &Finding); 13] {
        [
            ("missing", &self.missing),
            ("phantom", &self.phantom),
            ("misrouted", &self.misrouted),
            ("out_of_order", &self.out_of_order),
            ("not_completed", &self.not_completed),
            ("missing_effects", &self.missing_effects),
            ("duplicate_effects", &self.duplicate_effects),
            ("unexpected_effects", &self.unexpected_effects),
            ("effects_out_of_order", &self.effects_out_of_order),
            ("lost_events", &self.lost_events),
            ("orphan_events", &self.orphan_events),
            ("parked", &self.parked),
            ("quarantined", &self.quarantined),
        ]
    }

    /// Adds what was found elsewhere.
    pub fn merge(&mut self, other: Self) {
        self.committed += other.committed;
        self.rolled_back += other.rolled_back;
        self.published += other.published;
        self.duplicates += other.duplicates;
        self.effects += other.effects;
        self.missing.merge(other.missing);
        self.phantom.merge(other.phantom);
        self.misrouted.merge(other.misrouted);
        self.out_of_order.merge(other.out_of_order);
        self.not_completed.merge(other.not_completed);
        self.missing_effects.merge(other.missing_effects);
        self.duplicate_effects.merge(other.duplicate_effects);
        self.unexpected_effects.merge(other.unexpected_effects);
        self.effects_out_of_order.merge(other.effects_out_of_order);
        self.lost_events.merge(other.lost_events);
        self.orphan_events.merge(other.orphan_events);
        self.parked.merge(other.parked);
        self.quarantined.merge(other.quarantined);
    }

    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.findings().iter().all(|(_, finding)| finding.is_empty())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "committed {}, rolled back {}, published {}, duplicates {}, effects {}",
            self.committed, self.rolled_back, self.published, self.duplicates, self.effects
        )?;
        for (name, finding) in self.findings() {
            if !finding.is_empty() {
                write!(f, "\n{name}: {} [{}]", finding.count, finding.examples.join("; "))?;
            }
        }
        Ok(())
    }
}
