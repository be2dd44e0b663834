//! Topics that cannot be used, and whose heads rest.
//!
//! Events that a topic has refused are heads of their keys, and are tried again each at its own time. Where it has refused many in a row,
//! some of its heads are tried for all. The others are neither read nor written until one is acknowledged, however many they are.

use std::collections::HashMap;
use std::time::Duration;

use omni_box_core::{Failure, Retry};
use tokio::time::Instant;

/// So many refusals in a row let the heads of a topic rest, and so many are tried then. Enough that partitions which can be used again
/// are met while others cannot.
const MANY: u32 = 100;

#[derive(Debug, Default)]
pub(super) struct Rests {
    topics: HashMap<String, Rest>,
}

#[derive(Debug)]
struct Rest {
    /// In a row.
    refused: u32,
    /// The longest of those refused in a row: that of a head says how long the head was tried, not the topic.
    delay: Duration,
    until: Instant,
    /// The fetch whose heads are tried, and how many of them were.
    tried: (u64, u32),
}

impl Rests {
    /// Notes that a topic has refused an event. Whether it was usable before.
    pub(super) fn refused(&mut self, topic: &str, failure: &Failure, now: Instant) -> bool {
        let delay = match failure.retry {
            Retry::After(delay) => delay,
            Retry::Never | Retry::OnRequest => Duration::ZERO,
        };
        let Some(rest) = self.topics.get_mut(topic) else {
            let rest = Rest { refused: 1, delay, until: now, tried: (0, 0) };
            self.topics.insert(topic.to_owned(), rest);
            return true;
        };
        rest.refused = rest.refused.saturating_add(1);
        rest.delay = rest.delay.max(delay);
        if rest.refused == MANY {
            rest.until = now + rest.delay;
        }
        false
    }

    /// Notes that an event of a topic has arrived. Whether the topic was unusable before.
    pub(super) fn acknowledged(&mut self, topic: &str) -> bool {
        !self.topics.is_empty() && self.topics.remove(topic).is_some()
    }

    /// Topics whose heads rest.
    pub(super) fn resting(&self, now: Instant) -> Vec<String> {
        let rests = |(_, rest): &(&String, &Rest)| rest.refused >= MANY && now < rest.until;
        self.topics.iter().filter(rests).map(|(topic, _)| topic.clone()).collect()
    }

    /// Whether a head that fetch number `fetch` has found is to be tried. The others come back by themselves.
    pub(super) fn admit(&mut self, topic: &str, fetch: u64, now: Instant) -> bool {
        if self.topics.is_empty() {
            return true;
        }
        let Some(rest) = self.topics.get_mut(topic).filter(|rest| rest.refused >= MANY) else { return true };
        if now >= rest.until {
            // from now on later fetches leave the topic out, whatever becomes of these
            rest.until = now + rest.delay.max(Duration::from_secs(1));
            rest.tried = (fetch, 0);
        }
        let (trying, tried) = &mut rest.tried;
        *tried += u32::from(*trying == fetch);
        *trying == fetch && *tried <= MANY
    }
}
