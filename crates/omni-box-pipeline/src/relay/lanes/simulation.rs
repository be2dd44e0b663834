//! Runs the books against a model of the table and of a broker, with random delays, failures, purges and lost answers. Judges the order of
//! first appearances.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    Attempt, DeliveryReport, Error, ErrorKind, Event, EventId, LaneEvent, LaneId, LaneRead, LaneSettlement,
    NewOutboxEvent, OmniBoxDomainService, OutboxEvent, Retry, RetryPolicy,
};
use tokio::time::Instant;

use super::flight::Flight;
use crate::outcome::Outcome;
use crate::relay::verdict::{Judge, RejectionPolicy};

const LANE: LaneId = LaneId::new(0);

#[derive(Clone)]
struct Row {
    event: OutboxEvent,
    pending: bool,
    is_held: bool,
    is_head: bool,
    /// It was released: a fetch returns it wherever it lies.
    is_released: bool,
    due_at: u64,
    enqueued_at: u64,
    committed_at: u64,
}

/// The table as the contract of `OrderedLanes` has it.
#[derive(Default)]
struct Table {
    rows: BTreeMap<i64, Row>,
    next_seq: i64,
    clock: u64,
    /// Owners read from here.
    read_to: i64,
}

impl Table {
    /// Takes a `seq` now, and commits after `delay` steps.
    fn enqueue(&mut self, key: usize, delay: u64) -> EventId {
        let event =
            NewOutboxEvent::new("t", "topic", &serde_json::json!({"k": key})).partition_key(key.to_string());
        let event = OmniBoxDomainService::default().create_outbox_event(event).unwrap();
        let id = event.id();
        self.next_seq += 1;
        let (enqueued_at, committed_at) = (self.clock, self.clock + delay);
        let row = Row {
            event,
            pending: true,
            is_held: false,
            is_head: false,
            is_released: false,
            due_at: 0,
            enqueued_at,
            committed_at,
        };
        self.rows.insert(self.next_seq, row);
        id
    }

    /// The highest `seq` at or below which nothing can appear any more.
    fn horizon(&self) -> i64 {
        let open = self.rows.iter().find(|(_, row)| row.committed_at > self.clock);
        open.map_or(self.next_seq, |(seq, _)| seq - 1)
    }

    /// Notes how far the lane is done, at a heartbeat.
    fn move_on(&mut self) {
        let is_due =
            |row: &Row| row.pending && !row.is_held && !row.is_released && row.committed_at <= self.clock;
        let first = self.rows.range(self.read_to + 1..).find(|(_, row)| is_due(row));
        let done = first.map_or(i64::MAX, |(seq, _)| seq - 1);
        self.read_to = self.read_to.max(done.min(self.horizon()));
    }

    /// Events, and how far the lane has been read.
    fn fetch(&self, in_flight: &[EventId], limit: usize, above: i64) -> (Vec<LaneEvent>, i64) {
        let events = self.due(in_flight, limit, above);
        let last = events.last().filter(|_| events.len() == limit).map_or(i64::MAX, |last| last.seq);
        let bound = self.horizon().min(last);
        (events, bound)
    }

    fn due(&self, in_flight: &[EventId], limit: usize, above: i64) -> Vec<LaneEvent> {
        let above = above.max(self.read_to);
        let in_flight: HashSet<_> = in_flight.iter().copied().collect();
        let held: HashSet<_> = self
            .rows
            .values()
            .filter(|row| row.pending && row.is_held)
            .map(|row| row.event.partition_key())
            .collect();
        let due = |row: &Row| if row.is_head { row.due_at <= self.clock } else { !row.is_held };
        self.rows
            .iter()
            .filter(|(seq, row)| {
                (**seq > above || row.is_head || row.is_released)
                    && row.committed_at <= self.clock
                    && row.pending
                    && due(row)
                    && !in_flight.contains(&row.event.id())
            })
            .take(limit)
            .map(|(seq, row)| LaneEvent {
                event: row.event.clone(),
                lane: LANE,
                seq: *seq,
                is_held_head: row.is_head,
                is_behind_head: !row.is_head && held.contains(&row.event.partition_key()),
                read_at: row.event.lifecycle().created_at(),
            })
            .collect()
    }

    fn row(&mut self, id: EventId) -> &mut Row {
        self.rows.values_mut().find(|row| row.event.id() == id).expect("row exists")
    }

