//! Batches on their way: fetched, submitted, settled.

use std::collections::HashSet;

use omni_box_core::{LaneFetch, LaneRead, Lease, OutboxRepository, Settled};
use tokio::time::Instant;

use super::{BATCHES_IN_FLIGHT, Broker, Engine, Fetched, SETTLE_LINGER, Written, call, lanes};
use crate::deadline::within;

impl<S: OutboxRepository> Engine<S> {
    pub(super) fn start_fetch(&mut self, now: Instant) -> Option<Instant> {
        let capacity =
            (self.settings.batch_size.get() as usize * BATCHES_IN_FLIGHT).saturating_sub(self.flight.len());
        let has_room = capacity * 2 >= self.settings.batch_size.get() as usize
            && (self.flight.bytes() as u64) < self.settings.max_batch_bytes * BATCHES_IN_FLIGHT as u64;
        let is_open =
            matches!(self.broker, Broker::Open) && self.stopping.is_none() && self.fetching.is_none();
        if !is_open || !has_room || self.owned.is_empty() || !self.owned.is_valid(now) {
            return None;
        }
        let due = self.polling.next().max(self.database_gate.retry_at(call::FETCH).unwrap_or(now));
        if now < due {
            return Some(due);
        }
        let limit = self.settings.batch_size.get().min(capacity as u32);
        let mut plan = self.owned.plan(limit, |lane| self.flight.above(lane));
        if plan.is_empty() {
            return None;
        }
        if now >= self.sweep_due {
            // one lane after the other from its beginning, for what was changed by hand
            self.sweep_due = now + self.settings.heartbeat();
            self.sweeps += 1;
            let swept = self.sweeps % plan.len();
            plan[swept].above = LaneRead::ALL;
        }
        self.fetches += 1;
        let number = self.fetches;
        let (store, in_flight, resting) = (self.store.clone(), self.flight.ids(), self.flight.resting(now));
        let (max_bytes, deadline) = (self.settings.max_batch_bytes, self.settings.batch_deadline());
        self.fetching = Some(Box::pin(async move {
            let found = within(deadline, lanes(&store).fetch(&plan, &in_flight, &resting, max_bytes)).await;
            Fetched { number, plan, found }
        }));
        None
    }

    pub(super) fn take_fetched(&mut self, fetched: Fetched, now: Instant) {
        let Fetched { number, plan, found } = fetched;
        let LaneFetch { mut events, mut bounds, quiet_for } = match found {
            Ok(found) => found,
            Err(error) => return self.database_failed(call::FETCH, error),
        };
        self.database_gate.open_for(call::FETCH);
        let may_have_more = self.owned.fetched(&plan, &events);
        self.polling.fetched_with(events.len(), may_have_more, quiet_for, now);
        if !matches!(self.broker, Broker::Open) || self.stopping.is_some() {
            return;
        }
        if events.is_empty() && self.flight.len() == 0 && !self.flight.is_stale(number) {
            // nothing is left that the broker could refuse
            self.broker_gate.open();
            self.last_progress = Some(now);
            self.observer.idle();
        }
        events.retain(|event| self.owned.lease(event.lane).is_some());
        self.observer.taken(events.len());
        if !events.is_empty() {
            self.flight.admit(number, events);
        }
        bounds.retain(|lane, _| self.owned.lease(*lane).is_some());
        self.flight.read_to(number, &bounds);
    }

    pub(super) fn start_submit(&mut self, now: Instant) -> Option<Instant> {
        let can_send = matches!(self.broker, Broker::Open)
            && self.stopping.is_none()
            && self.submitting.is_none()
            && self.stall.is_none();
        if !can_send || !self.flight.has_ready() {
            return None;
        }
        let owned = &self.owned;
        let events = self.flight.take_ready(now, |lane| owned.may_send(lane, now));
        if !events.is_empty() {
            let (publisher, reporter) = (self.publisher.clone(), self.reporter.clone());
            self.submitting = Some(Box::pin(async move { publisher.submit(events, &reporter).await }));
            return None;
        }
        // one that waits to be sent alone; what is sent now reports first
        self.flight.next_suspect().filter(|time| *time > now)
    }

    pub(super) fn start_settle(&mut self, now: Instant) -> Option<Instant> {
        if self.settling.is_some() {
            return None;
        }
        if self.unwritten.is_some() || self.flight.outgoing() > 0 {
            let is_idle = self.flight.sent() == 0 && !self.flight.has_ready();
            let is_many = self.flight.outgoing() * 2 >= self.settings.batch_size.get() as usize;
            let retry = self.database_gate.retry_at(call::SETTLE).unwrap_or(now);
            let due = match self.flight.outgoing_since() {
                _ if self.unwritten.is_some() || is_idle || is_many => retry,
                Some(since) => retry.max(since + SETTLE_LINGER),
                None => return None,
            };
            if now < due {
                return Some(due);
            }
            let (settlement, lane_ids) =
                self.unwritten.take().unwrap_or_else(|| self.flight.take_settlement());
            if settlement.is_empty() {
                return None;
            }
            let leases: Vec<Lease> = lane_ids
                .iter()
                .copied()
                .chain(settlement.release.iter().map(|key| key.lane))
                .collect::<HashSet<_>>()
                .into_iter()
                .filter_map(|lane| self.owned.lease(lane))
                .collect();
            let (store, owner) = (self.store.clone(), self.owner);
            let deadline = self.settings.batch_deadline();
            self.settling = Some(Box::pin(async move {
                let result = within(deadline, lanes(&store).settle(owner, &leases, &settlement)).await;
                Written { settlement, lanes: lane_ids, result }
            }));
        }
        None
    }

    pub(super) fn take_written(&mut self, written: Written, now: Instant) {
        let Written { settlement, lanes, result } = written;
        match result {
            Ok(Settled { lost, unreleased }) => {
                self.database_gate.open_for(call::SETTLE);
                self.last_progress = Some(now);
                self.flight.settled(&settlement, self.fetches);
                self.flight.release_again(unreleased, now);
                self.lose(lost);
                if self.flight.sent() == 0 {
                    self.polling.freed(now);
                }
            }
            Err(error) => {
                self.unwritten = Some((settlement, lanes));
                self.database_failed(call::SETTLE, error);
            }
        }
    }
}
