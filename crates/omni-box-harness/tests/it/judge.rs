//! The judge must find what is planted, and nothing else.

use std::collections::BTreeSet;

use omni_box_harness::judge::{
    Effect, Enqueued, History, InboxHistory, Message, Verdict, displaced, judge_delivery, judge_effects,
};
use proptest::prelude::*;

/// Transactions of writers that interleave, with stamps from one clock, and a topic that shows them in the order of commit.
#[derive(Debug, Clone)]
struct Writers {
    enqueued: Vec<Enqueued>,
    /// Transactions in the order in which they committed.
    commits: Vec<i64>,
}

impl Writers {
    /// `steps` drives five writers: each step lets one of them enqueue for a key or commit.
    fn run(steps: &[(usize, u8, bool)]) -> Self {
        let mut clock = 0;
        let mut tick = || {
            clock += 1;
            clock
        };
        let mut open: [Vec<Enqueued>; 5] = Default::default();
        let mut next_tx = 0;
        let mut run = Self { enqueued: Vec::new(), commits: Vec::new() };
        let mut commit = |events: &mut Vec<Enqueued>, stamp: i64| {
            let Some(first) = events.first() else { return };
            run.commits.push(first.tx);
            run.enqueued.extend(events.drain(..).map(|event| Enqueued { committed: Some(stamp), ..event }));
        };
        for &(writer, key, commits) in steps {
            let events = &mut open[writer % 5];
            if commits {
                commit(events, tick());
                continue;
            }
            let tx = events.first().map_or_else(
                || {
                    next_tx += 1;
                    next_tx
                },
                |event: &Enqueued| event.tx,
            );
            let started = tick();
            events.push(Enqueued {
                id: format!("e{started}"),
                topic: "orders".into(),
                key: Some(format!("k{}", key % 3)),
                tx,
                started,
                committed: None,
            });
        }
        for events in &mut open {
            commit(events, tick());
        }
        run
    }

    /// The topic of a relay that publishes each transaction when it commits.
    fn topic(&self) -> Vec<Message> {
        let of_tx = |tx: i64| self.enqueued.iter().filter(move |event| event.tx == tx);
        numbered(self.commits.iter().flat_map(|tx| of_tx(*tx)).map(message_of).collect())
    }

    fn history(&self) -> History {
        History { enqueued: self.enqueued.clone(), messages: self.topic(), ..History::default() }
    }
}

fn message_of(event: &Enqueued) -> Message {
    Message {
        id: event.id.clone(),
        topic: event.topic.clone(),
        partition: 0,
        offset: 0,
        key: event.key.clone().map(String::into_bytes),
    }
}

fn numbered(mut messages: Vec<Message>) -> Vec<Message> {
    for (offset, message) in messages.iter_mut().enumerate() {
        message.offset = offset as i64;
    }
    messages
}

/// The definition, word for word.
fn must_precede(a: &Enqueued, b: &Enqueued) -> bool {
    (a.tx == b.tx && a.started < b.started) || a.committed.is_some_and(|committed| committed < b.started)
}

fn displaced_by_definition(appeared: &[&Enqueued]) -> Vec<String> {
    let later = |at: usize| appeared[..at].iter().any(|earlier| must_precede(appeared[at], earlier));
    (0..appeared.len()).filter(|at| later(*at)).map(|at| appeared[at].id.clone()).collect()
}

fn steps() -> impl Strategy<Value = Vec<(usize, u8, bool)>> {
    prop::collection::vec((0..5usize, 0..3u8, prop::bool::weighted(0.3)), 1..80)
}

/// Positions on the topic of two events of one key of which the first must precede the second.
fn ordered_pair(
    writers: &Writers,
    messages: &[Message],
    pick: prop::sample::Index,
) -> Option<(usize, usize)> {
    let event = |message: &Message| writers.enqueued.iter().find(|event| event.id == message.id).cloned();
    let events: Vec<Enqueued> = messages.iter().filter_map(event).collect();
    let pairs: Vec<(usize, usize)> = (0..events.len())
        .flat_map(|a| (a + 1..events.len()).map(move |b| (a, b)))
        .filter(|&(a, b)| events[a].key == events[b].key && must_precede(&events[a], &events[b]))
        .collect();
    (!pairs.is_empty()).then(|| *pick.get(&pairs))
}