    fn settle(&mut self, settlement: &LaneSettlement) {
        let clock = self.clock;
        for id in &settlement.completed {
            let row = self.row(*id);
            (row.pending, row.is_held, row.is_head) = (false, false, false);
        }
        for hold in &settlement.holds {
            let row = self.row(hold.id);
            if hold.failure.retry == Retry::Never {
                (row.pending, row.is_held, row.is_head) = (false, false, false);
            } else {
                (row.is_held, row.is_head, row.due_at) = (true, true, clock + 3);
            }
        }
        for id in &settlement.followers {
            let key = self.row(*id).event.partition_key().map(str::to_owned);
            let has_head = self
                .rows
                .values()
                .any(|row| row.pending && row.is_head && row.event.partition_key() == key.as_deref());
            let row = self.row(*id);
            if has_head && !row.is_head {
                row.is_held = true;
            }
        }
        for key in &settlement.release {
            self.release(&key.partition_key);
        }
    }

    fn release(&mut self, key: &str) {
        for row in self.rows.values_mut() {
            if row.event.partition_key() == Some(key) && row.is_held && !row.is_head {
                (row.is_held, row.is_released) = (false, true);
            }
        }
    }

    /// What a new owner begins with.
    fn release_orphans(&mut self) {
        let key = |row: &Row| row.event.partition_key().map(str::to_owned);
        let heads: HashSet<_> =
            self.rows.values().filter(|row| row.pending && row.is_head).map(key).collect();
        let held: HashSet<_> =
            self.rows.values().filter(|row| row.is_held && !row.is_head).map(key).collect();
        for key in held.difference(&heads).flatten() {
            self.release(key);
        }
    }
}

fn books(one_per_key: bool) -> Flight {
    Flight::new(Judge { retry: RetryPolicy::default(), rejection: RejectionPolicy::SkipEvent }, one_per_key)
}

struct World {
    random: fastrand::Rng,
    table: Table,
    flight: Flight,
    one_per_key: bool,
    begun: Instant,
    fetches: u64,
    fetching: Option<(u64, Vec<LaneEvent>, i64)>,
    /// Fetches that left out what had been read.
    bounded: usize,
    /// Owners that began behind the beginning.
    resumed: usize,
    settling: Option<LaneSettlement>,
    broker: VecDeque<Arc<OutboxEvent>>,
    topic: Vec<Arc<OutboxEvent>>,
    rejected: HashSet<EventId>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let one_per_key = random.bool();
        Self {
            random,
            table: Table::default(),
            flight: books(one_per_key),
            one_per_key,
            begun: Instant::now(),
            fetches: 0,
            fetching: None,
            bounded: 0,
            resumed: 0,
            settling: None,
            broker: VecDeque::new(),
            topic: Vec::new(),
            rejected: HashSet::new(),
        }
    }

    fn step(&mut self, is_calm: bool) {
        self.table.clock += 1;
        if self.random.u8(0..10) == 0 {
            self.table.move_on();
        }
        match self.random.u8(0..6) {
            0 => match self.fetching.take() {
                Some((number, events, bound)) => {
                    self.flight.admit(number, events);
                    self.flight.read_to(number, &BTreeMap::from([(LANE, bound)]));
                }
                None => {
                    self.fetches += 1;
                    let above = self.flight.above(LANE);
                    self.bounded += usize::from(above > 0);
                    let (events, bound) = self.table.fetch(&self.flight.ids(), 5, above);
                    self.fetching = Some((self.fetches, events, bound));
                }
            },
            1 => {
                // a step takes a minute, longer than a suspect waits
                let now = self.begun + Duration::from_secs(60 * self.table.clock);
                let ready = self.flight.take_ready(now, |_| true);
                self.broker.extend(ready);
            }
            2 | 3 => self.deliver(is_calm),
            4 => match self.settling.take() {
                Some(settlement) => {
                    self.table.settle(&settlement);
                    if !is_calm && self.random.u8(0..10) == 0 {
                        // the answer was lost: it is written again
                        self.table.settle(&settlement);
                    }
                    self.flight.settled(&settlement, self.fetches);
                }
                None => {
                    let (settlement, _) = self.flight.take_settlement();
                    self.settling = (!settlement.is_empty()).then_some(settlement);
                }
            },
            _ if !is_calm && self.random.u8(0..24) == 0 => {
                // the process ends: some of what is in flight arrives, nothing of it is marked, and another owner begins
                let arrived = self.random.usize(0..=self.broker.len());
                self.topic.extend(std::mem::take(&mut self.broker).into_iter().take(arrived));
                (self.fetching, self.settling) = (None, None);
                self.flight = books(self.one_per_key);
                self.table.release_orphans();
                self.resumed += usize::from(self.table.read_to > 0);
            }
            _ if !is_calm && self.random.u8(0..8) == 0 => {
                // purge: some of what is in flight arrives all the same, in order, without a report
                let arrived = self.random.usize(0..=self.broker.len());
                let mut purged = std::mem::take(&mut self.broker).into_iter();
                self.topic.extend(purged.by_ref().take(arrived));
                if let Some(event) = purged.next().filter(|_| self.random.bool()) {
                    self.refuse(&event);
                }
                self.flight.reset(self.fetches);
            }
            _ => {}
        }
    }

    fn deliver(&mut self, is_calm: bool) {
        let Some(event) = self.broker.pop_front() else { return };
        let kind = match if is_calm { 9 } else { self.random.u8(0..10) } {
            0 => Some(ErrorKind::TopicUnavailable),
            1 if self.one_per_key => Some(ErrorKind::Handler),
            2 => Some(ErrorKind::TooLarge),
            _ => None,
        };
        let Some(kind) = kind else {
            self.topic.push(event.clone());
            return self.report(&event, Ok(()));
        };
        self.report(&event, Err(Error::new(kind, "planned")));
        if kind == ErrorKind::TooLarge {
            self.rejected.insert(event.id());
        } else {
            // an ordered publisher fails what stands behind it on the key too
            let behind: Vec<_> = self
                .broker
                .iter()
                .filter(|other| other.partition_key() == event.partition_key())
                .cloned()
                .collect();
            self.broker.retain(|other| other.partition_key() != event.partition_key());
            for other in behind {
                self.report(&other, Err(Error::new(ErrorKind::TopicUnavailable, "planned")));
            }
        }
    }

    /// An event meets an error of the broker, which may turn out to be its own.
    fn refuse(&mut self, event: &OutboxEvent) {
        let result = Err(Error::new(ErrorKind::Unavailable, "planned"));
        let report = self.flight.report(DeliveryReport::new(event.id(), result));
        if let Ok(Some(noted)) = report
            && noted.answer.outcome == Outcome::Failed
        {
            self.rejected.insert(event.id());
        }
    }

    fn report(&mut self, event: &OutboxEvent, result: Result<(), Error>) {
        self.flight.report(DeliveryReport::new(event.id(), result)).unwrap();
    }

    /// Everything arrived, but for what the broker rejected for good; and what was enqueued after another's commit appears
    /// first behind it.
    fn check(&self, seed: u64) {
        let mut first: HashMap<EventId, usize> = HashMap::new();
        for (place, event) in self.topic.iter().enumerate() {
            first.entry(event.id()).or_insert(place);
        }
        let arrived: Vec<(&Row, usize)> = self
            .table
            .rows
            .values()
            .inspect(|row| assert!(!row.pending, "seed {seed}: an event is still pending"))
            .filter(|row| !self.rejected.contains(&row.event.id()))
            .map(|row| {
                (row, *first.get(&row.event.id()).unwrap_or_else(|| panic!("seed {seed}: an event is lost")))
            })
            .collect();
        for (earlier, place) in &arrived {
            for (later, later_place) in &arrived {
                let is_promised = earlier.event.partition_key() == later.event.partition_key()
                    && later.enqueued_at > earlier.committed_at;
                assert!(!is_promised || place < later_place, "seed {seed}: order is broken");
            }
        }
    }
}

