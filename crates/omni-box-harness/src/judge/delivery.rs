//! From the journal to the topics: nothing missing, nothing invented, order kept.

use std::collections::{HashMap, HashSet};

use super::{Enqueued, Message, Verdict, displaced};

/// What writers did and what the topics show.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Committed events.
    pub enqueued: Vec<Enqueued>,
    /// Ids of events that were rolled back.
    pub rolled_back: HashSet<String>,
    /// Messages of every topic that is judged, each partition in its order.
    pub messages: Vec<Message>,
    /// Topics that were given more partitions meanwhile: a key has its order within each of them.
    pub grown: HashSet<String>,
}

/// Judges what became of enqueued events.
pub fn judge_delivery(history: &History) -> Verdict {
    let mut verdict = Verdict {
        committed: history.enqueued.len() as u64,
        rolled_back: history.rolled_back.len() as u64,
        ..Verdict::default()
    };
    let enqueued: HashMap<&str, &Enqueued> =
        history.enqueued.iter().map(|event| (event.id.as_str(), event)).collect();

    let mut seen: HashSet<&str> = HashSet::new();
    let mut keys: HashMap<(&str, &str, Option<i32>), KeyTrail<'_>> = HashMap::new();
    for message in &history.messages {
        let Some(event) = enqueued.get(message.id.as_str()) else {
            verdict.phantom.add(|| {
                let rolled_back = history.rolled_back.contains(&message.id);
                let why = if rolled_back { "rolled back" } else { "not in the journal" };
                format!("{} at {} ({why})", message.id, message.position())
            });
            continue;
        };
        if event.topic != message.topic || event.key.as_deref().map(str::as_bytes) != message.key.as_deref() {
            verdict.misrouted.add(|| format!("{} at {}: other topic or key", event.id, message.position()));
            continue;
        }
        if !seen.insert(&event.id) {
            verdict.duplicates += 1;
            continue;
        }
        verdict.published += 1;
        let Some(key) = event.key.as_deref() else { continue };
        let partition = history.grown.contains(&event.topic).then_some(message.partition);
        let trail = keys
            .entry((&event.topic, key, partition))
            .or_insert_with(|| KeyTrail { partition: message.partition, appeared: Vec::new() });
        if trail.partition == message.partition {
            trail.appeared.push(event);
        } else {
            verdict.misrouted.add(|| {
                format!(
                    "{} at {}: its key is on partition {} too",
                    event.id,
                    message.position(),
                    trail.partition
                )
            });
        }
    }

    for event in history.enqueued.iter().filter(|event| !seen.contains(event.id.as_str())) {
        verdict.missing.add(|| format!("{} of {} key {:?}", event.id, event.topic, event.key));
    }
    for ((topic, key, _), trail) in &keys {
        for (event, earlier) in displaced(trail.appeared.iter().copied()) {
            verdict.out_of_order.add(|| format!("{topic}/{key}: {} behind {}", event.id, earlier.id));
        }
    }
    verdict
}

struct KeyTrail<'a> {
    partition: i32,
    appeared: Vec<&'a Enqueued>,
}
