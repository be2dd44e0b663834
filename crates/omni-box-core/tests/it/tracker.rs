//! Nothing is committed past a message that is not done.

use std::collections::BTreeSet;

use omni_box_core::OffsetTracker;
use proptest::prelude::*;

fn delivered(offsets: &[i64]) -> OffsetTracker {
    let mut tracker = OffsetTracker::new();
    offsets.iter().for_each(|offset| tracker.delivered(*offset));
    tracker
}

#[test]
fn the_position_never_passes_a_message_that_is_not_done() {
    let mut tracker = delivered(&[3, 4, 7, 20]);
    tracker.done(&[4, 20]);
    assert_eq!(tracker.uncommitted(), None);
    tracker.done(&[3]);
    assert_eq!(tracker.uncommitted(), Some(5));
    tracker.committed(5);
    assert_eq!(tracker.uncommitted(), None);
    tracker.done(&[7]);
    assert_eq!(tracker.uncommitted(), Some(21));
    assert_eq!(tracker.open(), 0);
}

#[test]
fn marks_that_failed_to_commit_stay() {
    let mut tracker = delivered(&[1]);
    tracker.done(&[1]);
    assert_eq!(tracker.uncommitted(), Some(2));
    tracker.done(&[]);
    assert_eq!(tracker.uncommitted(), Some(2));
}

#[test]
fn a_rewind_begins_at_the_first_that_is_not_done() {
    let mut tracker = delivered(&[1, 2, 3]);
    tracker.done(&[1, 3]);
    assert_eq!(tracker.rewind(), Some(2));
    tracker.done(&[2]);
    assert_eq!(tracker.uncommitted(), Some(2), "an old mark does not count for what is delivered again");
    assert_eq!(tracker.rewind(), None);
}

#[derive(Debug, Clone)]
enum Step {
    /// Delivers a message so far behind the last.
    Deliver(i64),
    /// Marks the delivered message at this index, and says the position to the broker or not.
    Done(prop::sample::Index, bool),
    Rewind,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..4_i64).prop_map(Step::Deliver),
        4 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(at, commit)| Step::Done(at, commit)),
        1 => Just(Step::Rewind),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn whatever_happens_the_position_is_where_the_done_beginning_ends(steps in steps()) {
        let mut tracker = OffsetTracker::new();
        // the model: the log as far as it was read, those done, and where delivery is
        let (mut log, mut done, mut next, mut broker) = (Vec::new(), BTreeSet::new(), 0, None);
        for step in steps {
            match step {
                Step::Deliver(gap) => {
                    if next == log.len() {
                        log.push(log.last().copied().unwrap_or(0) + gap);
                    }
                    tracker.delivered(log[next]);
                    next += 1;
                }
                Step::Done(at, commit) => {
                    if next > 0 {
                        let offset = log[at.index(next)];
                        tracker.done(&[offset]);
                        done.insert(offset);
                    }
                    if let (Some(position), true) = (tracker.uncommitted(), commit) {
                        prop_assert!(broker.is_none_or(|before| before < position), "committed twice");
                        tracker.committed(position);
                        broker = Some(position);
                    }
                }
                Step::Rewind => {
                    let first = log[..next].iter().position(|offset| !done.contains(offset));
                    prop_assert_eq!(tracker.rewind(), first.map(|first| log[first]));
                    if let Some(first) = first {
                        next = first;
                        done.retain(|offset| *offset < log[first]);
                    }
                }
            }
            let beginning = log[..next].iter().take_while(|offset| done.contains(offset)).count();
            let position = beginning.checked_sub(1).map(|last| log[last] + 1);
            prop_assert_eq!(tracker.uncommitted().or(broker), position);
            prop_assert_eq!(tracker.open(), next - beginning);
        }
    }
}
