//! The books of a relay: which events are in flight, in which state, and what is to be written about them.
//!
//! Pure bookkeeping, no I/O. An event enters by [`Flight::admit`], goes out by [`Flight::take_ready`], comes back by
//! [`Flight::report`], leaves by [`Flight::take_settlement`] and is forgotten by [`Flight::settled`]. Until then fetches leave it out.
//!
//! A key is *blocked* while one of its events is held back and the hold is not yet in the table. Later events of the key are not sent, nor
//! is anything that a fetch returned which began before the hold was written. Only a later fetch knows from the table what to leave alone.
//!
//! What was read need not be read again ([`Flight::above`]), until the books forget it or the table may have left it as it was.

mod rests;
mod settlement;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use omni_box_core::{
    Attempt, DeliveryReport, Error, Event, EventId, KeyRef, LaneEvent, LaneHold, LaneId, LaneSettlement,
    OutboxEvent,
};
use tokio::time::Instant;

use self::rests::Rests;
use super::bounds::Bounds;
use crate::batch::EventFailure;
use crate::outcome::Outcome;
use crate::relay::answer::{Answer, DueSince, held_reason};
use crate::relay::suspects::{Fault, Suspects};
use crate::relay::verdict::{Judge, ReportVerdict};
use crate::step::Mark;

/// An event between its fetch and its mark.
#[derive(Debug)]
struct Entry {
    event: Arc<OutboxEvent>,
    lane: LaneId,
    seq: i64,
    is_held_head: bool,
    due: DueSince,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waits for an event of its key, or for its turn.
    Waiting,
    /// Handed to the publisher.
    Sent(Instant),
    /// Reported; what follows is being written.
    Reported,
}

/// What the publisher has of a topic.
#[derive(Debug)]
struct Topic {
    sent: usize,
    /// When something of it was reported last, or sent while nothing was.
    heard_at: Instant,
}

#[derive(Debug, Default)]
struct Block {
    /// `seq` of the key's events that wait, until that is written.
    unwritten: BTreeSet<i64>,
    /// The latest fetch that had begun when something was written last.
    written: u64,
}

/// What became of an event that was reported.
#[derive(Debug)]
pub(crate) struct Noted {
    pub(crate) answer: Answer,
    /// What is recorded of a failed attempt.
    pub(crate) failure: Option<EventFailure>,
    /// The publisher takes nothing more until it is purged, though the fault was this event's.
    pub(crate) needs_purge: bool,
}

/// A report that is not about its event, as far as is known.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) error: Error,
    /// Other events are acknowledged: the broker can be used for them.
    pub(crate) is_unclear: bool,
}

#[derive(Debug)]
pub(crate) struct Flight {
    judge: Judge,
    one_per_key: bool,
    entries: HashMap<EventId, Entry>,
    per_lane: HashMap<LaneId, usize>,
    bytes: usize,
    sent: usize,
    /// Topics of which something was sent and is not reported.
    topics: HashMap<String, Topic>,
    ready: Vec<EventId>,
    /// With one event per key in flight: what stands behind it.
    queues: HashMap<KeyRef, VecDeque<EventId>>,
    /// Failed events that wait for the rest of their key to come back before the hold is written.
    failed: HashMap<KeyRef, Vec<(i64, LaneHold)>>,
    blocked: HashMap<KeyRef, Block>,
    bounds: Bounds,
    suspects: Suspects,
    /// The suspect that is in the publisher's hands: nothing else may be.
    alone: Option<EventId>,
    /// An error of the broker was reported since the last reset.
    has_trouble: bool,
    outgoing: LaneSettlement,
    outgoing_since: Option<Instant>,
    /// Fetches up to this number left out events that were forgotten since: they would jump the queue.
    stale_fetches: u64,
    rests: Rests,
}

impl Flight {
    pub(crate) fn new(judge: Judge, one_per_key: bool) -> Self {
        Self {
            judge,
            one_per_key,
            entries: HashMap::new(),
            per_lane: HashMap::new(),
            bytes: 0,
            sent: 0,
            topics: HashMap::new(),
            ready: Vec::new(),
            queues: HashMap::new(),
            failed: HashMap::new(),
            blocked: HashMap::new(),
            bounds: Bounds::default(),
            suspects: Suspects::default(),
            alone: None,
            has_trouble: false,
            outgoing: LaneSettlement::default(),
            outgoing_since: None,
            stale_fetches: 0,
            rests: Rests::default(),
        }
    }

