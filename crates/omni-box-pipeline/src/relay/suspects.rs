//! Whether the broker's trouble follows one event around.
//!
//! An error of the broker comes back with everything that was not delivered yet. The first event that meets it may be its cause, or stand
//! in front of it, or have nothing to do with it. It is *suspected*: it waits until another event was acknowledged, and goes alone. If it fails
//! alone again and again while other events are acknowledged in between, then the error is its own.

use std::collections::HashMap;
use std::time::Duration;

use omni_box_core::EventId;
use tokio::time::Instant;

/// So often a suspect fails alone before the error is its own.
const ROUNDS: u32 = 5;
/// More than this many are not kept in mind: so many events do not fail by their own fault.
const MOST: usize = 1_000;
/// How long a suspect waits after its first failure alone; each further one doubles it.
const PAUSE: Duration = Duration::from_millis(100);

/// Whose error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The broker's, as far as is known.
    Broker,
    /// Perhaps the event's: other events are acknowledged. The broker can be used for them.
    Unclear,
    /// The event's.
    Event,
}

#[derive(Debug)]
struct Suspect {
    rounds: u32,
    /// How many events were acknowledged before its last failure.
    acknowledged: u64,
    not_before: Instant,
}

/// Events that were the first to meet an error of the broker.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    events: HashMap<EventId, Suspect>,
    acknowledged: u64,
}

impl Suspects {
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(crate) fn contains(&self, id: &EventId) -> bool {
        self.events.contains_key(id)
    }

    /// Notes that an event was acknowledged.
    pub(crate) fn acknowledged(&mut self, id: &EventId) {
        self.acknowledged += 1;
        self.events.remove(id);
    }

    /// Notes that an event's failure was its own, or its topic's.
    pub(crate) fn acquit(&mut self, id: &EventId) {
        self.events.remove(id);
    }

    /// Notes that an event was the first to meet an error of the broker, alone in the publisher's hands or not. Says whose error it is.
    pub(crate) fn failed(&mut self, id: EventId, was_alone: bool, now: Instant) -> Fault {
        if self.events.len() >= MOST && !self.contains(&id) {
            self.events.clear();
        }
        let acknowledged = self.acknowledged;
        let suspect = self.events.entry(id).or_insert(Suspect { rounds: 0, acknowledged, not_before: now });
        if !was_alone || acknowledged == suspect.acknowledged {
            return Fault::Broker;
        }
        suspect.acknowledged = acknowledged;
        suspect.rounds += 1;
        suspect.not_before = now + PAUSE * 2_u32.pow(suspect.rounds.min(10));
        if suspect.rounds < ROUNDS {
            return Fault::Unclear;
        }
        // when it is tried again, once is enough
        suspect.rounds = ROUNDS - 1;
        Fault::Event
    }

    /// Whether others were acknowledged since an event's last failure, so that it can show whose fault that was.
    pub(crate) fn is_due(&self, id: &EventId, now: Instant) -> bool {
        self.events
            .get(id)
            .is_some_and(|suspect| suspect.acknowledged < self.acknowledged && suspect.not_before <= now)
    }

    /// When the next of some events may go alone, if others were acknowledged before.
    pub(crate) fn not_before<'a>(&self, ids: impl Iterator<Item = &'a EventId>) -> Option<Instant> {
        ids.filter_map(|id| self.events.get(id)).map(|suspect| suspect.not_before).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn an_error_that_follows_one_event_while_others_succeed_is_its_own() {
        let (mut suspects, poison) = (Suspects::default(), EventId::generate());
        assert_eq!(suspects.failed(poison, false, now()), Fault::Broker);
        for _round in 1..ROUNDS {
            assert!(!suspects.is_due(&poison, now()), "no other event was acknowledged since");
            suspects.acknowledged(&EventId::generate());
            assert_eq!(suspects.failed(poison, true, now()), Fault::Unclear);
        }
        suspects.acknowledged(&EventId::generate());
        assert_eq!(suspects.failed(poison, true, now()), Fault::Event);
    }

    #[test]
    fn an_outage_is_no_events_own_however_long_it_lasts() {
        let (mut suspects, event) = (Suspects::default(), EventId::generate());
        suspects.acknowledged(&EventId::generate());
        for _round in 0..100 {
            assert_eq!(suspects.failed(event, true, now()), Fault::Broker);
        }
    }

    #[test]
    fn an_event_that_fails_in_company_is_not_charged() {
        let (mut suspects, event) = (Suspects::default(), EventId::generate());
        for _round in 0..100 {
            suspects.acknowledged(&EventId::generate());
            assert_eq!(suspects.failed(event, false, now()), Fault::Broker);
        }
    }

    #[test]
    fn an_event_that_is_acknowledged_is_suspected_no_more() {
        let (mut suspects, event) = (Suspects::default(), EventId::generate());
        suspects.failed(event, false, now());
        for _round in 1..ROUNDS {
            suspects.acknowledged(&EventId::generate());
            suspects.failed(event, true, now());
        }
        suspects.acknowledged(&event);
        assert!(suspects.is_empty());
    }

    #[test]
    fn a_day_of_outages_is_bounded() {
        let mut suspects = Suspects::default();
        for _event in 0..10 * MOST {
            suspects.failed(EventId::generate(), false, now());
        }
        assert!(suspects.events.len() <= MOST);
    }
}
