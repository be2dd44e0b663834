//! The broker: asked, purged, waited for.

use std::collections::HashSet;
use std::time::Duration;

use omni_box_core::{DeliveryReport, Error, ErrorKind, OutboxRepository, Reporter, Result};
use tokio::time::Instant;

use super::super::flight::Trouble;
use super::{Broker, Engine, Stall};
use crate::deadline::{FAREWELL, within};
use crate::outcome::Outcome;
use crate::relay::verdict::ends_relay;

/// How long events that go on are waited for, before everything is given up for those that stand still.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

impl<S: OutboxRepository> Engine<S> {
    pub(super) fn start_broker(&mut self, now: Instant) -> Option<Instant> {
        match self.broker {
            Broker::Closed(retry) if now >= retry && self.stopping.is_none() => {
                let publisher = self.publisher.clone();
                self.broker = Broker::Checking;
                self.recovering = Some(Box::pin(async move { publisher.check().await }));
                None
            }
            Broker::Closed(retry) => self.stopping.is_none().then_some(retry),
            Broker::Open => self.watch_flight(now),
            _ => None,
        }
    }

    fn close_broker(&mut self, error: &Error, now: Instant) {
        if matches!(self.broker, Broker::Open) {
            let retry = now + self.broker_gate.close(error);
            self.abandon(Some(retry));
        }
    }

    /// Gives up everything in flight: what was not acknowledged is read again, from the first, after `retry`.
    pub(super) fn abandon(&mut self, retry: Option<Instant>) {
        self.broker = Broker::Abandoning(retry);
        self.stall = None;
        self.submitting = None;
        let publisher = self.publisher.clone();
        self.recovering = Some(Box::pin(async move {
            publisher.purge().await;
            Ok(())
        }));
    }

    /// Looks for what stands still for as long as a lease lives. Those are topics of which nothing was reported, and events that keep a lane
    /// from its next owner. Everything in flight is given up then; so what goes on is waited for first, and nothing of it is sent twice.
    fn watch_flight(&mut self, now: Instant) -> Option<Instant> {
        if self.flight.sent() == 0 {
            self.stall = None;
            return None;
        }
        if self.stall.is_none() {
            let ttl = self.settings.lease_ttl;
            let silent = self.flight.silent_since().map(|since| since + ttl);
            let draining = self.owned.draining_since().map(|since| since + ttl);
            let mut topics = HashSet::new();
            if silent.is_some_and(|due| due <= now) {
                topics = self.flight.silent_topics(now - ttl);
            } else if draining.is_none_or(|due| now < due) {
                return silent.into_iter().chain(draining).min();
            } else if !self.flight.has_sent(|lane| self.owned.is_draining(lane, now - ttl)) {
                return silent;
            }
            self.stall = Some(Stall { since: now, topics, until: now + LAST_ANSWERS });
        }
        let stall = self.stall.as_ref()?;
        if now < stall.until && self.flight.sent_beside(&stall.topics) > 0 {
            return Some(stall.until);
        }
        if stall.topics.is_empty() {
            tracing::warn!(worker_id = %self.settings.worker_id, "lanes do not drain, what is in flight is given up");
            self.abandon(None);
        } else {
            let silent = self.flight.silent_topics(now - self.settings.lease_ttl);
            if silent.is_disjoint(&stall.topics) {
                // the broker has answered meanwhile
                self.stall = None;
                return Some(now);
            }
            self.give_up_stalled();
        }
        None
    }

    /// Gives up everything in flight, as topics take nothing, once it is known whose fault that is.
    fn give_up_stalled(&mut self) {
        self.broker = Broker::Stalled;
        self.submitting = None;
        let (publisher, ttl) = (self.publisher.clone(), self.settings.lease_ttl);
        self.recovering = Some(Box::pin(async move {
            let answer = within(ttl, publisher.check()).await;
            publisher.purge().await;
            answer
        }));
    }

    /// The broker is well, so the topics are not: what they have had for long is held, as if they were missing.
    fn blame_topics(&mut self, stall: &Stall) {
        let ttl = self.settings.lease_ttl;
        for id in self.flight.sent_by(stall.since - ttl / 2, &stall.topics) {
            let text = format!("the broker answers, but the topic acknowledged nothing for {ttl:?}");
            self.note(DeliveryReport::new(id, Err(Error::new(ErrorKind::TopicUnavailable, text))));
        }
    }

    fn forget_unreported(&mut self) {
        self.flight.reset(self.fetches);
        for lane in std::mem::take(&mut self.lost) {
            self.flight.forget_lane(lane);
        }
    }

    pub(super) fn take_broker(&mut self, result: Result<()>, now: Instant) {
        match (self.broker, result) {
            (Broker::Abandoning(retry), _) => {
                self.take_last_reports();
                self.forget_unreported();
                self.broker = retry.map_or(Broker::Open, Broker::Closed);
                self.polling.woken(now);
            }
            (Broker::Stalled, answer) => {
                self.take_last_reports();
                if let (Some(stall), Ok(())) = (self.stall.take(), &answer) {
                    self.blame_topics(&stall);
                }
                self.forget_unreported();
                self.take_answer(answer, now);
            }
            (_, answer) => self.take_answer(answer, now),
        }
    }

    fn take_answer(&mut self, answer: Result<()>, now: Instant) {
        match answer {
            // a trial: the gate opens when the broker takes something
            Ok(()) => {
                self.broker = Broker::Open;
                self.polling.woken(now);
            }
            Err(error) if ends_relay(&error) => self.stop(FAREWELL, Err(error)),
            Err(error) => self.broker = Broker::Closed(now + self.broker_gate.close(&error)),
        }
    }

    /// What was acknowledged before the purge counts; the reports of this generation end here.
    pub(super) fn take_last_reports(&mut self) {
        let (reporter, incoming) = Reporter::channel();
        self.reporter = reporter;
        let mut old = std::mem::replace(&mut self.incoming, incoming);
        let mut last = std::mem::take(&mut self.reports);
        while let Ok(report) = old.try_recv() {
            last.push(report);
        }
        for report in last.into_iter().filter(|report| report.result.is_ok()) {
            self.note(report);
        }
    }

    /// Takes in every report that is there. What a submission has reported by its end counts before anything else is sent: a
    /// key that it stopped may have more that is ready.
    pub(super) fn take_reports(&mut self, now: Instant) {
        while let Ok(report) = self.incoming.try_recv() {
            self.reports.push(report);
        }
        if self.reports.is_empty() {
            return;
        }
        for report in std::mem::take(&mut self.reports) {
            match self.note(report) {
                None => {}
                Some(Trouble { error, is_unclear: false }) => self.close_broker(&error, now),
                // the broker takes other events
                Some(Trouble { error, .. }) => {
                    tracing::debug!(error = %error.chain(), "an event is not taken, while others are");
                    self.start_over();
                }
            }
        }
    }

    fn note(&mut self, report: DeliveryReport) -> Option<Trouble> {
        match self.flight.report(report) {
            Err(trouble) => Some(trouble),
            Ok(None) => None,
            Ok(Some(noted)) => {
                self.observer.settled(&noted.answer);
                if noted.answer.outcome == Outcome::Published {
                    self.broker_gate.open();
                }
                if noted.needs_purge {
                    self.start_over();
                }
                None
            }
        }
    }

    /// Lets the publisher take events again after an error that was one event's.
    fn start_over(&mut self) {
        if matches!(self.broker, Broker::Open) {
            self.abandon(None);
        }
    }
}
