//! One batch after the other: claim, handle in groups, give back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use omni_box_core::{
    BatchSize, ClaimToken, Event, EventId, FailureClass, FetchFilters, InboxEvent, InboxRepository, OwnerId,
    PartitionEnd, Result, TopicPartition,
};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::batch::BatchProcessingResult;
use crate::claims::{Claims, Stale};
use crate::copies::Copies;
use crate::membership::Membership;
use crate::polling::Polling;
use crate::transact::{Context, Item};
use crate::work::Messages;

/// What stands for all stored rows of a group where a store notes how the last worker of a partition ended. No topic of Kafka has a
/// space in its name.
const STORED_ROWS: &str = "stored rows";

/// Parts of one worker that its batches use.
pub(super) struct Shared<S: InboxRepository> {
    pub(super) context: Arc<Context<S>>,
    pub(super) filters: FetchFilters,
    pub(super) membership: Membership<S>,
    pub(super) copies: Option<Arc<Copies<S, InboxEvent>>>,
    pub(super) lease_ttl: Duration,
    pub(super) shortest_poll: Duration,
    pub(super) longest_poll: Duration,
    pub(super) stale: Stale,
    /// Whether rows are claimed one by one, also where the store could claim a batch.
    pub(super) is_optimistic: bool,
    /// This worker as the store knows it, and how the one before it ended.
    pub(super) attached: Mutex<Option<(ClaimToken, PartitionEnd)>>,
}

impl<S: InboxRepository> Shared<S> {
    /// Notes that this worker begins, once; says how the last one ended.
    async fn attach(&self) -> Result<PartitionEnd> {
        let mut attached = self.attached.lock().await;
        if let Some((_, end)) = *attached {
            return Ok(end);
        }
        let owner = ClaimToken::new(&self.context.worker, OwnerId::generate());
        let end = self.context.database.attach(&self.context.group, &stored_rows(), &owner).await?;
        *attached = Some((owner, end));
        Ok(end)
    }

    /// Notes that this worker has ended in good order.
    pub(super) async fn detach(&self) -> Result<()> {
        let mut attached = self.attached.lock().await;
        if let Some((owner, _)) = attached.as_ref() {
            self.context.database.detach(&self.context.group, &stored_rows(), owner).await?;
        }
        *attached = None;
        Ok(())
    }
}

fn stored_rows() -> TopicPartition {
    TopicPartition { topic: STORED_ROWS.to_owned(), partition: 0 }
}

/// Takes one batch after the other.
pub(super) struct Batches<S: InboxRepository> {
    shared: Arc<Shared<S>>,
    claims: Claims<InboxEvent>,
    messages: Messages<S>,
    /// What is claimed and has no outcome yet.
    open: HashSet<EventId>,
    is_attached: bool,
}

impl<S: InboxRepository> Batches<S> {
    /// A group that runs is given up when `abort` is cancelled.
    pub(super) fn new(shared: Arc<Shared<S>>, abort: CancellationToken) -> Self {
        let token = ClaimToken::new(&shared.context.worker, OwnerId::generate());
        let stop = Box::new(move || abort.clone().cancelled_owned().boxed());
        Self {
            claims: Claims::new(token, shared.lease_ttl).row_by_row(shared.is_optimistic),
            messages: Messages::of_stored_rows(shared.context.clone(), STORED_ROWS, usize::MAX, stop),
            shared,
            open: HashSet::new(),
            is_attached: false,
        }
    }

