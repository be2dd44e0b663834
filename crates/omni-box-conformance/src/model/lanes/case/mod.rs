//! A case: the store, the model, and those who work on it.

mod writer;

use std::collections::BTreeSet;

use omni_box_core::{
    Activity, Event as _, EventId, EventRepository as _, LaneFetch, LaneId, LaneRead, LaneSettlement, Lease,
    OutboxEvent, OutboxRepository, OwnerId,
};

use self::writer::Open;
use super::fetch::Room;
use super::operation::{Operation, Outcome, RELAYS};
use super::relay::{Lost, Relay, settlement};
use super::table::{Row, Table};
use super::{AMPLE, Lanes, lanes_of, request};
use crate::StoreFixture;
use crate::model::call::{Checked, Cut, begin, cannot, mismatch, retried, rollback};
use crate::model::clock::MINUTE;
use crate::model::runner::Trace;

/// Fetches of the last relay. Each settles what the one before has released.
const DRAINS: usize = 6;

pub(super) struct Case<'a, F: StoreFixture> {
    ground: &'a mut Lanes<F>,
    trace: &'a Trace,
    table: Table,
    open: Vec<Open<F::Store>>,
    /// What was rolled back.
    gone: Vec<Row>,
    events: usize,
    transactions: usize,
    relays: Vec<Relay>,
}

impl<'a, F: StoreFixture<Store: OutboxRepository>> Case<'a, F> {
    pub(super) fn new(ground: &'a mut Lanes<F>, trace: &'a Trace) -> Self {
        Self {
            ground,
            trace,
            table: Table::default(),
            open: Vec::new(),
            gone: Vec::new(),
            events: 0,
            transactions: 0,
            relays: (0..RELAYS).map(|_| Relay::new()).collect(),
        }
    }

    pub(super) async fn step(&mut self, operation: &Operation) -> Checked {
        match operation {
            Operation::Begin => self.begin().await,
            Operation::Create { tx, events, commits, cut } => {
                for event in events {
                    self.create(*tx, event, *cut).await?;
                }
                if *commits { self.commit(self.open.len().saturating_sub(1)).await } else { Ok(()) }
            }
            Operation::Commit { tx } => self.commit(*tx).await,
            Operation::CommitUnknown { tx, cut } => self.commit_unknown(*tx, *cut).await,
            Operation::Rollback { tx } => self.rollback(*tx, false).await,
            Operation::Drop { tx } => self.rollback(*tx, true).await,
            Operation::Lease { relay, cut } => self.lease(*relay, *cut).await,
            Operation::Fetch { relay, limit, is_small } => {
                let room = if *is_small { Room::One } else { Room::Ample };
                self.fetch(*relay, *limit, room).await
            }
            Operation::Settle { relay, outcomes, releases, cut, again } => {
                self.settle(*relay, outcomes, *releases, *cut).await?;
                if *again { self.repeat(*relay).await } else { Ok(()) }
            }
            Operation::Return { relay } => {
                self.leave(*relay, Cut::NEVER).await?;
                self.lease(*relay, Cut::NEVER).await
            }
            Operation::Repeat { relay } => self.repeat(*relay).await,
            Operation::SettleLost { relay, outcomes, releases } => {
                self.settle_lost(*relay, outcomes, *releases).await
            }
            Operation::GiveBack { relay, keep, cut } => self.give_back(*relay, *keep, *cut).await,
            Operation::Announce { relay, is_idle } => self.announce(*relay, *is_idle).await,
            Operation::Leave { relay, cut } => self.leave(*relay, *cut).await,
            Operation::Crash { relay } => {
                self.trace.note(format!("r{relay} crashes"));
                self.relays[*relay].crash();
                Ok(())
            }
            Operation::Advance { minutes } => self.advance(*minutes).await,
        }
    }

    async fn advance(&mut self, minutes: u8) -> Checked {
        self.trace.note(format!("{minutes} minutes go by"));
        if F::SINGLE_WRITER {
            self.end_open().await?;
        }
        let by = MINUTE * u32::from(minutes);
        self.ground.fixture.advance(by).await;
        self.ground.ahead += by;
        self.table.now += u64::from(minutes);
        self.look().await
    }

    /// Waits until nothing that was cut off is still under way.
    async fn quiet(&self) -> Checked {
        self.ground.fixture.quiet(self.open.len()).await;
        Ok(())
    }

