//! The order of first appearances.

use std::collections::HashMap;

use super::Enqueued;

/// Finds the events of one key that appeared behind one they should precede, each with such a one. `appeared` are first
/// appearances in the order of the partition.
///
/// A must come before B when both are of one transaction and A was enqueued first. So it must when A's transaction had committed before B
/// was enqueued. For each event it is enough to look at the latest start among those that appeared before it, in all and in its own
/// transaction. So one sweep finds every event that is displaced. The pairs may be quadratically many.
pub fn displaced<'a>(appeared: impl IntoIterator<Item = &'a Enqueued>) -> Vec<(&'a Enqueued, &'a Enqueued)> {
    let mut latest: Option<&Enqueued> = None;
    let mut latest_of_tx: HashMap<i64, &Enqueued> = HashMap::new();
    let mut found = Vec::new();
    for event in appeared {
        let overtaken_by = latest
            .filter(|earlier| event.committed.is_some_and(|committed| committed < earlier.started))
            .or_else(|| {
                latest_of_tx.get(&event.tx).copied().filter(|earlier| event.started < earlier.started)
            });
        if let Some(earlier) = overtaken_by {
            found.push((event, earlier));
        }
        if latest.is_none_or(|earlier| earlier.started < event.started) {
            latest = Some(event);
        }
        let of_tx = latest_of_tx.entry(event.tx).or_insert(event);
        if of_tx.started < event.started {
            *of_tx = event;
        }
    }
    found
}