    /// Works until `stop` is cancelled; `others` beside it look at the table too.
    pub(super) async fn run(
        mut self,
        batch_size: BatchSize,
        others: usize,
        stop: CancellationToken,
    ) -> Result<()> {
        let longest = self.shared.longest_poll * u32::try_from(others + 1).unwrap_or(u32::MAX);
        let mut polling = Polling::new(self.shared.shortest_poll, longest, Instant::now());
        while !stop.is_cancelled() {
            let result = self.next(batch_size, &stop).await;
            let now = Instant::now();
            let delay = match result {
                Ok(_) if self.messages.is_paused() => {
                    self.messages.paused_until().map_or(Duration::ZERO, |until| until - now)
                }
                Ok(batch) => {
                    polling.fetched(batch.recorded(), batch.recorded() > 0, now);
                    polling.next().saturating_duration_since(now)
                }
                Err(error) if error.class() == FailureClass::Permanent => return Err(error),
                Err(error) => self.shared.context.database.close(&error),
            };
            tokio::select! {
                () = sleep(delay) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }

    /// Claims a batch and takes each of its messages to an outcome. What has none when `stop` is cancelled, or the database fails, is given
    /// back.
    pub(super) async fn next(
        &mut self,
        limit: BatchSize,
        stop: &CancellationToken,
    ) -> Result<BatchProcessingResult> {
        if !self.is_attached {
            if self.shared.attach().await? == PartitionEnd::Unclean {
                self.messages.go_carefully();
            }
            self.is_attached = true;
        }
        let mut result = BatchProcessingResult::default();
        // what a call that was dropped has left
        self.give_back(&mut result).await;
        let database = &self.shared.context.database;
        let claimed_at = Instant::now();
        let rows = database.claim(&self.claims, limit, &self.shared.filters, &self.shared.stale).await?;
        if rows.is_empty() {
            database.open();
            self.shared.context.observer().idle();
        }
        for row in rows {
            self.open.insert(row.id());
            self.messages.window.push(Item::stored(row));
        }
        self.handle(claimed_at, stop, &mut result).await;
        self.give_back(&mut result).await;
        Ok(result)
    }

    /// Handles what is in memory, in groups, and keeps the claims alive meanwhile.
    async fn handle(
        &mut self,
        claimed_at: Instant,
        stop: &CancellationToken,
        result: &mut BatchProcessingResult,
    ) {
        let renewal = self.shared.lease_ttl / 4;
        let mut renew_at = claimed_at + renewal;
        loop {
            self.note_outcomes(result);
            let is_cut_short = stop.is_cancelled() || self.messages.is_stopped() || self.messages.is_paused();
            if self.messages.window.is_empty() || is_cut_short {
                return;
            }
            let now = Instant::now();
            if now >= renew_at {
                if !self.renew(result).await {
                    return;
                }
                renew_at = now + renewal;
            }
            self.messages.window.wake(now);
            let group = self.messages.due();
            if !group.is_empty() {
                self.messages.handle(group).await;
                continue;
            }
            // contention: the rows stay claimed, and are tried again in a moment
            let Some(due) = self.messages.window.next_due() else { return };
            tokio::select! {
                () = sleep_until(due.min(renew_at)) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Renews the claims; what another worker has by now leaves the memory. `false`: the database failed.
    async fn renew(&mut self, result: &mut BatchProcessingResult) -> bool {
        let ids: Vec<EventId> = self.open.iter().copied().collect();
        match self.shared.context.database.refresh(&self.claims, &ids).await {
            Ok(kept) => {
                let kept: HashSet<EventId> = kept.into_iter().collect();
                self.messages.window.remove(|id| !kept.contains(&id));
                result.released_event_ids.extend(self.open.difference(&kept));
                self.open = kept;
                true
            }
            Err(error) => {
                self.messages.pause(&error);
                false
            }
        }
    }

    fn note_outcomes(&mut self, result: &mut BatchProcessingResult) {
        for settled in self.messages.take_settled() {
            if let Some(id) = settled.event_id {
                self.open.remove(&id);
                result.list(settled.outcome).push(id);
                result.failures.extend(settled.failure);
            }
        }
    }

    /// Gives back what has no outcome.
    async fn give_back(&mut self, result: &mut BatchProcessingResult) {
        self.note_outcomes(result);
        self.messages.window.clear();
        if self.open.is_empty() {
            return;
        }
        let ids: Vec<EventId> = self.open.drain().collect();
        let context = &self.shared.context;
        if let Err(error) = context.database.release(&self.claims, &ids).await {
            tracing::warn!(
                worker_id = %context.worker, messages = ids.len(), kind = ?error.kind(),
                "claims could not be given back, they will expire",
            );
        }
        result.released_event_ids.extend(ids);
    }
}
