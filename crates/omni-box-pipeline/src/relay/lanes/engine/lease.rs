//! Leases: renewed, announced, given back, lost.

use std::time::Duration;

use omni_box_core::{LaneId, LeaseRequest, OutboxRepository};
use tokio::time::Instant;

use super::{Broker, Engine, LeaseAnswer, call, lanes};
use crate::deadline::within;

impl<S: OutboxRepository> Engine<S> {
    pub(super) fn start_lease(&mut self, now: Instant) -> Option<Instant> {
        if self.leasing.is_some() {
            return None;
        }
        // the next heartbeat waits for whatever is called here
        let (ttl, heartbeat) = (self.settings.lease_ttl, self.settings.heartbeat());
        // while the broker is tried, leases are needed
        let gave_up = !matches!(self.broker, Broker::Open)
            && self.broker_gate.closed_for().is_some_and(|closed| closed > ttl);
        let has_started =
            !matches!(self.broker, Broker::Checking | Broker::Closed(_)) || !self.owned.is_empty();
        if gave_up {
            if self.owned.is_empty()
                || self.settling.is_some()
                || !matches!(self.broker, Broker::Closed(_) | Broker::Checking)
            {
                return None;
            }
            let ready = self.ready(call::LEAVE, now);
            if now < ready {
                return Some(ready);
            }
            tracing::warn!(worker_id = %self.settings.worker_id, "broker stays unavailable, giving leases back");
            // nothing more is read or sent by them, whenever the broker comes back
            self.owned.expire();
            let (store, owner) = (self.store.clone(), self.owner);
            self.leasing = Some(Box::pin(async move {
                LeaseAnswer::Left { result: within(ttl, lanes(&store).leave(owner)).await }
            }));
            return None;
        }
        if !has_started {
            return None;
        }
        let mut due = self.lease_due.max(self.ready(call::LEASE, now));
        if now >= due {
            self.start_renewal(now);
            return None;
        }
        if self.stopping.is_some() || !self.owned.is_valid(now) {
            return Some(due);
        }
        if let Some(activity) = self.polling.announcement(now) {
            let ready = self.ready(call::ANNOUNCE, now);
            if now >= ready {
                let (store, owner, leases) = (self.store.clone(), self.owner, self.owned.leases());
                self.leasing = Some(Box::pin(async move {
                    let result = within(heartbeat, lanes(&store).announce(owner, &leases, activity)).await;
                    LeaseAnswer::Announced { activity, result }
                }));
                return None;
            }
            due = due.min(ready);
        }
        // a fetch that is under way may still bring events of a lane that drains
        if self.fetching.is_none() {
            let drained = self.owned.drained(|lane| self.flight.of_lane(lane));
            let ready = self.ready(call::RELEASE, now);
            if !drained.is_empty() && now < ready {
                due = due.min(ready);
            } else if !drained.is_empty() {
                let (store, owner) = (self.store.clone(), self.owner);
                self.leasing = Some(Box::pin(async move {
                    let result = within(heartbeat, lanes(&store).release(owner, &drained)).await;
                    LeaseAnswer::Released { leases: drained, result }
                }));
                return None;
            }
        }
        Some(due)
    }

    /// When a call may be made, as far as the database is concerned.
    fn ready(&self, call: &'static str, now: Instant) -> Instant {
        self.database_gate.retry_at(call).unwrap_or(now)
    }

    /// How long a heartbeat may take. One whose answer is lost leaves time for another before the lease ends. That one may take all the time
    /// that is left: a slow database is not asked the same again and again.
    fn renewal_deadline(&self, now: Instant) -> Duration {
        let heartbeat = self.settings.heartbeat();
        match self.owned.valid_for(now) {
            None => self.settings.lease_ttl,
            Some(left) if self.database_gate.retry_at(call::LEASE).is_some() => left.max(heartbeat),
            Some(_) => heartbeat,
        }
    }

    fn start_renewal(&mut self, now: Instant) {
        self.lease_due = now + self.settings.heartbeat();
        self.lease_asked = now;
        let request = LeaseRequest {
            owner: self.owner,
            worker: self.settings.worker_id.clone(),
            ttl: self.settings.lease_ttl,
        };
        let (store, deadline) = (self.store.clone(), self.renewal_deadline(now));
        self.leasing = Some(Box::pin(async move {
            let share = within(deadline, lanes(&store).lease(&request)).await;
            LeaseAnswer::Renewed { asked: now, share }
        }));
    }

    pub(super) fn take_lease(&mut self, answer: LeaseAnswer, now: Instant) {
        let (call, result) = match answer {
            LeaseAnswer::Renewed { asked, share } => (
                call::LEASE,
                share.map(|share| {
                    let change = self.owned.renewed(&share, asked, self.settings.lease_ttl);
                    if change.gained > 0 {
                        tracing::info!(
                            worker_id = %self.settings.worker_id,
                            lanes = share.leases.len(),
                            fair_share = share.fair_share,
                            "lanes taken"
                        );
                        self.polling.leases_changed(now);
                    }
                    self.lose(change.lost);
                }),
            ),
            LeaseAnswer::Released { leases, result } => (
                call::RELEASE,
                result.map(|()| {
                    for lease in leases {
                        self.owned.remove(lease.lane);
                        self.flight.read_lane_anew(self.fetches, lease.lane);
                    }
                }),
            ),
            LeaseAnswer::Announced { activity, result } => {
                (call::ANNOUNCE, result.map(|()| self.polling.announced(activity, now)))
            }
            LeaseAnswer::Left { result } => (
                call::LEAVE,
                result.map(|()| {
                    for lease in self.owned.leases() {
                        self.flight.forget_lane(lease.lane);
                        self.flight.read_lane_anew(self.fetches, lease.lane);
                    }
                    self.owned.clear();
                    self.lease_due = now;
                }),
            ),
        };
        match result {
            Ok(()) => self.database_gate.open_for(call),
            Err(error) => {
                self.lease_due = self.lease_due.min(now);
                self.database_failed(call, error);
            }
        }
    }

    pub(super) fn lose(&mut self, lanes: Vec<LaneId>) {
        if lanes.is_empty() {
            return;
        }
        tracing::warn!(worker_id = %self.settings.worker_id, ?lanes, "leases lost to another relay");
        for lane in &lanes {
            self.owned.remove(*lane);
            self.flight.read_lane_anew(self.fetches, *lane);
            self.observer.lease_lost();
        }
        self.lost.extend(lanes);
        if matches!(self.broker, Broker::Open) {
            self.abandon(None);
        }
    }
}
