//! A case: the store, the model, and those who work on it.

use std::fmt::Debug;
use std::time::Duration;

use chrono::Utc;
use omni_box_core::{
    BatchSize, ClaimToken, Created, Event as _, EventId, EventRepository, EventStatus, FetchFilters,
    NewOutboxEvent, OmniBoxDomainService, OutboxEvent, OutboxRepository, OwnerId, Result, Store as _,
    WorkerId,
};

use super::Rows;
use super::operation::{New, Operation, Target, WORKERS};
use super::table::{Claims, Row, Table};
use crate::StoreFixture;
use crate::model::call::{Checked, Cut, begin, cannot, commit, mismatch, retried, rollback};
use crate::model::clock::{MINUTE, end, span};
use crate::model::failure::Fault;
use crate::model::runner::Trace;

pub(super) struct Case<'a, F: StoreFixture> {
    ground: &'a mut Rows<F>,
    trace: &'a Trace,
    table: Table,
    tokens: Vec<ClaimToken>,
    events: usize,
}

fn token() -> ClaimToken {
    // every replica has one label
    ClaimToken::new(&WorkerId::new("publisher-1").expect("a valid name"), OwnerId::generate())
}

fn size(size: u32) -> BatchSize {
    BatchSize::new(size).expect("a valid batch size")
}

fn sorted(mut ids: Vec<EventId>) -> Vec<EventId> {
    ids.sort();
    ids
}

impl<'a, F: StoreFixture<Store: OutboxRepository>> Case<'a, F> {
    pub(super) fn new(ground: &'a mut Rows<F>, trace: &'a Trace) -> Self {
        let tokens = (0..WORKERS).map(|_| token()).collect();
        Self { ground, trace, table: Table::default(), tokens, events: 0 }
    }

    pub(super) async fn step(&mut self, operation: &Operation) -> Checked {
        match operation {
            Operation::Create { events, cut } => self.create(events, *cut).await,
            Operation::FetchPending { limit } => self.fetch_pending(*limit).await,
            Operation::Claim { worker, limit, ttl, cut } => self.claim(*worker, *limit, *ttl, *cut).await,
            Operation::MarkProcessing { worker, event, cut } => {
                self.mark_processing(*worker, *event, *cut).await
            }
            Operation::MarkCompleted { worker, event, cut } => {
                self.mark_completed(*worker, *event, *cut).await
            }
            Operation::MarkFailed { worker, event, fault, cut } => {
                self.mark_failed(*worker, *event, *fault, *cut).await
            }
            Operation::CompleteMany { worker, more, cut } => self.complete_many(*worker, *more, *cut).await,
            Operation::Refresh { worker, skip, cut } => self.refresh(*worker, *skip, *cut).await,
            Operation::Release { worker, skip, cut } => self.release(*worker, *skip, *cut).await,
            Operation::ReleaseStale { minutes, cut } => self.release_stale(*minutes, *cut).await,
            Operation::CleanUp { minutes, batch, iterations } => {
                self.delete_old(*minutes, *batch, *iterations).await
            }
            Operation::Crash { worker } => {
                self.trace.note(format!("w{worker} crashes"));
                self.tokens[*worker] = token();
                Ok(())
            }
            Operation::Advance { minutes } => {
                self.trace.note(format!("{minutes} minutes go by"));
                self.advance(*minutes).await;
                Ok(())
            }
        }
    }

    async fn advance(&mut self, minutes: u8) {
        let by = MINUTE * u32::from(minutes);
        self.ground.fixture.advance(by).await;
        self.ground.ahead += by;
        self.table.now += u64::from(minutes);
    }