    /// Goes on with what another flight has found out about events that may be at fault.
    pub(crate) fn with_suspects(self, suspects: Suspects) -> Self {
        Self { suspects, ..self }
    }

    /// What was found out about events that may be at fault.
    pub(crate) fn take_suspects(&mut self) -> Suspects {
        std::mem::take(&mut self.suspects)
    }

    /// Up to which `seq` a lane need not be read: all that is pending there is in the books, or comes back wherever it lies.
    pub(crate) fn above(&self, lane: LaneId) -> i64 {
        self.bounds.above(lane)
    }

    /// Takes in how far fetch number `fetch` has read lanes, after all of its events.
    pub(crate) fn read_to(&mut self, fetch: u64, bounds: &BTreeMap<LaneId, i64>) {
        if !self.is_stale(fetch) {
            self.bounds.raise(fetch, bounds);
        }
    }

    /// Reads every lane from its beginning. `fetch` is the number of the latest fetch that has begun.
    pub(crate) fn read_anew(&mut self, fetch: u64) {
        self.bounds.forget_all(fetch);
    }

    /// Reads a lane from its beginning.
    pub(crate) fn read_lane_anew(&mut self, fetch: u64, lane: LaneId) {
        self.bounds.forget(fetch, lane);
    }

    /// Topics whose heads a fetch may leave out.
    pub(crate) fn resting(&self, now: Instant) -> Vec<String> {
        self.rests.resting(now)
    }

    /// Whether fetch number `fetch` began before the last reset, and so left out what was forgotten then.
    pub(crate) fn is_stale(&self, fetch: u64) -> bool {
        fetch <= self.stale_fetches
    }

    /// Takes in what fetch number `fetch` returned, in its order.
    pub(crate) fn admit(&mut self, fetch: u64, events: Vec<LaneEvent>) {
        if self.is_stale(fetch) {
            return;
        }
        let now = Instant::now();
        for LaneEvent { event, lane, seq, is_held_head, is_behind_head, read_at } in events {
            let id = event.id();
            let rests = is_held_head && !self.rests.admit(event.topic(), fetch, now);
            if self.entries.contains_key(&id) || rests {
                continue;
            }
            // most events need no copy of their key
            let needs_key = self.one_per_key || !self.blocked.is_empty();
            let key = if needs_key { key_of(lane, &event) } else { None };
            let block = key.as_ref().and_then(|key| self.blocked.get(key));
            let waits = is_behind_head
                || block.is_some_and(|block| {
                    fetch <= block.written || block.unwritten.first().is_some_and(|first| *first < seq)
                });
            self.bytes += event.payload().as_str().len();
            *self.per_lane.entry(lane).or_default() += 1;
            let due = DueSince::read(&event, read_at, now);
            let (event, state) = (Arc::new(event.read_from(lane, is_held_head)), State::Waiting);
            self.entries.insert(id, Entry { event, lane, seq, is_held_head, due, state });
            if waits {
                self.follow(id);
                continue;
            }
            match key {
                Some(key) if self.one_per_key => match self.queues.get_mut(&key) {
                    Some(queue) => queue.push_back(id),
                    None => {
                        self.queues.insert(key, VecDeque::new());
                        self.ready.push(id);
                    }
                },
                _ => self.ready.push(id),
            }
        }
        self.blocked.retain(|_, block| !block.unwritten.is_empty() || fetch <= block.written);
    }

    /// Hands out what may be sent now, in order. `owned` says whether a lane is still ours. A suspect comes alone, when nothing else is sent.
    pub(crate) fn take_ready(
        &mut self,
        now: Instant,
        owned: impl Fn(LaneId) -> bool,
    ) -> Vec<Arc<OutboxEvent>> {
        if self.alone.is_some() {
            return Vec::new();
        }
        let is_suspected = !self.suspects.is_empty();
        if is_suspected && self.ready_suspects(&owned).any(|id| self.suspects.is_due(id, now)) {
            // nothing is sent beside it
            return if self.sent == 0 { self.take_suspect(now, &owned) } else { Vec::new() };
        }
        let mut events = Vec::with_capacity(self.ready.len());
        let mut stopped = HashSet::new();
        for id in std::mem::take(&mut self.ready) {
            let Some(entry) = self.entries.get(&id) else { continue };
            let key = if is_suspected { key_of(entry.lane, &entry.event) } else { None };
            let waits = self.suspects.contains(&id) || key.as_ref().is_some_and(|key| stopped.contains(key));
            if waits {
                stopped.extend(key);
            }
            if waits || !owned(entry.lane) {
                self.ready.push(id);
            } else {
                events.extend(self.send(id, now));
            }
        }
        if events.is_empty() && is_suspected && self.sent == 0 {
            return self.take_suspect(now, &owned);
        }
        events
    }

