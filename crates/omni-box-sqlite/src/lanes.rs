//! Lanes: leases, the fetch of their owner, and what it settles.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{
    Activity, EventId, KeyRef, LaneEvent, LaneFetch, LaneHold, LaneId, LaneRead, LaneSettlement, LaneShare,
    Lease, LeaseRequest, OrderedLanes, OwnerId, Result, Settled, Store,
};
use omni_box_sql::{
    Outcome, Query, RELEASE_SLICE, check_lanes, fair_share, lane_event, lane_id, micros, release_slices,
};
use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::SqliteStore;
use crate::error::failed;
use crate::query::{array, ids};
use crate::row::Reader;

#[async_trait]
impl OrderedLanes for SqliteStore {
    async fn lease(&self, request: &LeaseRequest) -> Result<LaneShare> {
        self.check_ttl(request.ttl);
        let mut tx = self.begin().await?;
        let (share, unreleased) = self.take_share(&mut tx, request).await?;
        tx.commit().await?;
        self.orphans.keep(request.owner, &unreleased);
        Ok(share)
    }

    async fn release(&self, owner: OwnerId, leases: &[Lease]) -> Result<()> {
        let mut tx = self.begin().await?;
        let mine = self.held(&mut tx, owner, leases).await?;
        sqlx::query(self.queries.lanes_release.sql())
            .bind(numbers(&mine))
            .execute(&mut *tx)
            .await
            .map_err(failed("give lanes back"))?;
        tx.commit().await?;
        self.wake();
        Ok(())
    }

    async fn leave(&self, owner: OwnerId) -> Result<()> {
        let mut tx = self.begin().await?;
        for query in [&self.queries.lanes_leave, &self.queries.lanes_release_all] {
            sqlx::query(query.sql())
                .bind(owner.to_string())
                .execute(&mut *tx)
                .await
                .map_err(failed("give all lanes back"))?;
        }
        tx.commit().await?;
        self.orphans.keep(owner, &[]);
        self.wake();
        Ok(())
    }

    /// First whether anything is due at all, where nothing is in flight: a look of an idle relay is one statement. Then what is due, by its
    /// size, then the rows themselves. A large backlog of large payloads is never read into memory to be thrown away. One view of the file.
    async fn fetch(
        &self,
        lanes: &[LaneRead],
        in_flight: &[EventId],
        resting: &[String],
        max_bytes: u64,
    ) -> Result<LaneFetch> {
        if in_flight.is_empty()
            && let Some(quiet_for) = self.quiet_for().await?
        {
            return Ok(LaneFetch { quiet_for: Some(quiet_for), ..LaneFetch::default() });
        }
        let (in_flight, resting) = (ids(in_flight), array(resting.iter().map(String::as_str)));
        let mut tx = self.begin_read().await?;
        let mut due = Vec::with_capacity(lanes.len());
        for read in lanes {
            due.push(self.due(&mut tx, *read, &in_flight, &resting).await?);
        }
        let chosen = within(&due, max_bytes);
        let events = if chosen.is_empty() { Vec::new() } else { self.read(&mut tx, chosen).await? };
        tx.rollback().await?;
        Ok(events.into())
    }

    async fn settle(&self, owner: OwnerId, leases: &[Lease], settlement: &LaneSettlement) -> Result<Settled> {
        if settlement.is_empty() {
            return Ok(Settled::default());
        }
        let mut tx = self.begin().await?;
        let mine = self.held(&mut tx, owner, leases).await?;
        let unreleased = self.settle_held(&mut tx, &mine, settlement).await?;
        tx.commit().await?;
        let lost = leases.iter().map(|lease| lease.lane).filter(|lane| !mine.contains(lane)).collect();
        Ok(Settled { lost, unreleased })
    }