#[test]
fn every_event_arrives_in_the_order_of_its_key_whatever_happens() {
    let (mut bounded, mut resumed) = (0, 0);
    for seed in 0..400 {
        let mut world = World::new(seed);
        for _ in 0..300 {
            if world.random.u8(0..4) == 0 {
                let key = world.random.usize(0..4);
                let delay = if world.random.bool() { 0 } else { world.random.u64(0..40) };
                world.table.enqueue(key, delay);
            }
            world.step(false);
        }
        for _ in 0..4_000 {
            world.step(true);
            if world.table.rows.values().all(|row| !row.pending) && world.flight.len() == 0 {
                break;
            }
        }
        world.check(seed);
        bounded += world.bounded;
        resumed += world.resumed;
    }
    assert!(resumed > 100, "only {resumed} owners began where others had ended");
    assert!(bounded > 1_000, "only {bounded} fetches had a bound");
}

#[test]
fn a_topic_that_is_down_costs_no_attempt() {
    let mut table = Table::default();
    let id = table.enqueue(0, 0);
    let judge = Judge { retry: RetryPolicy::default(), rejection: RejectionPolicy::SkipEvent };
    let mut flight = Flight::new(judge, false);
    flight.admit(1, table.due(&[], 10, LaneRead::ALL));
    assert_eq!(flight.take_ready(Instant::now(), |_| true).len(), 1);
    flight.report(DeliveryReport::new(id, Err(Error::new(ErrorKind::TopicUnavailable, "missing")))).unwrap();
    let (settlement, _) = flight.take_settlement();
    assert_eq!(settlement.holds.len(), 1);
    assert_eq!(settlement.holds[0].failure.attempt, Attempt::Free);
}
