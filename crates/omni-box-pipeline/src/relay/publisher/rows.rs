//! One batch in mode `rows`: claim, publish, mark, give back.

use std::collections::HashMap;
use std::sync::Arc;

use omni_box_core::{
    BatchSize, ClaimToken, DeliveryReport, Error, Event, EventId, FetchFilters, OutboxEvent,
    OutboxRepository, Reporter, Result, Retry, WorkerId,
};
use tokio::time::{Instant, timeout_at};

use super::{OutboxPublisher, Stop, cancelled, late};
use crate::batch::{BatchProcessingResult, EventFailure};
use crate::claims::Claims;
use crate::deadline::within;
use crate::outcome::Outcome;
use crate::relay::answer::{Answer, DueSince, held_reason};
use crate::relay::suspects::Fault;
use crate::relay::verdict::ReportVerdict;
use crate::step::Mark;

impl<S: OutboxRepository> OutboxPublisher<S> {
    pub(super) async fn publish_rows(
        &self,
        worker: &WorkerId,
        batch_size: BatchSize,
        filters: &FetchFilters,
        stop: Stop<'_>,
    ) -> Result<(BatchProcessingResult, Option<Error>)> {
        let token = ClaimToken::new(worker, self.owner);
        let asked = Instant::now();
        let answered_in = self.settings.batch_deadline();
        let claims = Claims::new(token.clone(), self.settings.lease_ttl);
        let events = within(answered_in, claims.take(&self.store, batch_size, filters, &self.stale)).await?;
        let mut result = BatchProcessingResult::default();
        self.observer.taken(events.len());
        if events.is_empty() {
            self.observer.idle();
            return Ok((result, None));
        }
        self.status.update(|status| status.in_flight = events.len());
        let events: HashMap<EventId, Arc<OutboxEvent>> =
            events.into_iter().map(|event| (event.id(), Arc::new(event))).collect();
        let deadline = asked + self.publish_timeout;
        let (open, unavailable) = self.send_rows(&events, deadline, stop, &token, &mut result).await?;

        let completed = std::mem::take(&mut result.processed_event_ids);
        result.processed_event_ids = within(answered_in, claims.complete(&self.store, &completed)).await?;
        // another worker has claimed them since
        let is_lost = |id: &EventId| !result.processed_event_ids.contains(id);
        result.commit_failed_event_ids = completed.into_iter().filter(is_lost).collect();
        within(answered_in, claims.release(&self.store, &open, unavailable.as_ref())).await?;
        result.released_event_ids = open;
        Ok((result, unavailable))
    }