    fn draw(&mut self, new: &New) -> Row {
        self.events += 1;
        let name = format!("e{}", self.events);
        let mut draft = NewOutboxEvent::from_json("order.placed", "orders", format!("{{\"n\":\"{name}\"}}"))
            .max_attempts(new.max_attempts);
        if let Some(key) = new.key {
            draft = draft.partition_key(format!("key-{key}"));
        }
        // what became of the identity of an event that was deleted is the store's choice
        let is_used_up = |identity: &u8| self.table.by_identity(*identity).is_some_and(|row| row.is_deleted);
        let identity = new.identity.filter(|identity| !is_used_up(identity));
        if let Some(identity) = identity {
            draft = draft.idempotency_key(format!("{}/{identity}", self.ground.cases));
        }
        if let Some(minutes) = new.scheduled {
            draft = draft.scheduled_at(Utc::now() + self.ground.ahead + span(minutes));
        }
        Row {
            event: OmniBoxDomainService::default()
                .create_outbox_event(draft)
                .expect("the suite's events are valid"),
            name,
            key: new.key,
            identity,
            scheduled: new.scheduled.map(|minutes| end(self.table.now, minutes)),
            status: EventStatus::Pending,
            attempts: 0,
            max_attempts: new.max_attempts,
            is_tried: false,
            again: None,
            claim: None,
            completed_at: 0,
            is_deleted: false,
        }
    }

    async fn create(&mut self, events: &[New], cut: Cut) -> Checked {
        let rows: Vec<Row> = events.iter().map(|new| self.draw(new)).collect();
        let names: Vec<String> = rows
            .iter()
            .map(|row| {
                let key = row.key.map_or("no key".into(), |key| format!("key {}", ["a", "b", "c"][key]));
                let identity =
                    row.identity.map_or(String::new(), |identity| format!(", identity {identity}"));
                let scheduled = row.scheduled.map_or(String::new(), |at| format!(", due at minute {at}"));
                format!("{} ({key}{identity}{scheduled})", row.name)
            })
            .collect();
        self.trace.note(format!("create and commit {}, the commit cut off {cut:?}", names.join(", ")));
        let given: Vec<OutboxEvent> = rows.iter().map(|row| row.event.clone()).collect();
        let store = &self.ground.writer;
        let mut tx = begin(store).await?;
        let created = store.create_many(&mut tx, &given).await;
        let created = created.or_else(|error| cannot("create events", &error))?;
        if created.len() != rows.len() {
            return mismatch(format!("{} answers for {} events", created.len(), rows.len()));
        }
        let mut after = self.table.clone();
        for (row, created) in rows.into_iter().zip(created) {
            let known = row.identity.and_then(|identity| after.by_identity(identity));
            match (created, known) {
                (Created::New(_), None) => after.rows.push(row),
                (Created::Existing(event), Some(known)) if known.id() == event.id() => {
                    known.compare(Some(&event))?;
                }
                (created, known) => {
                    return mismatch(format!(
                        "{} is said to be {}, and {} has its identity",
                        row.name,
                        if created.is_new() { "new" } else { "there" },
                        known.map_or("nothing", |known| &known.name)
                    ));
                }
            }
        }
        let answer = match cut {
            Cut::NEVER => Some(commit(store, tx).await?),
            // cut off, it may fail as well
            cut => cut.off(store.commit(tx)).await.and_then(Result::ok),
        };
        self.decide(after, (), answer).await
    }

    /// Takes the state after a call if it has happened, as its answer says; without an answer, what the store has decides.
    async fn decide<T: PartialEq + Debug>(
        &mut self,
        after: Table,
        expected: T,
        answer: Option<T>,
    ) -> Checked {
        match answer {
            Some(answer) if answer != expected => {
                return mismatch(format!("the answer is {answer:?}, and should be {expected:?}"));
            }
            Some(_) => {
                self.table = after;
                return self.compare().await;
            }
            None => {}
        }
        self.ground.fixture.quiet(0).await;
        let before = std::mem::replace(&mut self.table, after);
        let Err(happened) = self.compare().await else {
            self.trace.note("  it has happened".into());
            return Ok(());
        };
        self.table = before;
        match self.compare().await {
            Ok(()) => {
                self.trace.note("  it has not happened".into());
                Ok(())
            }
            Err(not) => {
                mismatch(format!("it has happened in part. If it had: {happened}. If it had not: {not}"))
            }
        }
    }