    /// Before one writes whom open transactions would keep waiting.
    async fn make_way(&mut self) -> Checked {
        if F::SINGLE_WRITER { self.end_open().await } else { Ok(()) }
    }

    async fn lease(&mut self, relay: usize, cut: Cut) -> Checked {
        self.make_way().await?;
        self.trace.note(format!("r{relay} leases, cut off {cut:?}"));
        let request = request(self.relays[relay].owner);
        let lanes = lanes_of(&self.ground.stores[relay]);
        if cut.off(lanes.lease(&request)).await.is_none() {
            self.quiet().await?;
        }
        // it asks again, whatever became of the first: that one only did what this one does
        let mut share = retried("lease lanes", async || lanes.lease(&request).await).await?;
        share.leases.sort_by_key(|lease| lease.lane);
        self.trace.note(format!("  it has {}", text(&share.leases)));
        self.ground.leases.lease(request.owner, self.table.now, &share)?;
        self.relays[relay].renew(share.leases);
        self.look().await
    }

    async fn fetch(&mut self, relay: usize, limit: u32, room: Room) -> Checked {
        let ids = self.relays[relay].ids();
        let reads = self.relays[relay].reads(limit);
        self.trace.note(format!("r{relay} fetches {limit} of each lane, room {room:?}"));
        let lanes = lanes_of(&self.ground.stores[relay]);
        let LaneFetch { events: answer, bounds, .. } =
            retried("fetch events of lanes", async || lanes.fetch(&reads, &ids, &[], room.bytes()).await)
                .await?;
        let names: Vec<String> = answer
            .iter()
            .map(|read| {
                let name = self.table.row(read.event.id()).map_or("?", |row| &row.name);
                let flag = match (read.is_held_head, read.is_behind_head) {
                    (false, false) => "",
                    (true, false) => " (head)",
                    (false, true) => " (behind)",
                    (true, true) => " (head, behind)",
                };
                format!("{name}{flag}")
            })
            .collect();
        self.trace.note(format!("  it reads [{}], bounds {bounds:?}", names.join(", ")));
        self.table.check_fetch(&reads, &ids, room, &answer)?;
        self.relays[relay].read(&answer, bounds);
        Ok(())
    }

    async fn settle(&mut self, relay: usize, outcomes: &[Outcome], releases: bool, cut: Cut) -> Checked {
        if self.relays[relay].in_flight.is_empty() {
            self.fetch(relay, 1000, Room::Ample).await?;
        }
        let mut in_flight = std::mem::take(&mut self.relays[relay].in_flight);
        let before = in_flight.clone();
        let settlement = settlement(&mut in_flight, outcomes, releases, &self.table, &self.ground.keys);
        self.relays[relay].in_flight = in_flight;
        self.relays[relay].unread(&before, &settlement);
        let (owner, leases) = (self.relays[relay].owner, self.relays[relay].leases.clone());
        self.write(relay, owner, leases, settlement, cut).await
    }

    async fn repeat(&mut self, relay: usize) -> Checked {
        let Some((owner, leases, settlement)) = self.relays[relay].last.clone() else { return Ok(()) };
        // what came in between may have given the key another head: no relay would write this now
        let mut after = self.table.clone();
        after.settle(&self.ground.leases.lanes().collect(), &settlement, &self.ground.keys);
        if after.has_rival_heads() {
            return Ok(());
        }
        self.trace.note("again:".into());
        self.write(relay, owner, leases, settlement, Cut::NEVER).await
    }

    async fn settle_lost(&mut self, relay: usize, outcomes: &[Outcome], releases: bool) -> Checked {
        let Some(Lost { owner, leases, mut in_flight }) = self.relays[relay].lost.take() else {
            return Ok(());
        };
        let settlement = settlement(&mut in_flight, outcomes, releases, &self.table, &self.ground.keys);
        self.trace.note("of lost lanes, or of before the crash:".into());
        self.write(relay, owner, leases, settlement, Cut::NEVER).await
    }