    /// Publishes claimed rows (one per key, so in any order), records failures, and returns what did not come back with
    /// the reason.
    async fn send_rows(
        &self,
        events: &HashMap<EventId, Arc<OutboxEvent>>,
        deadline: Instant,
        stop: Stop<'_>,
        token: &ClaimToken,
        result: &mut BatchProcessingResult,
    ) -> Result<(Vec<EventId>, Option<Error>)> {
        let claimed_at = Instant::now();
        let mut open: Vec<EventId> = events.keys().copied().collect();
        let mut suspects = self.suspects.lock().await;
        let (alone, others): (Vec<_>, Vec<_>) =
            events.values().cloned().partition(|event| suspects.contains(&event.id()));
        // a suspect comes last and alone, so that its failure tells whose fault it is
        let parts =
            std::iter::once((others, false)).chain(alone.into_iter().map(|event| (vec![event], true)));
        for (part, is_alone) in parts.filter(|(part, _)| !part.is_empty()) {
            if stop.sending.is_cancelled() {
                return Ok((open, Some(cancelled())));
            }
            let (arrived, given_up) = self.deliver(part, deadline, stop).await;
            let (mut unavailable, mut needs_purge) = (given_up, false);
            let was_purged = unavailable.is_some();
            let mut has_trouble = false;
            for (report, sent_at, answered_at) in arrived {
                let Some(event) = events.get(&report.id) else { continue };
                let verdict = self.settings.judge.judge(event, report.result);
                let is_put_off = matches!(verdict, ReportVerdict::PutOff(_));
                let mut done = Outcome::Published;
                let failure = match verdict {
                    ReportVerdict::Done(outcome) => {
                        match outcome {
                            Outcome::Published => suspects.acknowledged(&report.id),
                            _ => suspects.acquit(&report.id),
                        }
                        done = outcome;
                        None
                    }
                    ReportVerdict::Failed(failure) | ReportVerdict::PutOff(failure) => {
                        suspects.acquit(&report.id);
                        Some(failure)
                    }
                    ReportVerdict::Unavailable(error) => {
                        // what comes behind the first has failed with it
                        let is_first = !was_purged && !std::mem::replace(&mut has_trouble, true);
                        needs_purge = true;
                        let is_stopped = Mark::of(&error) == Some(Mark::Stopped);
                        if is_stopped
                            || !is_first
                            || suspects.failed(report.id, is_alone, Instant::now()) != Fault::Event
                        {
                            unavailable.get_or_insert(error);
                            continue;
                        }
                        Some(self.settings.judge.own(event, &error))
                    }
                };
                let held = failure.as_ref().and_then(|failure| held_reason(event, failure, is_put_off));
                let noted = failure.as_ref().map(|failure| EventFailure::new(report.id, failure));
                let (outcome, is_recorded) = match failure {
                    None => (done, true),
                    Some(failure) => {
                        let is_final = failure.retry == Retry::Never;
                        let mark = self.store.mark_failed(report.id, token, &failure);
                        let recorded = within(self.settings.batch_deadline(), mark).await?;
                        (if is_final { Outcome::Failed } else { Outcome::Retried }, recorded)
                    }
                };
                if is_recorded {
                    let (event, due) = (event.clone(), DueSince::claimed(event, claimed_at));
                    result.failures.extend(noted);
                    let answer = Answer { event, outcome, sent_at, answered_at, due, held };
                    self.observer.settled(&answer);
                    open.retain(|id| *id != report.id);
                    result.list(outcome).push(report.id);
                }
            }
            if needs_purge && !was_purged {
                // it takes nothing more until then, and nothing else purges it
                self.publisher.0.purge().await;
            }
            if unavailable.is_some() {
                return Ok((open, unavailable));
            }
        }
        Ok((open, None))
    }

    /// Submits events and waits for their reports, each with the times when it was sent and answered. When time is up, the rest is purged, and the reason returned.
    async fn deliver(
        &self,
        events: Vec<Arc<OutboxEvent>>,
        deadline: Instant,
        stop: Stop<'_>,
    ) -> (Vec<(DeliveryReport, Instant, Instant)>, Option<Error>) {
        let (reporter, mut reports) = Reporter::channel();
        let publisher = &self.publisher.0;
        let (count, mut sent_at) = (events.len(), Instant::now());
        let mut arrived = Vec::with_capacity(count);
        let sending = async {
            let mut waiting = events.into_iter();
            let mut submitted = 0;
            while arrived.len() < count {
                let room = self.concurrency_limit - (submitted - arrived.len());
                let next: Vec<_> = waiting.by_ref().take(room).collect();
                if !next.is_empty() {
                    submitted += next.len();
                    sent_at = Instant::now();
                    publisher.submit(next, &reporter).await;
                }
                let Some(report) = reports.recv().await else { break };
                arrived.push((report, sent_at, Instant::now()));
            }
        };
        let given_up = tokio::select! {
            sent = timeout_at(deadline, sending) => sent.map_err(|_| late()).err(),
            () = stop.waiting.cancelled() => Some(cancelled()),
        };
        if given_up.is_some() {
            publisher.purge().await;
            while let Ok(report) = reports.try_recv() {
                arrived.push((report, sent_at, Instant::now()));
            }
        }
        (arrived, given_up)
    }
}
