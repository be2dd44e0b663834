//! Lanes: leases, the fetch of their owner, and what it settles.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{
    Activity, ErrorKind, EventId, KeyRef, LaneFetch, LaneHold, LaneId, LaneRead, LaneSettlement, LaneShare,
    Lease, LeaseRequest, OrderedLanes, OwnerId, Result, Settled,
};
use omni_box_sql::{Outcome, Query, RELEASE_SLICE, check_lanes, fair_share, lane_id, release_slices};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use tokio::time::Instant;

use crate::PgStore;
use crate::outbox::lane_number;
use crate::reading::Except;
use crate::row::uuids;
use crate::store::interval;
use crate::transaction::Limits;

/// How long a call waits for a lane that another session has locked; then it goes on without it.
const LANE_PATIENCE: Duration = Duration::from_secs(2);

#[async_trait]
impl OrderedLanes for PgStore {
    /// One transaction, and a durable one: an epoch must not fall back when the server crashes. It also releases followers whose
    /// head is gone: in a transaction of its own that could fail alone, and leave them to the next owner.
    async fn lease(&self, request: &LeaseRequest) -> Result<LaneShare> {
        // before any snapshot of this call
        let proven = self.horizon.proven_at();
        // a lock that is not to be had costs no lease: a heartbeat is a quarter of it
        let mut tx = self.begin_within(Limits::BRIEF.lock(request.ttl / 8)).await?;
        let (share, unreleased) = self.take_share(&mut tx, request).await?;
        tx.commit_checked().await?;
        self.orphans.keep(request.owner, &unreleased);
        self.move_on(request.owner, &share.leases, proven, request.ttl / 8).await;
        Ok(share)
    }

    async fn release(&self, owner: OwnerId, leases: &[Lease]) -> Result<()> {
        let mut session = self.session().await?;
        self.guarded(&mut session, &self.queries.lanes_release, owner, leases).await?;
        session.finish().await?;
        self.notify().await
    }

    async fn leave(&self, owner: OwnerId) -> Result<()> {
        let mut session = self.session().await?;
        sqlx::query(self.queries.lanes_leave.sql())
            .bind(owner.as_uuid())
            .execute(&mut *session)
            .await
            .map_err(self.failed("give all lanes back"))?;
        session.finish().await?;
        self.orphans.keep(owner, &[]);
        self.progress.forget(owner);
        self.notify().await
    }

    async fn fetch(
        &self,
        lanes: &[LaneRead],
        in_flight: &[EventId],
        resting: &[String],
        max_bytes: u64,
    ) -> Result<LaneFetch> {
        if lanes.is_empty() {
            return Ok(LaneFetch::default());
        }
        let found = self.read_lanes(lanes, Except { in_flight, resting }, max_bytes).await;
        if found.is_err() {
            self.horizon.forget();
        }
        found
    }

    async fn settle(&self, owner: OwnerId, leases: &[Lease], settlement: &LaneSettlement) -> Result<Settled> {
        if settlement.is_empty() {
            return Ok(Settled::default());
        }
        let mut leases = leases.to_vec();
        if settlement.holds.is_empty() && settlement.followers.is_empty() && settlement.release.is_empty() {
            let missed = self.complete(owner, &leases, &settlement.completed).await?;
            if missed.is_empty() {
                return Ok(Settled::default());
            }
            leases.retain(|lease| missed.contains(&lease.lane));
        }
        let mut tx = self.begin_within(Limits::BRIEF.lock(LANE_PATIENCE).by_index()).await?;
        let (mine, lost) = self.lock_lanes(&mut tx, owner, &leases).await?;
        let unreleased = self.settle_locked(&mut tx, &mine, settlement).await?;
        tx.commit_checked().await?;
        Ok(Settled { lost, unreleased })
    }

    /// A store that does not listen says nothing: who writes would notify it in vain.
    async fn announce(&self, owner: OwnerId, leases: &[Lease], activity: Activity) -> Result<()> {
        if !self.config.wakes() {
            return Ok(());
        }
        if activity == Activity::Busy {
            self.horizon.announced(leases, activity);
        }
        let (lanes, epochs) = columns(leases);
        let mut session = self.session().await?;
        sqlx::query(self.queries.lanes_announce.sql())
            .bind(owner.as_uuid())
            .bind(lanes)
            .bind(epochs)
            .bind(activity == Activity::Idle)
            .execute(&mut *session)
            .await
            .map_err(self.failed("announce whether lanes are idle"))?;
        session.finish().await?;
        if activity == Activity::Idle {
            self.horizon.announced(leases, activity);
        }
        Ok(())
    }
}