    async fn announce(&self, owner: OwnerId, leases: &[Lease], activity: Activity) -> Result<()> {
        let is_idle = activity == Activity::Idle;
        let mut reader = self.reader().await?;
        let is_new: bool = sqlx::query_scalar(self.queries.lanes_unannounced.sql())
            .bind(owner.to_string())
            .bind(pairs(leases))
            .bind(is_idle)
            .fetch_one(&mut *reader)
            .await
            .map_err(failed("read what lanes announce"))?;
        drop(reader);
        if !is_new {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        let mine = self.held(&mut tx, owner, leases).await?;
        sqlx::query(self.queries.lanes_announce.sql())
            .bind(numbers(&mine))
            .bind(is_idle)
            .execute(&mut *tx)
            .await
            .map_err(failed("announce whether lanes are idle"))?;
        tx.commit().await
    }
}

/// An event that is due, by its place in the table and the bytes of its payload.
type Due = (i64, i64);

impl SqliteStore {
    /// Returns the lanes, too, in which followers without a head wait still.
    async fn take_share(
        &self,
        conn: &mut SqliteConnection,
        request: &LeaseRequest,
    ) -> Result<(LaneShare, Vec<Lease>)> {
        let (owner, ttl) = (request.owner.to_string(), micros(request.ttl));
        // four statements in one call, which is what a heartbeat costs; only the last two have rows
        let queries = &self.queries;
        let heartbeat =
            [&queries.lanes_alive, &queries.lanes_forget, &queries.lanes_count, &queries.lanes_renew];
        let heartbeat = heartbeat.map(|query| query.sql().0).join(";\n");
        let mut rows = sqlx::query_as::<_, (i64, i64)>(AssertSqlSafe(heartbeat))
            .bind(&owner)
            .bind(request.worker.as_str())
            .bind(ttl)
            .fetch_all(&mut *conn)
            .await
            .map_err(failed("renew leases"))?
            .into_iter();
        let (alive, lanes) = rows.next().ok_or_else(|| failed("count relays")(sqlx::Error::RowNotFound))?;
        let fair_share = fair_share(lanes, alive);
        let mut leases: Vec<Lease> = rows.map(lease).collect();
        if leases.len() < fair_share {
            let rows: Vec<(i64, i64)> = sqlx::query_as(self.queries.lanes_claim.sql())
                .bind(&owner)
                .bind(request.worker.as_str())
                .bind(ttl)
                .bind((fair_share - leases.len()) as i64)
                .fetch_all(&mut *conn)
                .await
                .map_err(failed("take lanes"))?;
            if !rows.is_empty() {
                let mode: Option<(String, i64)> = sqlx::query_as(self.queries.control_mode.sql())
                    .fetch_optional(&mut *conn)
                    .await
                    .map_err(failed("read the delivery mode"))?;
                check_lanes(mode.as_ref().map(|(mode, _)| mode.as_str()))?;
            }
            let taken: Vec<Lease> = rows.into_iter().map(lease).collect();
            self.orphans.add(request.owner, &taken);
            leases.extend(taken);
        }
        leases.sort_by_key(|lease| lease.lane);
        let unreleased = self.release_orphans(conn, self.orphans.of(request.owner, &leases)).await?;
        Ok((LaneShare { leases, fair_share }, unreleased))
    }

    /// Releases a slice of what waits for no head in lanes that were taken; returns the lanes in which more may wait.
    async fn release_orphans(
        &self,
        conn: &mut SqliteConnection,
        mut lanes: Vec<Lease>,
    ) -> Result<Vec<Lease>> {
        let mut room = RELEASE_SLICE as u64;
        while let Some(lease) = lanes.last() {
            let done = sqlx::query(self.queries.lanes_release_orphans.sql())
                .bind(lease.lane.number())
                .bind(room as i64)
                .execute(&mut *conn)
                .await
                .map_err(failed("release keys without a head"))?;
            room = room.saturating_sub(done.rows_affected());
            if room == 0 {
                break;
            }
            lanes.pop();
        }
        Ok(lanes)
    }

    /// Which of these lanes are the owner's; they stay so until the transaction ends, as it has the write lock.
    async fn held(
        &self,
        conn: &mut SqliteConnection,
        owner: OwnerId,
        leases: &[Lease],
    ) -> Result<HashSet<LaneId>> {
        let mine: Vec<i64> = sqlx::query_scalar(self.queries.lanes_held.sql())
            .bind(owner.to_string())
            .bind(pairs(leases))
            .fetch_all(conn)
            .await
            .map_err(failed("check leases"))?;
        Ok(mine.into_iter().map(lane_id).collect())
    }

    /// For how long nothing becomes due by itself, whatever the lane; none if something may be due. Each commit to the file wakes.
    async fn quiet_for(&self) -> Result<Option<Duration>> {
        let mut reader = self.reader().await?;
        let (any_due, timed_in): (bool, Option<i64>) = sqlx::query_as(self.queries.lanes_any_due.sql())
            .fetch_one(&mut *reader)
            .await
            .map_err(failed("look for events that are due"))?;
        let timed_in = timed_in.unwrap_or(i64::MAX);
        let is_quiet = !any_due && timed_in > 0;
        Ok(is_quiet.then(|| Duration::from_micros(timed_in.unsigned_abs())))
    }

    async fn due(
        &self,
        conn: &mut SqliteConnection,
        read: LaneRead,
        in_flight: &str,
        resting: &str,
    ) -> Result<Vec<Due>> {
        sqlx::query_as(self.queries.lanes_fetch.sql())
            .bind(read.lane.number())
            .bind(read.limit)
            .bind(in_flight)
            .bind(resting)
            .fetch_all(conn)
            .await
            .map_err(failed("fetch events of lanes"))
    }

    async fn read(&self, conn: &mut SqliteConnection, chosen: Vec<i64>) -> Result<Vec<LaneEvent>> {
        let rows = sqlx::query(self.queries.lanes_read.sql())
            .bind(array(chosen))
            .fetch_all(conn)
            .await
            .map_err(failed("fetch events of lanes"))?;
        rows.iter()
            .map(|row| lane_event(&mut Reader::new(row)))
            .collect::<Result<_, _>>()
            .map_err(failed("read events of lanes"))
    }