proptest! {
    #[test]
    fn fast_check_agrees_with_the_definition(
        steps in steps(),
        shuffle in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        unstamped in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let mut events = Writers::run(&steps).enqueued;
        prop_assume!(!events.is_empty());
        for index in unstamped {
            let tx = index.get(&events).tx;
            events.iter_mut().filter(|event| event.tx == tx).for_each(|event| event.committed = None);
        }
        for pair in shuffle.chunks_exact(2) {
            let (a, b) = (pair[0].index(events.len()), pair[1].index(events.len()));
            events.swap(a, b);
        }
        let appeared: Vec<&Enqueued> = events.iter().collect();
        let fast = displaced(appeared.iter().copied());
        let ids: Vec<String> = fast.iter().map(|(event, _)| event.id.clone()).collect();
        prop_assert_eq!(ids, displaced_by_definition(&appeared));
        for (event, earlier) in fast {
            prop_assert!(must_precede(event, earlier), "the witness proves nothing");
        }
    }

    #[test]
    fn faithful_topic_is_clean(steps in steps(), repeat_from in any::<prop::sample::Index>()) {
        let mut history = Writers::run(&steps).history();
        prop_assert_eq!(judge_delivery(&history).findings().map(|(_, f)| f.count), [0; 13]);

        // a relay that died sends everything from some point again: only repeats, no jump back
        prop_assume!(!history.messages.is_empty());
        let again = history.messages[repeat_from.index(history.messages.len())..].to_vec();
        let repeats = again.len() as u64;
        history.messages.extend(again);
        history.messages = numbered(history.messages);
        let verdict = judge_delivery(&history);
        prop_assert!(verdict.is_clean(), "{}", verdict);
        prop_assert_eq!(verdict.duplicates, repeats);
    }

    #[test]
    fn lost_event_is_found(steps in steps(), lost in any::<prop::sample::Index>()) {
        let mut history = Writers::run(&steps).history();
        prop_assume!(!history.messages.is_empty());
        let lost = history.messages.remove(lost.index(history.messages.len()));
        let verdict = judge_delivery(&history);
        prop_assert_eq!(verdict.missing.count, 1);
        prop_assert!(verdict.missing.examples[0].contains(&lost.id));
        prop_assert!(!verdict.is_clean());
    }

    #[test]
    fn invented_event_is_found(steps in steps(), at in any::<prop::sample::Index>(), rolled_back: bool) {
        let mut history = Writers::run(&steps).history();
        prop_assume!(!history.messages.is_empty());
        let at = at.index(history.messages.len());
        let invented = Message { id: "ghost".into(), ..history.messages[at].clone() };
        history.messages.insert(at, invented);
        if rolled_back {
            history.rolled_back.insert("ghost".into());
        }
        let verdict = judge_delivery(&history);
        prop_assert_eq!(verdict.phantom.count, 1);
        prop_assert_eq!(verdict.phantom.examples[0].contains("rolled back"), rolled_back);
        prop_assert!(!verdict.is_clean());
    }

    #[test]
    fn swap_is_found_also_behind_a_duplicate(steps in steps(), pick in any::<prop::sample::Index>(), hide: bool) {
        let writers = Writers::run(&steps);
        let mut history = writers.history();
        let pair = ordered_pair(&writers, &history.messages, pick);
        prop_assume!(pair.is_some());
        let (first, second) = pair.unwrap();
        let original = history.messages.clone();
        history.messages.swap(first, second);
        if hide {
            // the topic as it should have been follows, as if that could mend it
            history.messages.extend(original);
        }
        let verdict = judge_delivery(&history);
        prop_assert!(!verdict.out_of_order.is_empty());
        prop_assert!(verdict.missing.is_empty() && verdict.phantom.is_empty());
    }

    #[test]
    fn wrong_route_is_found(steps in steps(), at in any::<prop::sample::Index>(), how in 0..2) {
        let mut history = Writers::run(&steps).history();
        prop_assume!(!history.messages.is_empty());
        let at = at.index(history.messages.len());
        match how {
            0 => history.messages[at].key = Some(b"another".to_vec()),
            _ => history.messages[at].topic = "another".into(),
        }
        let verdict = judge_delivery(&history);
        prop_assert_eq!((verdict.misrouted.count, verdict.missing.count), (1, 1));
    }
}