impl PgStore {
    /// Returns the lanes, too, in which followers without a head wait still.
    async fn take_share(
        &self,
        conn: &mut PgConnection,
        request: &LeaseRequest,
    ) -> Result<(LaneShare, Vec<Lease>)> {
        let (mut leases, fair_share) = self.renew(conn, request).await?;
        if leases.len() < fair_share {
            // what was renewed stays so, whatever becomes of the rest
            conn.execute("savepoint omni_box_claim").await.map_err(self.failed("set a savepoint"))?;
            match self.claim_lanes(conn, request, fair_share - leases.len()).await {
                Ok(taken) => leases.extend(taken),
                Err(error) if error.kind() == ErrorKind::Contention && !leases.is_empty() => {
                    tracing::debug!(kind = ?error.kind(), "no lanes taken, somebody else holds a lock");
                    conn.execute("rollback to savepoint omni_box_claim")
                        .await
                        .map_err(self.failed("roll back to a savepoint"))?;
                }
                Err(error) => return Err(error),
            }
        }
        leases.sort_by_key(|lease| lease.lane);
        let unreleased = self.release_orphans(conn, request, self.orphans.of(request.owner, &leases)).await?;
        Ok((LaneShare { leases, fair_share }, unreleased))
    }

    /// Says that the owner is alive, and renews what it holds, but for lanes that another session (such as an operator's) has locked. These are
    /// tried again a short while later, and then left. A settlement of the owner's own is not in the way.
    async fn renew(&self, conn: &mut PgConnection, request: &LeaseRequest) -> Result<(Vec<Lease>, usize)> {
        const PAUSE: Duration = Duration::from_millis(20);
        let deadline = Instant::now() + (request.ttl / 8).min(LANE_PATIENCE);
        loop {
            let (alive, lanes, owned, held, epochs): (i64, i64, i64, Vec<i16>, Vec<i64>) =
                sqlx::query_as(self.queries.lanes_renew.sql())
                    .bind(request.owner.as_uuid())
                    .bind(interval(request.ttl))
                    .bind(request.worker.as_str())
                    .fetch_one(&mut *conn)
                    .await
                    .map_err(self.failed("renew leases"))?;
            if owned > held.len() as i64 && Instant::now() < deadline {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let lease = |(lane, epoch): (i16, i64)| Lease { lane: lane_id(lane), epoch };
            return Ok((held.into_iter().zip(epochs).map(lease).collect(), fair_share(lanes, alive)));
        }
    }

    /// Takes up to `most` lanes that are free or expired.
    async fn claim_lanes(
        &self,
        conn: &mut PgConnection,
        request: &LeaseRequest,
        most: usize,
    ) -> Result<Vec<Lease>> {
        let rows: Vec<(i16, i64)> = sqlx::query_as(self.queries.lanes_claim.sql())
            .bind(request.owner.as_uuid())
            .bind(request.worker.as_str())
            .bind(interval(request.ttl))
            .bind(most as i64)
            .fetch_all(&mut *conn)
            .await
            .map_err(self.failed("take lanes"))?;
        let taken: Vec<Lease> =
            rows.into_iter().map(|(lane, epoch)| Lease { lane: lane_id(lane), epoch }).collect();
        if !taken.is_empty() {
            // the change of the mode locks every lane before the mode: neither waits for the other
            let mode: Option<String> = sqlx::query_scalar(self.queries.control_lock_mode.sql())
                .fetch_optional(&mut *conn)
                .await
                .map_err(self.failed("read the delivery mode"))?;
            check_lanes(mode.as_deref())?;
            self.horizon.announced(&taken, Activity::Busy);
            self.orphans.add(request.owner, &taken);
        }
        Ok(taken)
    }

    /// Releases followers without a head in lanes that were taken, slice by slice, for an eighth of a lease. Returns the lanes in which
    /// more may wait. A slice that takes half a lease is given up: the lanes come first.
    async fn release_orphans(
        &self,
        conn: &mut PgConnection,
        request: &LeaseRequest,
        lanes: Vec<Lease>,
    ) -> Result<Vec<Lease>> {
        let until = Instant::now() + request.ttl / 8;
        let half = i32::try_from(request.ttl.as_millis() / 2).unwrap_or(i32::MAX).max(1);
        let bound = format!("savepoint omni_box; set local statement_timeout = {half}");
        while !lanes.is_empty() {
            let bound = sqlx::raw_sql(AssertSqlSafe(bound.clone()));
            conn.execute(bound).await.map_err(self.failed("bound a statement"))?;
            match self.release_slice(conn, request.owner, &lanes).await {
                Ok(released) if released < RELEASE_SLICE as u64 => return Ok(Vec::new()),
                Ok(_) if Instant::now() < until => {
                    conn.execute("release savepoint omni_box")
                        .await
                        .map_err(self.failed("release a savepoint"))?;
                }
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Timeout => {
                    tracing::warn!(
                        lanes = lanes.len(),
                        "events whose key's head is gone were not all looked for, too many keys wait; trying again with the next heartbeat"
                    );
                    conn.execute("rollback to savepoint omni_box")
                        .await
                        .map_err(self.failed("roll back a statement"))?;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(lanes)
    }

    async fn release_slice(&self, conn: &mut PgConnection, owner: OwnerId, lanes: &[Lease]) -> Result<u64> {
        let (lanes, epochs) = columns(lanes);
        let done = sqlx::query(self.queries.lanes_release_orphans.sql())
            .bind(owner.as_uuid())
            .bind(lanes)
            .bind(epochs)
            .bind(RELEASE_SLICE as i64)
            .execute(conn)
            .await
            .map_err(self.failed("release keys without a head"))?;
        Ok(done.rows_affected())
    }

    /// Runs a statement whose parameters are the owner and its leases.
    async fn guarded(
        &self,
        conn: &mut PgConnection,
        query: &Query,
        owner: OwnerId,
        leases: &[Lease],
    ) -> Result<()> {
        let (lanes, epochs) = columns(leases);
        sqlx::query(query.sql())
            .bind(owner.as_uuid())
            .bind(lanes)
            .bind(epochs)
            .execute(conn)
            .await
            .map_err(self.failed("change lanes"))?;
        Ok(())
    }

    /// Completes events of the lanes that are the owner's and that no other session has locked; returns the others.
    async fn complete(&self, owner: OwnerId, leases: &[Lease], ids: &[EventId]) -> Result<Vec<LaneId>> {
        let (lanes, epochs) = columns(leases);
        let mut session = self.session().await?;
        let (lost, is_large): (Vec<i16>, bool) = sqlx::query_as(self.queries.lanes_complete.sql())
            .persistent(self.outbox_plans.are_kept())
            .bind(owner.as_uuid())
            .bind(lanes)
            .bind(epochs)
            .bind(uuids(ids))
            .fetch_one(&mut *session)
            .await
            .map_err(self.failed("complete events"))?;
        self.outbox_plans.note(is_large);
        session.finish().await?;
        Ok(lost.into_iter().map(lane_id).collect())
    }

    /// Keeps every lane that is still the owner's from being taken, and tells which are not. Those that another session keeps locked
    /// count among them, so that one lane does not stop the others.
    async fn lock_lanes(
        &self,
        conn: &mut PgConnection,
        owner: OwnerId,
        leases: &[Lease],
    ) -> Result<(Vec<i16>, Vec<LaneId>)> {
        let mut mine = self.lock_by(conn, &self.queries.lanes_lock_free, owner, leases).await?;
        if mine.len() < leases.len() {
            conn.execute("savepoint omni_box_lanes").await.map_err(self.failed("set a savepoint"))?;
            match self.lock_by(conn, &self.queries.lanes_lock, owner, leases).await {
                Ok(all) => mine = all,
                Err(error) if error.kind() == ErrorKind::Contention => {
                    conn.execute("rollback to savepoint omni_box_lanes")
                        .await
                        .map_err(self.failed("roll back to a savepoint"))?;
                }
                Err(error) => return Err(error),
            }
        }
        let kept: HashSet<i16> = mine.iter().copied().collect();
        let lost = leases
            .iter()
            .map(|lease| lease.lane)
            .filter(|lane| !kept.contains(&lane_number(*lane)))
            .collect();
        Ok((mine, lost))
    }

    async fn lock_by(
        &self,
        conn: &mut PgConnection,
        query: &Query,
        owner: OwnerId,
        leases: &[Lease],
    ) -> Result<Vec<i16>> {
        let (lanes, epochs) = columns(leases);
        sqlx::query_scalar(query.sql())
            .bind(owner.as_uuid())
            .bind(lanes)
            .bind(epochs)
            .fetch_all(conn)
            .await
            .map_err(self.failed("check leases"))
    }

    /// Heads first: a key is released only when no head of it is left, and has followers only while it has one. Returns the keys of which
    /// followers wait still.
    async fn settle_locked(
        &self,
        conn: &mut PgConnection,
        mine: &[i16],
        settlement: &LaneSettlement,
    ) -> Result<Vec<KeyRef>> {
        let LaneSettlement { completed, holds, followers, release } = settlement;
        if !completed.is_empty() {
            self.change(conn, &self.queries.lanes_complete_locked, completed, mine).await?;
        }
        if !holds.is_empty() {
            self.hold(conn, mine, holds).await?;
        }
        let mut unreleased = self.release_keys(conn, mine, release).await?;
        if !followers.is_empty() {
            for query in [&self.queries.lanes_follow, &self.queries.lanes_follow_deferred] {
                self.change(conn, query, followers, mine).await?;
            }
            // the followers of a head that is gone go on ahead of these events
            let orphaned = self.orphaned(conn, mine, followers).await?;
            unreleased.extend(self.release_keys(conn, mine, &orphaned).await?);
        }
        Ok(unreleased)
    }

    /// Runs a statement whose parameters are events and the lanes they may be of.
    async fn change(
        &self,
        conn: &mut PgConnection,
        query: &Query,
        ids: &[EventId],
        mine: &[i16],
    ) -> Result<()> {
        sqlx::query(query.sql())
            .bind(uuids(ids))
            .bind(mine)
            .execute(conn)
            .await
            .map_err(self.failed("settle events"))?;
        Ok(())
    }

    async fn hold(&self, conn: &mut PgConnection, mine: &[i16], holds: &[LaneHold]) -> Result<()> {
        let outcomes: Vec<Outcome> = holds.iter().map(|hold| Outcome::from(&hold.failure)).collect();
        sqlx::query(self.queries.lanes_hold.sql())
            .bind(holds.iter().map(|hold| hold.id.as_uuid()).collect::<Vec<_>>())
            .bind(outcomes.iter().map(|outcome| outcome.charge).collect::<Vec<_>>())
            .bind(holds.iter().map(|hold| hold.failure.error()).collect::<Vec<_>>())
            .bind(outcomes.iter().map(|outcome| outcome.kind).collect::<Vec<_>>())
            .bind(outcomes.iter().map(|outcome| interval(outcome.delay)).collect::<Vec<_>>())
            .bind(
                holds
                    .iter()
                    .map(|hold| i32::try_from(hold.attempts_made).unwrap_or(i32::MAX))
                    .collect::<Vec<_>>(),
            )
            .bind(mine)
            .execute(conn)
            .await
            .map_err(self.failed("hold events"))?;
        Ok(())
    }

    /// Releases a slice of what waits behind heads that are done; returns the keys of which more waits.
    async fn release_keys(
        &self,
        conn: &mut PgConnection,
        mine: &[i16],
        keys: &[KeyRef],
    ) -> Result<Vec<KeyRef>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let (keys, most) = release_slices(keys);
        let lanes: Vec<i16> = keys.iter().map(|key| lane_number(key.lane)).collect();
        let topics: Vec<&str> = keys.iter().map(|key| key.topic.as_str()).collect();
        let names: Vec<&str> = keys.iter().map(|key| key.partition_key.as_str()).collect();
        let released = sqlx::query(self.queries.lanes_release_keys.sql())
            .bind(&lanes)
            .bind(&topics)
            .bind(&names)
            .bind(mine)
            .bind(most as i64)
            .bind(RELEASE_SLICE as i64)
            .execute(&mut *conn)
            .await
            .map_err(self.failed("release held keys"))?;
        if released.rows_affected() < most as u64 {
            return Ok(Vec::new());
        }
        let left: Vec<(i16, String, String)> = sqlx::query_as(self.queries.lanes_unreleased.sql())
            .bind(&lanes)
            .bind(&topics)
            .bind(&names)
            .bind(mine)
            .fetch_all(conn)
            .await
            .map_err(self.failed("look for held keys"))?;
        Ok(left.into_iter().map(key_ref).collect())
    }

    /// Keys of these events that have followers but no head.
    async fn orphaned(&self, conn: &mut PgConnection, mine: &[i16], ids: &[EventId]) -> Result<Vec<KeyRef>> {
        let keys: Vec<(i16, String, String)> = sqlx::query_as(self.queries.lanes_orphaned.sql())
            .bind(uuids(ids))
            .bind(mine)
            .fetch_all(conn)
            .await
            .map_err(self.failed("look for keys without a head"))?;
        Ok(keys.into_iter().map(key_ref).collect())
    }
}

fn key_ref((lane, topic, partition_key): (i16, String, String)) -> KeyRef {
    KeyRef { lane: lane_id(lane), topic, partition_key }
}

fn columns(leases: &[Lease]) -> (Vec<i16>, Vec<i64>) {
    leases.iter().map(|lease| (lane_number(lease.lane), lease.epoch)).unzip()
}