    /// Writes a settlement and compares everything that it might have changed.
    async fn write(
        &mut self,
        relay: usize,
        owner: OwnerId,
        leases: Vec<Lease>,
        settlement: LaneSettlement,
        cut: Cut,
    ) -> Checked {
        if settlement.is_empty() {
            return Ok(());
        }
        self.make_way().await?;
        self.trace.note(format!("r{relay} settles {}, cut off {cut:?}", self.text_of(&settlement)));
        let lanes = lanes_of(&self.ground.stores[relay]);
        let answer = match cut
            .off(retried("settle", async || lanes.settle(owner, &leases, &settlement).await))
            .await
        {
            Some(answer) => Some(answer?.lost),
            None => None,
        };
        let check = self.ground.leases.check(owner, &leases, self.table.now);
        let concerned: BTreeSet<LaneId> = leases.iter().map(|lease| lease.lane).collect();
        self.relays[relay].last = Some((owner, leases.clone(), settlement.clone()));
        let Some(lost) = answer else {
            self.quiet().await?;
            let mine = &concerned - &check.lost;
            return self.find_out(&settlement, &mine).await;
        };
        let lost: BTreeSet<LaneId> = lost.into_iter().collect();
        if !lost.is_superset(&check.lost) || !lost.is_subset(&(&check.lost | &check.expired)) {
            let numbers = |lanes: &BTreeSet<LaneId>| {
                format!("{:?}", lanes.iter().map(|lane| lane.number()).collect::<Vec<_>>())
            };
            return mismatch(format!(
                "lanes {} were lost, {} should be",
                numbers(&lost),
                numbers(&check.lost)
            ));
        }
        self.table.settle(&(&concerned - &lost), &settlement, &self.ground.keys);
        let held = &self.relays[relay].leases;
        let gone: Vec<Lease> = held
            .iter()
            .filter(|lease| leases.contains(lease) && lost.contains(&lease.lane))
            .copied()
            .collect();
        self.relays[relay].lose(&gone);
        self.compare(&settlement).await?;
        self.look().await
    }

    /// After a settlement without an answer: it has happened as a whole or not at all.
    async fn find_out(&mut self, settlement: &LaneSettlement, mine: &BTreeSet<LaneId>) -> Checked {
        let before = self.table.clone();
        self.table.settle(mine, settlement, &self.ground.keys);
        let Err(happened) = self.compare_and_look(settlement).await else {
            self.trace.note("  it has happened".into());
            return Ok(());
        };
        self.table = before;
        match self.compare_and_look(settlement).await {
            Ok(()) => {
                self.trace.note("  it has not happened".into());
                Ok(())
            }
            Err(not) => {
                mismatch(format!("it has happened in part. If it had: {happened}. If it had not: {not}"))
            }
        }
    }

    async fn compare_and_look(&mut self, settlement: &LaneSettlement) -> Checked {
        self.compare(settlement).await?;
        self.look().await
    }

    async fn give_back(&mut self, relay: usize, keep: usize, cut: Cut) -> Checked {
        self.make_way().await?;
        let leases: Vec<Lease> = self.relays[relay].leases.iter().skip(keep).copied().collect();
        self.trace.note(format!("r{relay} gives back {}, cut off {cut:?}", text(&leases)));
        let owner = self.relays[relay].owner;
        let lanes = lanes_of(&self.ground.stores[relay]);
        if cut.off(lanes.release(owner, &leases)).await.is_none() {
            self.quiet().await?;
        }
        // twice is once
        retried("release lanes", async || lanes.release(owner, &leases).await).await?;
        self.ground.leases.release(owner, &leases);
        self.relays[relay].lose(&leases);
        self.look().await
    }

    async fn announce(&mut self, relay: usize, is_idle: bool) -> Checked {
        self.make_way().await?;
        let activity = if is_idle { Activity::Idle } else { Activity::Busy };
        self.trace.note(format!("r{relay} announces {activity:?}"));
        let Relay { owner, leases, .. } = &self.relays[relay];
        let lanes = lanes_of(&self.ground.stores[relay]);
        retried("announce", async || lanes.announce(*owner, leases, activity).await).await
    }

    async fn leave(&mut self, relay: usize, cut: Cut) -> Checked {
        self.make_way().await?;
        self.trace.note(format!("r{relay} leaves, cut off {cut:?}"));
        let owner = self.relays[relay].owner;
        let lanes = lanes_of(&self.ground.stores[relay]);
        if cut.off(lanes.leave(owner)).await.is_none() {
            self.quiet().await?;
        }
        retried("leave", async || lanes.leave(owner).await).await?;
        self.ground.leases.leave(owner);
        let leases = self.relays[relay].leases.clone();
        self.relays[relay].lose(&leases);
        self.look().await
    }

