//! The steps of an open transaction.

use std::collections::BTreeSet;

use bytes::Bytes;
use omni_box_core::{
    ErrorKind, Event as _, EventContent, InboundMessage, InboxEvent, InboxRepository, InboxSettlement,
    NewInboxEvent, OmniBoxDomainService, Payload, QuarantinedMessage, Received, Result, SourcePosition,
    Store,
};

use super::Case;
use crate::InboxFixture;
use crate::model::call::{self, Checked, Cut, begin, cannot, mismatch};
use crate::model::inbox::group;
use crate::model::inbox::operation::{Delivery, Outcome, Variant};
use crate::model::inbox::table::{Row, Table};

/// An open transaction.
pub(super) struct Open<S: Store> {
    pub(super) tx: S::Tx,
    pub(super) name: String,
    pub(super) work: Work,
    savepoint: Option<Work>,
    /// All that it ever locked: a store may keep it until the end.
    touched: BTreeSet<Lock>,
}

/// What a transaction has done.
#[derive(Debug, Clone, Default)]
pub(super) struct Work {
    pub(super) written: Table,
    locked: BTreeSet<usize>,
}

/// What one transaction at a time may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lock {
    Message(usize),
    Broken(usize),
}

/// Ways to set, move and go back to the savepoint.
#[derive(Debug, Clone, Copy)]
pub(super) enum Savepoint {
    Set,
    Advance,
    RollBack,
}

/// How others of which a call waits are ended meanwhile.
async fn end<S: Store>(store: &S, rivals: Vec<Open<S>>, commits: bool) -> Checked<Vec<Table>> {
    tokio::task::yield_now().await;
    let mut written = Vec::new();
    for rival in rivals {
        if commits {
            call::commit(store, rival.tx).await?;
            written.push(rival.work.written);
        } else {
            call::rollback(store, rival.tx).await?;
        }
    }
    Ok(written)
}