    /// Suspects that may be sent: the first of their keys, of lanes that are ours.
    fn ready_suspects(&self, owned: impl Fn(LaneId) -> bool) -> impl Iterator<Item = &EventId> {
        let mut met = HashSet::new();
        self.ready.iter().filter(move |id| {
            let Some(entry) = self.entries.get(id) else { return false };
            let is_first = key_of(entry.lane, &entry.event).is_none_or(|key| met.insert(key));
            is_first && owned(entry.lane) && self.suspects.contains(id)
        })
    }

    /// The suspect that waited longest, if one's pause is over.
    fn take_suspect(&mut self, now: Instant, owned: impl Fn(LaneId) -> bool) -> Vec<Arc<OutboxEvent>> {
        let next = self.ready_suspects(owned).min_by_key(|id| {
            // one that can show whose fault it was comes first
            (!self.suspects.is_due(id, now), self.suspects.not_before(std::iter::once(*id)))
        });
        let next = next.copied().filter(|id| self.suspects.not_before(std::iter::once(id)) <= Some(now));
        let Some(id) = next else { return Vec::new() };
        self.ready.retain(|ready| *ready != id);
        self.alone = Some(id);
        self.send(id, now).into_iter().collect()
    }

    /// When a suspect may be sent, if nothing else can.
    pub(crate) fn next_suspect(&self) -> Option<Instant> {
        if self.suspects.is_empty() { None } else { self.suspects.not_before(self.ready.iter()) }
    }

    fn send(&mut self, id: EventId, now: Instant) -> Option<Arc<OutboxEvent>> {
        let entry = self.entries.get_mut(&id)?;
        entry.state = State::Sent(now);
        self.sent += 1;
        match self.topics.get_mut(entry.event.topic()) {
            Some(topic) => topic.sent += 1,
            None => {
                self.topics.insert(entry.event.topic().to_owned(), Topic { sent: 1, heard_at: now });
            }
        }
        Some(entry.event.clone())
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes in a report.
    ///
    /// # Errors
    /// When the broker cannot be used: the caller purges it and calls [`Flight::reset`].
    pub(crate) fn report(&mut self, report: DeliveryReport) -> Result<Option<Noted>, Trouble> {
        let Some(entry) = self.entries.get_mut(&report.id) else { return Ok(None) };
        let State::Sent(sent_at) = entry.state else { return Ok(None) };
        let was_alone = self.alone == Some(report.id);
        let mut needs_purge = false;
        let verdict = match self.judge.judge(&entry.event, report.result) {
            ReportVerdict::Unavailable(error) => {
                // what comes behind the first has failed with it
                let is_first = !std::mem::replace(&mut self.has_trouble, true);
                let is_stopped = Mark::of(&error) == Some(Mark::Stopped);
                let fault = match is_first && !is_stopped {
                    true => self.suspects.failed(report.id, was_alone, Instant::now()),
                    false => Fault::Broker,
                };
                if fault != Fault::Event {
                    // stays "sent": reset forgets it, and the next fetch brings it back
                    return Err(Trouble { error, is_unclear: fault == Fault::Unclear });
                }
                needs_purge = true;
                ReportVerdict::Failed(self.judge.own(&entry.event, &error))
            }
            published @ ReportVerdict::Done(Outcome::Published) => {
                self.suspects.acknowledged(&report.id);
                published
            }
            other => {
                self.suspects.acquit(&report.id);
                other
            }
        };
        let is_put_off = matches!(verdict, ReportVerdict::PutOff(_));
        if was_alone {
            self.alone = None;
        }
        entry.state = State::Reported;
        self.sent -= 1;
        if let Some(topic) = self.topics.get_mut(entry.event.topic()) {
            (topic.sent, topic.heard_at) = (topic.sent - 1, Instant::now());
            if topic.sent == 0 {
                self.topics.remove(entry.event.topic());
            }
        }
        self.outgoing_since.get_or_insert_with(Instant::now);
        let event = entry.event.clone();
        let (lane, seq, was_head, due) = (entry.lane, entry.seq, entry.is_held_head, entry.due);
        let (mut held, mut recorded) = (None, None);
        let is_done = matches!(verdict, ReportVerdict::Done(_));
        let key = match is_done && !was_head && !self.one_per_key {
            true => None,
            false => key_of(lane, &event),
        };
        let outcome = match verdict {
            ReportVerdict::Done(outcome) => {
                if outcome == Outcome::Published && self.rests.acknowledged(event.topic()) {
                    tracing::info!(topic = event.topic(), "topic available again");
                }
                self.outgoing.completed.push(report.id);
                self.release_behind(key, was_head);
                outcome
            }
            ReportVerdict::Failed(failure) | ReportVerdict::PutOff(failure) => {
                let is_refused = failure.attempt == Attempt::Free && !is_put_off;
                // logged once per change
                if is_refused && self.rests.refused(event.topic(), &failure, Instant::now()) {
                    tracing::warn!(
                        topic = event.topic(),
                        error = failure.error(),
                        "topic unavailable, its keys wait"
                    );
                }
                held = held_reason(&event, &failure, is_put_off);
                recorded = Some(EventFailure::new(report.id, &failure));
                self.record_failure(&event, key, seq, was_head, failure)
            }
            ReportVerdict::Unavailable(_) => unreachable!("returned above"),
        };
        let (answered_at, due) = (Instant::now(), Some(due));
        let answer = Answer { event, outcome, sent_at, answered_at, due, held };
        Ok(Some(Noted { answer, failure: recorded, needs_purge }))
    }

    /// Forgets everything that has no outcome yet, after the publisher was purged: the table brings it back. `fetch` is the
    /// number of the latest fetch that has begun; what it finds is not admitted any more.
    pub(crate) fn reset(&mut self, fetch: u64) {
        (self.alone, self.has_trouble) = (None, false);
        self.stale_fetches = fetch;
        self.ready.clear();
        self.queues.clear();
        self.topics.clear();
        self.sent = 0;
        let unreported: Vec<EventId> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.state != State::Reported)
            .map(|(id, _)| *id)
            .collect();
        for id in unreported {
            if let Some(entry) = self.entries.get(&id) {
                lower(&mut self.bounds, fetch, entry);
            }
            self.forget(id);
        }
    }

