//! From the topics to the effects of handlers: each message once, in order, together with the events it adds.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Message, Verdict};

/// An effect of a handler that committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The message it belongs to.
    pub message_id: String,
    /// A stamp drawn inside the handler.
    pub handled: i64,
    /// The outbox event that the handler added in the same transaction.
    pub emitted: Option<String>,
}

/// What one consumer group was sent and what it did.
#[derive(Debug, Clone, Default)]
pub struct InboxHistory {
    /// Messages of the group's topics, each partition in its order.
    pub messages: Vec<Message>,
    /// Effects in the order they were written.
    pub effects: Vec<Effect>,
    /// Ids of messages whose inbox row is failed.
    pub parked: BTreeSet<String>,
    /// Ids of messages that should be.
    pub expected_parked: BTreeSet<String>,
    /// `topic:partition:offset` of messages in quarantine.
    pub quarantined: BTreeSet<String>,
    /// The same of messages that should be.
    pub expected_quarantined: BTreeSet<String>,
    /// Ids of outbox events on topics that only this group's handlers write to.
    pub added_events: HashSet<String>,
}

/// Judges what became of received messages.
pub fn judge_effects(history: &InboxHistory) -> Verdict {
    let mut verdict = Verdict { effects: history.effects.len() as u64, ..Verdict::default() };
    for id in history.parked.symmetric_difference(&history.expected_parked) {
        verdict.parked.add(|| id.clone());
    }
    for position in history.quarantined.symmetric_difference(&history.expected_quarantined) {
        verdict.quarantined.add(|| position.clone());
    }

    let mut effects: HashMap<&str, &Effect> = HashMap::new();
    for effect in &history.effects {
        if effects.insert(&effect.message_id, effect).is_some() {
            verdict.duplicate_effects.add(|| effect.message_id.clone());
        }
    }

    let mut expected: HashSet<&str> = HashSet::new();
    let mut last_of_key: HashMap<(&str, i32, Option<&[u8]>), &Effect> = HashMap::new();
    for message in
        history.messages.iter().filter(|message| !history.quarantined.contains(&message.position()))
    {
        if history.parked.contains(&message.id) || !expected.insert(&message.id) {
            continue;
        }
        let Some(effect) = effects.get(message.id.as_str()) else {
            verdict.missing_effects.add(|| format!("{} at {}", message.id, message.position()));
            continue;
        };
        let last =
            last_of_key.entry((&message.topic, message.partition, message.key.as_deref())).or_insert(effect);
        if effect.handled < last.handled {
            verdict
                .effects_out_of_order
                .add(|| format!("{} at {} before {}", message.id, message.position(), last.message_id));
        } else {
            *last = effect;
        }
    }
    for effect in history.effects.iter().filter(|effect| !expected.contains(effect.message_id.as_str())) {
        verdict.unexpected_effects.add(|| effect.message_id.clone());
    }

    let emitted: HashSet<&String> =
        history.effects.iter().filter_map(|effect| effect.emitted.as_ref()).collect();
    for id in emitted.iter().filter(|id| !history.added_events.contains(**id)) {
        verdict.lost_events.add(|| (*id).clone());
    }
    for id in history.added_events.iter().filter(|id| !emitted.contains(id)) {
        verdict.orphan_events.add(|| id.clone());
    }
    verdict
}
