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
    /// Ids of messages that should have taken no effect, because a crash lost them.
    pub expected_lost: BTreeSet<String>,
    /// Ids of messages that should have taken effect twice, because they were delivered again.
    pub expected_repeated: BTreeSet<String>,
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
    let mut to_repeat: HashSet<&str> = history.expected_repeated.iter().map(String::as_str).collect();
    for effect in &history.effects {
        let is_first = effects.insert(&effect.message_id, effect).is_none();
        if !is_first && !to_repeat.remove(effect.message_id.as_str()) {
            verdict.duplicate_effects.add(|| effect.message_id.clone());
        }
    }
    for id in to_repeat {
        verdict.missing_effects.add(|| format!("{id} a second time"));
    }

    let mut expected: HashSet<&str> = HashSet::new();
    let mut last_of_key: HashMap<(&str, i32, Option<&[u8]>), &Effect> = HashMap::new();
    for message in
        history.messages.iter().filter(|message| !history.quarantined.contains(&message.position()))
    {
        let has_none = history.parked.contains(&message.id) || history.expected_lost.contains(&message.id);
        if has_none || !expected.insert(&message.id) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages `0`, `1`, .. and the effects that they took.
    fn history(messages: u8, effects: &[u8]) -> InboxHistory {
        let id = |number: u8| number.to_string();
        InboxHistory {
            messages: (0..messages)
                .map(|number| Message {
                    id: id(number),
                    topic: "orders".into(),
                    partition: 0,
                    offset: number.into(),
                    key: None,
                })
                .collect(),
            effects: (0..)
                .zip(effects)
                .map(|(handled, &number)| Effect { message_id: id(number), handled, emitted: None })
                .collect(),
            ..InboxHistory::default()
        }
    }

    fn ids<const N: usize>(ids: [&str; N]) -> BTreeSet<String> {
        ids.map(str::to_owned).into()
    }

    #[test]
    fn a_lost_message_takes_no_effect() {
        let verdict = judge_effects(&InboxHistory { expected_lost: ids(["0"]), ..history(2, &[1]) });
        assert!(verdict.is_clean(), "{verdict}");
        let verdict = judge_effects(&InboxHistory { expected_lost: ids(["0"]), ..history(2, &[0]) });
        assert_eq!(verdict.unexpected_effects.examples, ["0"]);
        assert_eq!(verdict.missing_effects.examples, ["1 at orders:0:1"]);
    }

    #[test]
    fn a_repeated_message_takes_effect_twice() {
        let repeated = |effects| InboxHistory { expected_repeated: ids(["0"]), ..history(2, effects) };
        let verdict = judge_effects(&repeated(&[0, 0, 1]));
        assert!(verdict.is_clean(), "{verdict}");
        assert_eq!(judge_effects(&repeated(&[0, 1])).missing_effects.examples, ["0 a second time"]);
        assert_eq!(judge_effects(&repeated(&[0, 0, 0, 1])).duplicate_effects.examples, ["0"]);
        assert_eq!(judge_effects(&repeated(&[0, 0, 1, 1])).duplicate_effects.examples, ["1"]);
    }
}