    async fn get(&self, ids: &[EventId]) -> Checked<Vec<Option<OutboxEvent>>> {
        let store = &self.ground.writer;
        let mut tx = begin(store).await?;
        let mut stored = Vec::with_capacity(ids.len());
        for id in ids {
            let found = store.get_by_id(&mut tx, *id).await;
            stored.push(found.or_else(|error| cannot("look an event up", &error))?);
        }
        rollback(store, tx).await?;
        Ok(stored)
    }

    /// Compares every row.
    async fn compare(&self) -> Checked {
        let ids: Vec<EventId> = self.table.rows.iter().map(Row::id).collect();
        let stored = self.get(&ids).await?;
        self.table.rows.iter().zip(stored).try_for_each(|(row, stored)| row.compare(stored.as_ref()))
    }

    fn names(&self, ids: &[EventId]) -> String {
        let name =
            |id: &EventId| self.table.rows.iter().find(|row| row.id() == *id).map_or("?", |row| &row.name);
        format!("[{}]", ids.iter().map(name).collect::<Vec<_>>().join(", "))
    }

    async fn fetch_pending(&mut self, limit: u32) -> Checked {
        self.trace.note(format!("fetch {limit} pending"));
        let store = &self.ground.writer;
        let filters = FetchFilters::new();
        let fetched =
            retried("fetch pending events", async || store.fetch_pending(size(limit), &filters).await)
                .await?;
        let ids: Vec<EventId> = fetched.iter().map(|event| event.id()).collect();
        self.trace.note(format!("  they are {}", self.names(&ids)));
        self.table.check(Claims::All, limit, &ids)?;
        for event in &fetched {
            let row = self.table.row_mut(event.id()).expect("it was judged");
            row.compare(Some(event))?;
        }
        Ok(())
    }

    async fn claim(&mut self, worker: usize, limit: u32, ttl: u8, cut: Cut) -> Checked {
        let Some(locking) = self.ground.stores[worker].locking() else { return Ok(()) };
        if cut != Cut::NEVER {
            // by its token it is seen what it has got
            self.tokens[worker] = token();
        }
        let token = self.tokens[worker].clone();
        self.trace.note(format!(
            "w{worker} claims {limit}, and what is older than {ttl}.5 minutes, cut off {cut:?}"
        ));
        let filters = FetchFilters::new();
        let call =
            retried("claim events", async || locking.claim(&token, size(limit), span(ttl), &filters).await);
        let ids = match cut.off(call).await {
            Some(claimed) => claimed?.iter().map(|event: &OutboxEvent| event.id()).collect(),
            None => {
                self.ground.fixture.quiet(0).await;
                let ids: Vec<EventId> = self.table.rows.iter().map(Row::id).collect();
                let stored = self.get(&ids).await?;
                let is_taken = |event: &&OutboxEvent| {
                    event.lifecycle().lock().is_some_and(|lock| lock.by.as_str() == token.as_str())
                };
                let taken: Vec<EventId> =
                    stored.iter().flatten().filter(is_taken).map(|event| event.id()).collect();
                if taken.is_empty() {
                    self.trace.note("  it has not happened".into());
                    return self.compare().await;
                }
                taken
            }
        };
        self.trace.note(format!("  it has {}", self.names(&ids)));
        self.table.check(Claims::Within(ttl), limit, &ids)?;
        self.table.claim(&ids, &token);
        self.compare().await
    }

    fn target(&self, worker: usize, target: Target) -> Option<EventId> {
        let (place, rows): (usize, Vec<&Row>) = match target {
            Target::Own(place) => {
                let token = &self.tokens[worker];
                (place, self.table.rows.iter().filter(|row| row.is_claimed_by(token)).collect())
            }
            Target::Any(place) => (place, self.table.rows.iter().collect()),
        };
        rows.get(place % rows.len().max(1)).map(|row| row.id())
    }