    /// Reads everything that is due, and compares it.
    async fn look(&mut self) -> Checked {
        let reads: Vec<LaneRead> = self.ground.leases.lanes().map(|lane| LaneRead::all(lane, 1000)).collect();
        let lanes = lanes_of(&self.ground.writer);
        let fetch = async || lanes.fetch(&reads, &[], &[], AMPLE).await;
        let answer = retried("fetch events of lanes", fetch).await?.events;
        self.table.check_fetch(&reads, &[], Room::Ample, &answer)
    }

    /// Compares the rows that a settlement names.
    async fn compare(&self, settlement: &LaneSettlement) -> Checked {
        let holds = settlement.holds.iter().map(|hold| hold.id);
        let ids: BTreeSet<EventId> =
            settlement.completed.iter().chain(&settlement.followers).copied().chain(holds).collect();
        let rows: Vec<&Row> = self.table.rows.iter().filter(|row| ids.contains(&row.id())).collect();
        self.compare_rows(&rows).await
    }

    async fn compare_rows(&self, rows: &[&Row]) -> Checked {
        if rows.is_empty() {
            return Ok(());
        }
        let store = &self.ground.writer;
        let mut tx = begin(store).await?;
        for row in rows {
            let stored = store.get_by_id(&mut tx, row.id()).await;
            match stored.or_else(|error| cannot("look an event up", &error))? {
                Some(stored) => row.compare(&stored)?,
                None => return mismatch(format!("{} has committed, but is not there", row.name)),
            }
        }
        rollback(store, tx).await
    }

    async fn stored(&self, row: &Row) -> Checked<Option<OutboxEvent>> {
        let store = &self.ground.writer;
        let mut tx = begin(store).await?;
        let stored = store.get_by_id(&mut tx, row.id()).await;
        let stored = stored.or_else(|error| cannot("look an event up", &error))?;
        rollback(store, tx).await?;
        Ok(stored)
    }

    /// One relay settles all that is left; then every row is compared.
    pub(super) async fn drain(&mut self) -> Checked {
        self.end_open().await?;
        self.advance(10).await?;
        self.relays[0] = Relay::new();
        self.lease(0, Cut::NEVER).await?;
        self.trace.note("r0 drains".into());
        for _ in 0..DRAINS {
            self.fetch(0, 1000, Room::Ample).await?;
            if self.relays[0].in_flight.is_empty() {
                break;
            }
            let outcomes = vec![Outcome::Completed; self.relays[0].in_flight.len()];
            self.settle(0, &outcomes, true, Cut::NEVER).await?;
        }
        // what waits for an operator is never read
        let pending = self.table.rows.iter().filter(|row| row.is_pending());
        let completed = pending.map(Row::id).collect();
        let release = self.ground.keys.0.clone();
        let settlement = LaneSettlement { completed, release, ..LaneSettlement::default() };
        let (owner, leases) = (self.relays[0].owner, self.relays[0].leases.clone());
        self.write(0, owner, leases, settlement, Cut::NEVER).await?;
        self.compare_rows(&self.table.rows.iter().collect::<Vec<_>>()).await?;
        for row in &self.gone {
            if self.stored(row).await?.is_some() {
                return mismatch(format!("{} was not committed, but is there", row.name));
            }
        }
        self.clean_up(owner).await
    }

    async fn clean_up(&mut self, owner: OwnerId) -> Checked {
        let lanes = lanes_of(&self.ground.writer);
        retried("leave", async || lanes.leave(owner).await).await?;
        self.ground.leases.rewind();
        Ok(())
    }

    fn text_of(&self, settlement: &LaneSettlement) -> String {
        let name = |id: &EventId| self.table.row(*id).map_or("?", |row| &row.name);
        let mut parts: Vec<String> =
            settlement.completed.iter().map(|id| format!("{} completed", name(id))).collect();
        parts.extend(settlement.holds.iter().map(|hold| {
            let failure = &hold.failure;
            format!(
                "{} {:?} {:?} (read with {} attempts)",
                name(&hold.id),
                failure.attempt,
                failure.retry,
                hold.attempts_made
            )
        }));
        parts.extend(settlement.followers.iter().map(|id| format!("{} follows", name(id))));
        parts.extend(settlement.release.iter().map(|key| format!("release of {}", key.partition_key)));
        format!("[{}]", parts.join(", "))
    }
}

fn text(leases: &[Lease]) -> String {
    let parts: Vec<String> = leases.iter().map(|lease| format!("{}@{}", lease.lane, lease.epoch)).collect();
    format!("lanes [{}]", parts.join(" "))
}