#[test]
fn key_on_two_partitions_is_found() {
    let writers = Writers::run(&[(0, 0, false), (0, 0, false)]);
    let mut history = writers.history();
    history.messages[1].partition = 1;
    assert_eq!(judge_delivery(&history).misrouted.count, 1);
    // a key may change its partition when some are added
    history.grown.insert(history.messages[0].topic.clone());
    let verdict = judge_delivery(&history);
    assert!(verdict.is_clean(), "{verdict}");
}

#[test]
fn concurrent_transactions_may_come_either_way() {
    // both are open at once, so nothing was promised of their order
    let writers = Writers::run(&[(0, 0, false), (1, 0, false), (0, 0, true), (1, 0, true)]);
    let mut history = writers.history();
    history.messages.reverse();
    let verdict = judge_delivery(&history);
    assert!(verdict.is_clean(), "{verdict}");
}

#[test]
fn unstamped_commit_promises_nothing() {
    let mut history = Writers::run(&[(0, 0, false), (0, 0, true), (1, 0, false), (1, 0, true)]).history();
    history.messages.reverse();
    assert_eq!(judge_delivery(&history).out_of_order.count, 1);
    history.enqueued[0].committed = None;
    assert!(judge_delivery(&history).is_clean());
}

/// Six messages of two keys; each took effect and added an event.
fn handled() -> InboxHistory {
    let ids = ["a", "b", "c", "d", "e", "f"];
    let messages = ids.iter().enumerate().map(|(at, id)| Message {
        id: (*id).into(),
        topic: "orders".into(),
        partition: 0,
        offset: at as i64,
        key: Some(vec![(at % 2) as u8]),
    });
    let effects = ids.iter().enumerate().map(|(at, id)| Effect {
        message_id: (*id).into(),
        handled: at as i64,
        emitted: Some(format!("{id}-added")),
    });
    InboxHistory {
        messages: messages.collect(),
        effects: effects.collect(),
        added_events: ids.iter().map(|id| format!("{id}-added")).collect(),
        ..InboxHistory::default()
    }
}

fn findings(verdict: &Verdict) -> Vec<(&'static str, u64)> {
    let found = verdict.findings().into_iter().filter(|(_, finding)| !finding.is_empty());
    found.map(|(name, finding)| (name, finding.count)).collect()
}

#[track_caller]
fn check_effects(change: impl FnOnce(&mut InboxHistory), expected: &[(&'static str, u64)]) {
    let mut history = handled();
    change(&mut history);
    assert_eq!(findings(&judge_effects(&history)), expected);
}

#[test]
fn effects_once_each_are_clean() {
    check_effects(|_| (), &[]);
    // redelivered, and handled once all the same
    check_effects(|history| history.messages.extend(history.messages.clone()), &[]);
}

#[test]
fn effect_faults_are_found() {
    check_effects(|history| drop(history.effects.remove(2)), &[("missing_effects", 1), ("orphan_events", 1)]);
    check_effects(
        |history| history.effects.push(Effect { emitted: None, ..history.effects[5].clone() }),
        &[("duplicate_effects", 1)],
    );
    check_effects(|history| history.added_events.retain(|id| id != "c-added"), &[("lost_events", 1)]);
    check_effects(|history| history.added_events.extend(["x".into()]), &[("orphan_events", 1)]);
    check_effects(|history| drop(history.messages.remove(3)), &[("unexpected_effects", 1)]);
    check_effects(
        |history| (history.effects[0].handled, history.effects[2].handled) = (2, 0),
        &[("effects_out_of_order", 1)],
    );
    // another key may be ahead
    check_effects(|history| (history.effects[0].handled, history.effects[1].handled) = (1, 0), &[]);
}

#[test]
fn parked_and_quarantined_are_as_expected_or_found() {
    let park = |history: &mut InboxHistory| {
        history.effects.remove(2);
        history.added_events.remove("c-added");
        history.parked.insert("c".into());
    };
    check_effects(park, &[("parked", 1)]);
    check_effects(
        |history| {
            park(history);
            history.expected_parked.insert("c".into());
        },
        &[],
    );
    check_effects(|history| history.expected_parked = BTreeSet::from(["c".into()]), &[("parked", 1)]);
    check_effects(
        |history| history.parked = BTreeSet::from(["c".into()]),
        &[("unexpected_effects", 1), ("parked", 1)],
    );
    check_effects(
        |history| {
            history.effects.remove(2);
            history.added_events.remove("c-added");
            history.quarantined.insert("orders:0:2".into());
        },
        &[("quarantined", 1)],
    );
}