    async fn mark_processing(&mut self, worker: usize, target: Target, cut: Cut) -> Checked {
        let Some(id) = self.target(worker, target) else { return Ok(()) };
        let (store, token) = (&self.ground.stores[worker], &self.tokens[worker]);
        let now = self.table.now;
        let is_older = |row: &Row| row.claim.as_ref().is_some_and(|(by, since)| by == token && *since < now);
        if self.table.row_mut(id).is_some_and(|row| is_older(row)) {
            // whether the claim is young again is the store's choice
            return Ok(());
        }
        self.trace.note(format!("w{worker} claims {} by its id, cut off {cut:?}", self.names(&[id])));
        let mut after = self.table.clone();
        let expected = after.process(id, token);
        let call = retried("claim an event", async || store.mark_processing(id, token).await);
        let answer = cut.off(call).await.transpose()?;
        self.decide(after, expected, answer).await
    }

    async fn mark_completed(&mut self, worker: usize, target: Target, cut: Cut) -> Checked {
        let Some(id) = self.target(worker, target) else { return Ok(()) };
        let (store, token) = (&self.ground.stores[worker], &self.tokens[worker]);
        self.trace.note(format!("w{worker} completes {}, cut off {cut:?}", self.names(&[id])));
        let mut after = self.table.clone();
        let expected = !after.complete(&[id], token).is_empty();
        let call = retried("complete an event", async || store.mark_completed(id, token).await);
        let answer = cut.off(call).await.transpose()?;
        self.decide(after, expected, answer).await
    }

    async fn mark_failed(&mut self, worker: usize, target: Target, fault: Fault, cut: Cut) -> Checked {
        let Some(id) = self.target(worker, target) else { return Ok(()) };
        let (store, token) = (&self.ground.stores[worker], &self.tokens[worker]);
        self.trace.note(format!("w{worker} fails {} ({fault:?}), cut off {cut:?}", self.names(&[id])));
        let failure = fault.failure();
        let mut after = self.table.clone();
        let expected = after.fail(id, token, &failure);
        let call = retried("record a failure", async || store.mark_failed(id, token, &failure).await);
        let answer = cut.off(call).await.transpose()?;
        self.decide(after, expected, answer).await
    }

    /// What a worker has claimed, without the first few, and one event more.
    fn batch(&self, worker: usize, skip: usize, more: usize) -> Vec<EventId> {
        let token = &self.tokens[worker];
        let own = self.table.rows.iter().filter(|row| row.is_claimed_by(token)).skip(skip);
        let more = self.table.rows.get(more);
        own.chain(more).map(Row::id).collect()
    }

    async fn complete_many(&mut self, worker: usize, more: usize, cut: Cut) -> Checked {
        let Some(bulk) = self.ground.stores[worker].bulk() else { return Ok(()) };
        let (ids, token) = (self.batch(worker, 0, more), &self.tokens[worker]);
        self.trace.note(format!("w{worker} completes {}, cut off {cut:?}", self.names(&ids)));
        let mut after = self.table.clone();
        let expected = after.complete(&ids, token);
        let call = retried("complete events", async || bulk.complete_many(&ids, token).await);
        let answer = cut.off(call).await.transpose()?.map(sorted);
        self.decide(after, expected, answer).await
    }

    async fn refresh(&mut self, worker: usize, skip: usize, cut: Cut) -> Checked {
        let Some(locking) = self.ground.stores[worker].locking() else { return Ok(()) };
        let (ids, token) = (self.batch(worker, skip, skip), self.tokens[worker].clone());
        self.trace.note(format!("w{worker} renews its claims of {}, cut off {cut:?}", self.names(&ids)));
        if cut.off(locking.refresh(&token, &ids)).await.is_none() {
            self.ground.fixture.quiet(0).await;
        }
        // how old a claim is cannot be seen, so it is renewed once more
        let expected = self.table.refresh(&ids, &token);
        let answer = retried("renew claims", async || locking.refresh(&token, &ids).await).await?;
        self.decide(self.table.clone(), expected, Some(sorted(answer))).await
    }