    /// Forgets what was not handed to the publisher yet: another relay will send it. Nothing is fetched any more.
    pub(crate) fn forget_unsent(&mut self) {
        self.ready.clear();
        self.queues.clear();
        let unsent: Vec<EventId> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.state == State::Waiting)
            .map(|(id, _)| *id)
            .collect();
        for id in unsent {
            self.forget(id);
        }
    }

    /// Forgets a lane that another relay has now. Only after [`Flight::reset`].
    pub(crate) fn forget_lane(&mut self, lane: LaneId) {
        let ids: Vec<EventId> =
            self.entries.iter().filter(|(_, entry)| entry.lane == lane).map(|(id, _)| *id).collect();
        for id in &ids {
            self.forget(*id);
        }
        let entries = &self.entries;
        let kept = |id: &EventId| entries.contains_key(id);
        self.outgoing.completed.retain(kept);
        self.outgoing.followers.retain(kept);
        self.outgoing.holds.retain(|hold| kept(&hold.id));
        self.outgoing.release.retain(|key| key.lane != lane);
        self.failed.retain(|key, _| key.lane != lane);
        self.blocked.retain(|key, _| key.lane != lane);
    }

    fn forget(&mut self, id: EventId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.bytes -= entry.event.payload().as_str().len();
        if let Some(count) = self.per_lane.get_mut(&entry.lane) {
            *count -= 1;
        }
    }
}

/// Lets an event be read again that is forgotten. A held head comes back by itself.
fn lower(bounds: &mut Bounds, fetch: u64, entry: &Entry) {
    if !entry.is_held_head {
        bounds.lower(fetch, entry.lane, entry.seq);
    }
}

/// The key of an event within its lane; an event without one keeps no order.
fn key_of(lane: LaneId, event: &OutboxEvent) -> Option<KeyRef> {
    let partition_key = event.partition_key()?.to_owned();
    Some(KeyRef { lane, topic: event.topic().to_owned(), partition_key })
}

fn is_key(key: &KeyRef, entry: &Entry) -> bool {
    entry.lane == key.lane
        && entry.event.topic() == key.topic
        && entry.event.partition_key() == Some(&key.partition_key)
}