    /// Heads first: a key is released only when no head of it is left, and has followers only while it has one. Returns the keys of which
    /// followers wait still.
    async fn settle_held(
        &self,
        conn: &mut SqliteConnection,
        mine: &HashSet<LaneId>,
        settlement: &LaneSettlement,
    ) -> Result<Vec<KeyRef>> {
        let LaneSettlement { completed, holds, followers, release } = settlement;
        let lanes = numbers(mine);
        if !completed.is_empty() {
            self.change(conn, &self.queries.lanes_complete, completed, &lanes).await?;
        }
        for hold in holds {
            self.hold(conn, hold, &lanes).await?;
        }
        let mut unreleased =
            self.release_keys(conn, release.iter().filter(|key| mine.contains(&key.lane))).await?;
        if !followers.is_empty() {
            for query in [&self.queries.lanes_follow, &self.queries.lanes_follow_deferred] {
                self.change(conn, query, followers, &lanes).await?;
            }
            // the followers of a head that is gone go on ahead of these events
            let orphaned = self.orphaned(conn, followers, &lanes).await?;
            unreleased.extend(self.release_keys(conn, &orphaned).await?);
        }
        Ok(unreleased)
    }

    /// Runs a statement whose parameters are events and the lanes they may be of.
    async fn change(
        &self,
        conn: &mut SqliteConnection,
        query: &Query,
        events: &[EventId],
        lanes: &str,
    ) -> Result<()> {
        sqlx::query(query.sql())
            .bind(ids(events))
            .bind(lanes)
            .execute(conn)
            .await
            .map_err(failed("settle events"))?;
        Ok(())
    }

    async fn hold(&self, conn: &mut SqliteConnection, hold: &LaneHold, lanes: &str) -> Result<()> {
        let Outcome { charge, kind, delay } = Outcome::from(&hold.failure);
        sqlx::query(self.queries.lanes_hold.sql())
            .bind(hold.id.to_string())
            .bind(charge)
            .bind(hold.failure.error())
            .bind(kind)
            .bind(micros(delay))
            .bind(hold.attempts_made)
            .bind(lanes)
            .execute(conn)
            .await
            .map_err(failed("hold an event"))?;
        Ok(())
    }

    /// Releases a slice of what waits behind heads that are done; returns the keys of which more waits.
    async fn release_keys(
        &self,
        conn: &mut SqliteConnection,
        keys: impl IntoIterator<Item = &KeyRef>,
    ) -> Result<Vec<KeyRef>> {
        let (keys, most) = release_slices(keys);
        let mut room = RELEASE_SLICE as u64;
        let mut unreleased = Vec::new();
        for key in keys {
            let most = room.min(most as u64);
            let done = sqlx::query(self.queries.lanes_release_key.sql())
                .bind(key.lane.number())
                .bind(&key.topic)
                .bind(&key.partition_key)
                .bind(most as i64)
                .execute(&mut *conn)
                .await
                .map_err(failed("release a held key"))?;
            room -= done.rows_affected();
            if done.rows_affected() == most && self.waits(conn, key).await? {
                unreleased.push(key.clone());
            }
        }
        Ok(unreleased)
    }

    /// Whether followers of a key wait.
    async fn waits(&self, conn: &mut SqliteConnection, key: &KeyRef) -> Result<bool> {
        sqlx::query_scalar(self.queries.lanes_waits.sql())
            .bind(key.lane.number())
            .bind(&key.topic)
            .bind(&key.partition_key)
            .fetch_one(conn)
            .await
            .map_err(failed("look for held keys"))
    }

    /// Keys of these events that have followers but no head.
    async fn orphaned(
        &self,
        conn: &mut SqliteConnection,
        events: &[EventId],
        lanes: &str,
    ) -> Result<Vec<KeyRef>> {
        let keys: Vec<(i64, String, String)> = sqlx::query_as(self.queries.lanes_orphaned.sql())
            .bind(ids(events))
            .bind(lanes)
            .fetch_all(conn)
            .await
            .map_err(failed("look for keys without a head"))?;
        let key_ref = |(lane, topic, partition_key): (i64, String, String)| KeyRef {
            lane: lane_id(lane),
            topic,
            partition_key,
        };
        Ok(keys.into_iter().map(key_ref).collect())
    }
}

/// Takes the first of each lane, then the second of each, while the bytes last; at least one.
fn within(due: &[Vec<Due>], max_bytes: u64) -> Vec<i64> {
    let deepest = due.iter().map(Vec::len).max().unwrap_or(0);
    let mut chosen = Vec::new();
    let mut bytes = 0;
    for (seq, size) in (0..deepest).flat_map(|place| due.iter().filter_map(move |lane| lane.get(place))) {
        if bytes >= max_bytes.max(1) {
            break;
        }
        bytes += size.max(&0).cast_unsigned();
        chosen.push(*seq);
    }
    chosen
}

/// Leases as statements take them.
fn pairs(leases: &[Lease]) -> String {
    array(leases.iter().map(|lease| serde_json::json!([lease.lane.number(), lease.epoch])))
}

fn numbers(lanes: &HashSet<LaneId>) -> String {
    array(lanes.iter().map(|lane| lane.number()))
}

fn lease((lane, epoch): (i64, i64)) -> Lease {
    Lease { lane: lane_id(lane), epoch }
}