    async fn release(&mut self, worker: usize, skip: usize, cut: Cut) -> Checked {
        let Some(locking) = self.ground.stores[worker].locking() else { return Ok(()) };
        let (ids, token) = (self.batch(worker, skip, skip), &self.tokens[worker]);
        self.trace.note(format!("w{worker} gives back {}, cut off {cut:?}", self.names(&ids)));
        let mut after = self.table.clone();
        after.release(&ids, token);
        let call = retried("give claims back", async || locking.release(token, &ids).await);
        let answer = cut.off(call).await.transpose()?;
        self.decide(after, (), answer).await
    }

    async fn release_stale(&mut self, minutes: u8, cut: Cut) -> Checked {
        let Some(retention) = self.ground.writer.retention() else { return Ok(()) };
        self.trace.note(format!("claims older than {minutes}.5 minutes are given back, cut off {cut:?}"));
        let mut after = self.table.clone();
        let expected = after.release_stale(minutes);
        let call =
            retried("give stale claims back", async || retention.release_stale_locks(span(minutes)).await);
        let answer = cut.off(call).await.transpose()?;
        self.decide(after, expected, answer).await
    }

    async fn delete_old(&mut self, minutes: u8, batch: u32, iterations: u32) -> Checked {
        let Some(retention) = self.ground.writer.retention() else { return Ok(()) };
        self.trace.note(format!(
            "what was completed more than {minutes}.5 minutes ago is deleted, {batch} at a time, {iterations} times"
        ));
        let outdated = self.table.outdated(minutes);
        let expected = (outdated.len() as u64).min(u64::from(batch) * u64::from(iterations));
        let deleted = retried("clean up", async || {
            retention.cleanup_old_events(span(minutes), size(batch), iterations).await
        })
        .await?;
        // which of them is the store's choice
        let stored = self.get(&outdated).await?;
        for (id, stored) in outdated.iter().zip(stored) {
            if stored.is_none()
                && let Some(row) = self.table.row_mut(*id)
            {
                row.is_deleted = true;
            }
        }
        let gone = (outdated.len() - self.table.outdated(minutes).len()) as u64;
        if (deleted, gone) != (expected, expected) {
            return mismatch(format!(
                "{deleted} are said to be deleted, {gone} are, and {expected} should be"
            ));
        }
        self.compare().await
    }

    /// Completes all that is left, and empties the table.
    pub(super) async fn clean_up(&mut self) -> Checked {
        let pending: Vec<(EventId, ClaimToken)> = self
            .table
            .rows
            .iter()
            .filter(|row| row.is_pending())
            .map(|row| (row.id(), row.claim.as_ref().map_or_else(token, |(by, _)| by.clone())))
            .collect();
        self.trace.note("all that is left is claimed and completed".into());
        let mut after = self.table.clone();
        for (id, token) in pending {
            let store = &self.ground.writer;
            let claimed = retried("claim an event", async || store.mark_processing(id, &token).await).await?;
            let completed =
                retried("complete an event", async || store.mark_completed(id, &token).await).await?;
            if (claimed, completed) != (after.process(id, &token), !after.complete(&[id], &token).is_empty())
            {
                return mismatch(format!("{} cannot be completed by who has it", self.names(&[id])));
            }
        }
        self.decide(after, (), Some(())).await?;
        self.fetch_pending(1000).await?;
        self.advance(3).await;
        if let Some(retention) = self.ground.writer.retention() {
            let old = Duration::from_secs(30);
            retried("clean up", async || retention.cleanup_old_events(old, size(1000), 100).await).await?;
        }
        Ok(())
    }
}
