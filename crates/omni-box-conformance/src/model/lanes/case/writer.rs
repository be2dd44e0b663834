//! The steps of those who write events.

use chrono::Utc;
use omni_box_core::EventRepository as _;
use omni_box_core::{
    Created, Error, ErrorKind, Event as _, EventStatus, NewOutboxEvent, OutboxEvent, OutboxRepository, Store,
};

use super::Case;
use crate::StoreFixture;
use crate::model::call::{self, Checked, Cut, begin, cannot, mismatch};
use crate::model::clock::{MINUTE, Minute, end, span};
use crate::model::lanes::event;
use crate::model::lanes::operation::{New, Schedule};
use crate::model::lanes::table::{Held, Row};

/// An open transaction.
pub(super) struct Open<S: Store> {
    tx: S::Tx,
    name: String,
    began: Minute,
    rows: Vec<Row>,
}

impl<F: StoreFixture<Store: OutboxRepository>> Case<'_, F> {
    pub(super) async fn begin(&mut self) -> Checked {
        if F::SINGLE_WRITER {
            self.end_open().await?;
        }
        if self.open.len() < 3 {
            self.transactions += 1;
            let name = format!("t{}", self.transactions);
            self.trace.note(format!("{name} begins"));
            let tx = begin(&self.ground.writer).await?;
            self.open.push(Open { tx, name, began: self.table.now, rows: Vec::new() });
        }
        Ok(())
    }

    /// Commits whatever is open.
    pub(super) async fn end_open(&mut self) -> Checked {
        while !self.open.is_empty() {
            self.commit(0).await?;
        }
        Ok(())
    }

    fn draw(&mut self, new: &New, schedule: Schedule) -> Row {
        let key = new.key.map(|key| key % self.ground.keys.0.len());
        self.events += 1;
        let name = format!("e{}", self.events);
        let mut draft = NewOutboxEvent::from_json("order.placed", "orders", format!("{{\"n\":\"{name}\"}}"))
            .max_attempts(new.max_attempts);
        if let Some(key) = key {
            draft = draft.partition_key(self.ground.keys.0[key].partition_key.clone());
        }
        if let Some(identity) = new.identity {
            draft = draft.idempotency_key(format!("{}/{identity}", self.ground.cases));
        }
        let now = Utc::now() + self.ground.ahead;
        let scheduled = match schedule {
            Schedule::Now => None,
            Schedule::Past => {
                draft = draft.scheduled_at(now - MINUTE / 2);
                None
            }
            Schedule::In(minutes) => {
                draft = draft.scheduled_at(now + span(minutes));
                Some(end(self.table.now, minutes))
            }
        };
        Row {
            event: event(draft),
            name,
            key,
            lane: key.map(|key| self.ground.keys.lane(key)),
            identity: new.identity,
            created: self.table.tick(),
            committed: 0,
            scheduled,
            status: EventStatus::Pending,
            attempts: 0,
            max_attempts: new.max_attempts,
            is_tried: false,
            held: Held::No,
            seq: None,
        }
    }

    pub(super) async fn create(&mut self, tx: usize, new: &New, cut: Cut) -> Checked {
        if self.open.is_empty() {
            self.begin().await?;
        }
        let mut own = self.open.remove(tx % self.open.len());
        // a store may take the time of an open transaction for that of its beginning: then what is in the past is not
        let schedule = if own.began == self.table.now { new.schedule } else { Schedule::Now };
        let mut row = self.draw(new, schedule);
        let key = row.key.map_or("no key".into(), |key| format!("key {}", ["a", "b", "c", "d"][key]));
        self.trace.note(format!(
            "{} creates {} ({key}, {:?}{}), cut off {cut:?}",
            own.name,
            row.name,
            schedule,
            new.identity.map_or(String::new(), |identity| format!(", identity {identity}"))
        ));
        let rival = self.open.iter().position(|open| {
            row.identity.is_some() && open.rows.iter().any(|held| held.identity == row.identity)
        });
        let store = &self.ground.writer;
        let created = match rival.map(|rival| self.open.remove(rival)) {
            None => cut.off(store.create(&mut own.tx, &row.event)).await,
            Some(other) => {
                // one waits for the other
                self.trace.note(format!(
                    "  meanwhile {} {}",
                    other.name,
                    if new.other_commits { "commits" } else { "rolls back" }
                ));
                let end = async {
                    tokio::task::yield_now().await;
                    if new.other_commits {
                        call::commit(store, other.tx).await
                    } else {
                        call::rollback(store, other.tx).await
                    }
                };
                let (created, ended) = tokio::join!(store.create(&mut own.tx, &row.event), end);
                ended?;
                if new.other_commits {
                    // its place is before what was created while it was open only by the store's choice
                    self.table.commit(other.rows);
                } else {
                    self.gone.extend(other.rows);
                }
                Some(created)
            }
        };
        row.created = self.table.tick();
        match self.judge(&own.rows, &row, created)? {
            Fate::Stored => own.rows.push(row),
            Fate::Known => self.gone.push(row),
            Fate::Over => {
                self.trace.note(format!("  {} is given up", own.name));
                store.abandon(own.tx).await;
                self.gone.extend(own.rows);
                self.gone.push(row);
                return self.quiet().await;
            }
        }
        self.open.push(own);
        Ok(())
    }

    fn judge(
        &self,
        own: &[Row],
        row: &Row,
        created: Option<Result<Created<OutboxEvent>, Error>>,
    ) -> Checked<Fate> {
        let known = row.identity.and_then(|identity| {
            let own = own.iter().find(|row| row.identity == Some(identity));
            own.or_else(|| self.table.by_identity(identity))
        });
        match created {
            None => Ok(Fate::Over),
            Some(Err(error)) if error.kind() == ErrorKind::Contention => Ok(Fate::Over),
            Some(Err(error)) => cannot("create an event", &error),
            Some(Ok(Created::New(_))) if known.is_none() => Ok(Fate::Stored),
            Some(Ok(Created::Existing(event))) => match known {
                Some(known) if known.id() == event.id() => known.compare(&event).map(|()| Fate::Known),
                Some(known) => mismatch(format!("another event than {} is said to exist", known.name)),
                None => mismatch(format!(
                    "nothing of {}'s identity is there, but something is said to exist",
                    row.name
                )),
            },
            Some(Ok(Created::New(_))) => mismatch(format!(
                "{} is new, although {} has its identity",
                row.name,
                known.map_or("another", |known| &known.name)
            )),
        }
    }

    pub(super) async fn commit(&mut self, tx: usize) -> Checked {
        let Some(open) = self.take(tx) else { return Ok(()) };
        self.trace.note(format!("{} commits", open.name));
        call::commit(&self.ground.writer, open.tx).await?;
        self.table.commit(open.rows);
        self.look().await
    }

    pub(super) async fn commit_unknown(&mut self, tx: usize, cut: Cut) -> Checked {
        let Some(open) = self.take(tx) else { return Ok(()) };
        self.trace.note(format!("{} commits, cut off {cut:?}", open.name));
        let answer = cut.off(self.ground.writer.commit(open.tx)).await;
        self.quiet().await?;
        if F::SINGLE_WRITER {
            self.end_open().await?;
        }
        let mut found = 0;
        for row in &open.rows {
            found += usize::from(self.stored(row).await?.is_some());
        }
        if found == open.rows.len() && !matches!(answer, Some(Err(_))) {
            self.trace.note("  it has committed".into());
            self.table.commit(open.rows);
        } else if found == 0 && !matches!(answer, Some(Ok(()))) {
            self.trace.note("  it has not committed".into());
            self.gone.extend(open.rows);
        } else {
            return mismatch(format!("{found} of {} events of the transaction are there", open.rows.len()));
        }
        self.look().await
    }

    pub(super) async fn rollback(&mut self, tx: usize, is_dropped: bool) -> Checked {
        let Some(open) = self.take(tx) else { return Ok(()) };
        if is_dropped {
            self.trace.note(format!("{} is dropped", open.name));
            drop(open.tx);
            self.quiet().await?;
        } else {
            self.trace.note(format!("{} rolls back", open.name));
            call::rollback(&self.ground.writer, open.tx).await?;
        }
        self.gone.extend(open.rows);
        self.look().await
    }

    fn take(&mut self, tx: usize) -> Option<Open<F::Store>> {
        (!self.open.is_empty()).then(|| self.open.remove(tx % self.open.len()))
    }
}

/// What became of a create.
enum Fate {
    Stored,
    /// Its identity was there.
    Known,
    /// The transaction cannot go on.
    Over,
}