impl<F: InboxFixture<Store: InboxRepository>> Case<'_, F> {
    pub(super) async fn begin(&mut self) -> Checked {
        if F::SINGLE_WRITER {
            self.end_open().await?;
        }
        if self.open.len() < 3 {
            self.transactions += 1;
            let name = format!("t{}", self.transactions);
            self.trace.note(format!("{name} begins"));
            let tx = begin(&self.ground.store).await?;
            let (work, touched) = (Work::default(), BTreeSet::new());
            self.open.push(Open { tx, name, work, savepoint: None, touched });
        }
        Ok(())
    }

    fn message(&self, delivery: Delivery) -> InboxEvent {
        let Delivery { message, variant } = delivery;
        let source = if variant == Variant::OtherSource { "bank" } else { "shop" };
        let value = if variant == Variant::OtherValue { "2" } else { "1" };
        let payload = Payload::from_text(format!("{{\"n\":{value}}}")).expect("valid JSON");
        let mut new = NewInboxEvent::new(
            format!("m{message} of {}", self.topic),
            group(),
            source,
            EventContent::new("order.placed", payload),
        )
        .max_attempts(2)
        .position(SourcePosition {
            topic: self.topic.clone(),
            partition: (message % 2) as i32,
            offset: message as i64,
        });
        if message % 3 > 0 {
            new = new.partition_key(format!("key-{}", message % 3));
        }
        if variant != Variant::WithoutDigest {
            new = new.digest(value.as_bytes().to_vec());
        }
        OmniBoxDomainService::default().create_inbox_event(new).expect("the suite's messages are valid")
    }

    /// Takes an open transaction (one is opened if there is none), and those that it would wait for.
    async fn take_with_rivals(
        &mut self,
        tx: usize,
        locks: &BTreeSet<Lock>,
    ) -> Checked<(Open<F::Store>, Vec<Open<F::Store>>)> {
        if self.open.is_empty() {
            self.begin().await?;
        }
        let own = self.open.remove(tx % self.open.len());
        let (rivals, others) =
            std::mem::take(&mut self.open).into_iter().partition(|open| !open.touched.is_disjoint(locks));
        self.open = others;
        Ok((own, rivals))
    }

    fn note_rivals(&self, rivals: &[Open<F::Store>], commits: bool) {
        for rival in rivals {
            let what = if commits { "commits" } else { "rolls back" };
            self.trace.note(format!("  meanwhile {} {what}", rival.name));
        }
    }

    /// The transaction cannot go on: its call was cut off, or must be run again.
    async fn give_up(&mut self, own: Open<F::Store>) -> Checked {
        self.trace.note(format!("  {} is given up", own.name));
        self.ground.store.abandon(own.tx).await;
        self.ground.fixture.quiet(self.open.len()).await;
        Ok(())
    }

    pub(super) async fn receive(
        &mut self,
        tx: usize,
        messages: &[Delivery],
        other_commits: bool,
        cut: Cut,
    ) -> Checked {
        let mut deliveries: Vec<Delivery> = Vec::new();
        for delivery in messages {
            // no message id twice in one call
            if deliveries.iter().all(|other| other.message != delivery.message) {
                deliveries.push(*delivery);
            }
        }
        let locks = deliveries.iter().map(|delivery| Lock::Message(delivery.message)).collect();
        let (mut own, rivals) = self.take_with_rivals(tx, &locks).await?;
        self.trace.note(format!("{} receives {deliveries:?}, cut off {cut:?}", own.name));
        self.note_rivals(&rivals, other_commits);
        let events: Vec<InboxEvent> = deliveries.iter().map(|delivery| self.message(*delivery)).collect();
        self.drawn.extend(events.iter().map(omni_box_core::Event::id));
        let store = &self.ground.store;
        let received = if rivals.is_empty() {
            cut.off(store.receive(&mut own.tx, &events)).await
        } else {
            let (received, written) =
                tokio::join!(store.receive(&mut own.tx, &events), end(store, rivals, other_commits));
            written?.into_iter().for_each(|written| self.table.commit(written));
            Some(received)
        };
        let Some(received) = answered("receive messages", received)? else { return self.give_up(own).await };
        if received.len() != events.len() {
            return mismatch(format!("{} answers for {} messages", received.len(), events.len()));
        }
        for ((delivery, event), received) in deliveries.iter().zip(events).zip(&received) {
            let known = own.work.written.rows.get(&delivery.message);
            match known.or_else(|| self.table.rows.get(&delivery.message)) {
                Some(row) => row.judge(&event, received, self.now)?,
                None if *received == Received::New => {
                    own.work.written.rows.insert(delivery.message, Row::new(event));
                }
                None => {
                    return mismatch(format!(
                        "{} was not there, and is not said to be new",
                        event.message_id()
                    ));
                }
            }
            own.work.locked.insert(delivery.message);
        }
        own.touched.extend(locks);
        self.open.push(own);
        Ok(())
    }

    pub(super) async fn settle(&mut self, tx: usize, outcomes: &[Outcome]) -> Checked {
        if self.open.is_empty() {
            return Ok(());
        }
        let mut own = self.open.remove(tx % self.open.len());
        let mut settlement = InboxSettlement::default();
        let mut changed = own.work.written.clone();
        for (message, outcome) in own.work.locked.iter().zip(outcomes) {
            let written = own.work.written.rows.get(message);
            let Some(row) = written.or_else(|| self.table.rows.get(message)) else { continue };
            let mut row = row.clone();
            match outcome {
                Outcome::Completed => {
                    settlement.completed.push(row.event.id());
                    row.complete();
                }
                Outcome::Failed(fault) => {
                    let failure = fault.failure();
                    row.fail(&failure, self.now);
                    settlement.failures.push((row.event.id(), failure));
                }
                Outcome::Kept => continue,
            }
            self.trace.note(format!("{} settles m{message} {outcome:?}", own.name));
            changed.rows.insert(*message, row);
        }
        let settled = self.ground.store.settle(&mut own.tx, &settlement).await;
        if answered("settle messages", Some(settled))?.is_none() {
            return self.give_up(own).await;
        }
        own.work.written = changed;
        self.open.push(own);
        Ok(())
    }

    pub(super) async fn savepoint(&mut self, tx: usize, way: Savepoint) -> Checked {
        let Some(savepoints) = self.ground.store.savepoints().filter(|_| !self.open.is_empty()) else {
            return Ok(());
        };
        let place = tx % self.open.len();
        let own = &mut self.open[place];
        // it is set once
        if matches!(way, Savepoint::Set) == own.savepoint.is_some() {
            return Ok(());
        }
        self.trace.note(format!("{}: savepoint, {way:?}", own.name));
        let done = match way {
            Savepoint::Set => savepoints.start(&mut own.tx).await,
            Savepoint::Advance => savepoints.advance(&mut own.tx).await,
            Savepoint::RollBack => savepoints.rollback(&mut own.tx).await,
        };
        done.or_else(|error| cannot("set, advance or roll back to a savepoint", &error))?;
        match (&own.savepoint, way) {
            (Some(work), Savepoint::RollBack) => own.work = work.clone(),
            _ => own.savepoint = Some(own.work.clone()),
        }
        Ok(())
    }

    pub(super) async fn quarantine(
        &mut self,
        tx: usize,
        broken: &[usize],
        other_commits: bool,
        cut: Cut,
    ) -> Checked {
        let broken: BTreeSet<usize> = broken.iter().copied().collect();
        let locks = broken.iter().map(|message| Lock::Broken(*message)).collect();
        let (mut own, rivals) = self.take_with_rivals(tx, &locks).await?;
        self.reasons += 1;
        let reason = format!("reason {}", self.reasons);
        self.trace.note(format!("{} quarantines {broken:?} ({reason}), cut off {cut:?}", own.name));
        self.note_rivals(&rivals, other_commits);
        let kept: Vec<QuarantinedMessage> = broken
            .iter()
            .map(|message| QuarantinedMessage {
                consumer_group: group(),
                message: InboundMessage {
                    topic: self.topic.clone(),
                    partition: 0,
                    offset: *message as i64,
                    key: None,
                    value: Some(Bytes::from_static(b"\xff\0")),
                    headers: Vec::new(),
                    timestamp: None,
                },
                error: reason.clone(),
            })
            .collect();
        let store = &self.ground.store;
        let done = if rivals.is_empty() {
            cut.off(store.quarantine(&mut own.tx, &kept)).await
        } else {
            let (done, written) =
                tokio::join!(store.quarantine(&mut own.tx, &kept), end(store, rivals, other_commits));
            written?.into_iter().for_each(|written| self.table.commit(written));
            Some(done)
        };
        if answered("quarantine messages", done)?.is_none() {
            return self.give_up(own).await;
        }
        for message in broken {
            if !self.table.quarantined.contains_key(&message) {
                own.work.written.quarantined.entry(message).or_insert_with(|| reason.clone());
            }
        }
        own.touched.extend(locks);
        self.open.push(own);
        Ok(())
    }
}

/// `None`: the transaction cannot go on.
fn answered<T>(what: &str, answer: Option<Result<T>>) -> Checked<Option<T>> {
    match answer {
        None => Ok(None),
        Some(Err(error)) if error.kind() == ErrorKind::Contention => Ok(None),
        Some(Err(error)) => cannot(what, &error),
        Some(Ok(value)) => Ok(Some(value)),
    }
}
