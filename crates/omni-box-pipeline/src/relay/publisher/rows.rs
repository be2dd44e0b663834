//! One batch in mode `rows`: claim, publish, mark, give back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    Attempt, BatchSize, ClaimToken, DeliveryReport, Error, Event, EventId, Failure, FetchFilters,
    OutboxEvent, OutboxRepository, Reporter, Result, Retry, WorkerId,
};
use tokio::time::{Instant, timeout_at};

use super::{BatchProcessingResult, OutboxPublisher, Stop, cancelled, late};
use crate::outcome::Outcome;
use crate::relay::deadline::within;
use crate::relay::suspects::Fault;
use crate::relay::verdict::ReportVerdict;

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
        let events = within(answered_in, self.claim(&token, batch_size, filters)).await?;
        let mut result = BatchProcessingResult::default();
        if events.is_empty() {
            return Ok((result, None));
        }
        self.observer.taken(events.len());
        self.status.update(|status| status.in_flight = events.len());
        let events: HashMap<EventId, Arc<OutboxEvent>> =
            events.into_iter().map(|event| (event.id(), Arc::new(event))).collect();
        let deadline = asked + self.publish_timeout;
        let (mut open, unavailable) = self.send_rows(&events, deadline, stop, &token, &mut result).await?;

        let completed = std::mem::take(&mut result.processed_event_ids);
        result.processed_event_ids = within(answered_in, self.complete(&token, &completed)).await?;
        open.extend(completed.into_iter().filter(|id| !result.processed_event_ids.contains(id)));
        within(answered_in, self.release(&token, &open, unavailable.as_ref())).await?;
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
            for (report, took) in arrived {
                let Some(event) = events.get(&report.id) else { continue };
                let failure = match self.settings.judge.judge(event, report.result) {
                    ReportVerdict::Published => {
                        suspects.acknowledged(&report.id);
                        None
                    }
                    ReportVerdict::Failed(failure) => {
                        suspects.acquit(&report.id);
                        Some(failure)
                    }
                    ReportVerdict::Unavailable(error) => {
                        // what comes behind the first has failed with it
                        let is_first = !was_purged && !std::mem::replace(&mut has_trouble, true);
                        needs_purge = true;
                        if !is_first || suspects.failed(report.id, is_alone, Instant::now()) != Fault::Event {
                            unavailable.get_or_insert(error);
                            continue;
                        }
                        Some(self.settings.judge.own(event, &error))
                    }
                };
                let (outcome, is_recorded) = match failure {
                    None => (Outcome::Published, true),
                    Some(failure) => {
                        let is_final = failure.retry == Retry::Never;
                        let mark = self.store.mark_failed(report.id, token, &failure);
                        let recorded = within(self.settings.batch_deadline(), mark).await?;
                        (if is_final { Outcome::Failed } else { Outcome::Retried }, recorded)
                    }
                };
                if is_recorded {
                    self.observer.settled(event, outcome, took);
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

    /// Submits events and waits for their reports. When time is up, the rest is purged, and the reason returned.
    async fn deliver(
        &self,
        events: Vec<Arc<OutboxEvent>>,
        deadline: Instant,
        stop: Stop<'_>,
    ) -> (Vec<(DeliveryReport, Duration)>, Option<Error>) {
        let (reporter, mut reports) = Reporter::channel();
        let publisher = &self.publisher.0;
        let (count, sent_at) = (events.len(), Instant::now());
        let mut arrived = Vec::with_capacity(count);
        let sending = async {
            publisher.submit(events, &reporter).await;
            while arrived.len() < count {
                let Some(report) = reports.recv().await else { break };
                arrived.push((report, sent_at.elapsed()));
            }
        };
        let given_up = tokio::select! {
            sent = timeout_at(deadline, sending) => sent.map_err(|_| late()).err(),
            () = stop.waiting.cancelled() => Some(cancelled()),
        };
        if given_up.is_some() {
            publisher.purge().await;
            while let Ok(report) = reports.try_recv() {
                arrived.push((report, sent_at.elapsed()));
            }
        }
        (arrived, given_up)
    }

    async fn claim(
        &self,
        token: &ClaimToken,
        limit: BatchSize,
        filters: &FetchFilters,
    ) -> Result<Vec<OutboxEvent>> {
        if let Some(locking) = self.store.locking() {
            return locking.claim(token, limit, self.settings.lease_ttl, filters).await;
        }
        self.release_stale().await?;
        let mut claimed = Vec::new();
        for event in self.store.fetch_pending(limit, filters).await? {
            if self.store.mark_processing(event.id(), token).await? {
                claimed.push(event);
            }
        }
        Ok(claimed)
    }

    /// Gives back what workers that died have claimed, now and then, where nobody can take it over.
    async fn release_stale(&self) -> Result<()> {
        let mut due = self.stale_due.lock().await;
        let now = Instant::now();
        if due.is_some_and(|due| now < due) {
            return Ok(());
        }
        match self.store.retention() {
            Some(retention) => {
                let released = retention.release_stale_locks(self.settings.lease_ttl).await?;
                if released > 0 {
                    tracing::info!(released, "events given back that a worker had claimed and left");
                }
            }
            None if due.is_none() => tracing::warn!(
                "the store offers neither locking nor retention: unless it ends old claims by itself, what a worker has claimed \
                 when it dies is never published"
            ),
            None => {}
        }
        *due = Some(now + self.settings.heartbeat());
        Ok(())
    }

    /// Gives claims back without counting an attempt.
    async fn release(&self, token: &ClaimToken, ids: &[EventId], reason: Option<&Error>) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        if let Some(locking) = self.store.locking() {
            return locking.release(token, ids).await;
        }
        // a failure that costs nothing and is tried again at once gives a claim back on any store
        let text = reason.map_or_else(|| "given back unpublished".to_owned(), Error::chain);
        let failure = Failure::new(&text, Attempt::Free, Retry::After(Duration::ZERO));
        for id in ids {
            self.store.mark_failed(*id, token, &failure).await?;
        }
        Ok(())
    }

    async fn complete(&self, token: &ClaimToken, ids: &[EventId]) -> Result<Vec<EventId>> {
        if let Some(bulk) = self.store.bulk() {
            return bulk.complete_many(ids, token).await;
        }
        let mut completed = Vec::with_capacity(ids.len());
        for id in ids {
            if self.store.mark_completed(*id, token).await? {
                completed.push(*id);
            }
        }
        Ok(completed)
    }
}
