//! Lanes: leases, the fetch of their owner, and what it settles.

use std::collections::HashSet;

use async_trait::async_trait;
use omni_box_core::{
    Activity, ErrorKind, EventId, KeyRef, LaneEvent, LaneHold, LaneId, LaneRead, LaneSettlement, LaneShare,
    Lease, LeaseRequest, OrderedLanes, OwnerId, Result, Settled,
};
use omni_box_sql::{Outcome, Query, check_lanes, fair_share, lane_event, lane_id};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use uuid::Uuid;

use crate::PgStore;
use crate::error::failed;
use crate::outbox::lane_number;
use crate::row::Reader;
use crate::store::interval;

#[async_trait]
impl OrderedLanes for PgStore {
    /// One transaction, and a durable one: an epoch must not fall back when the server crashes. What waits for nobody in a lane is released
    /// by whoever takes it: were that a transaction of its own, its failure would leave it to the next owner.
    async fn lease(&self, request: &LeaseRequest) -> Result<LaneShare> {
        let mut tx = self.begin_brief().await?;
        let share = self.take_share(&mut tx, request).await?;
        tx.commit_checked().await?;
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
            .map_err(failed("give all lanes back"))?;
        session.finish().await?;
        self.notify().await
    }

    async fn fetch(
        &self,
        lanes: &[LaneRead],
        in_flight: &[EventId],
        max_bytes: u64,
    ) -> Result<Vec<LaneEvent>> {
        if lanes.is_empty() {
            return Ok(Vec::new());
        }
        let mut session = self.session().await?;
        let rows = sqlx::query(self.queries.lanes_fetch.sql())
            .bind(lanes.iter().map(|read| lane_number(read.lane)).collect::<Vec<_>>())
            .bind(lanes.iter().map(|read| i32::try_from(read.limit).unwrap_or(i32::MAX)).collect::<Vec<_>>())
            .bind(uuids(in_flight))
            .bind(i64::try_from(max_bytes).unwrap_or(i64::MAX).max(1))
            .fetch_all(&mut *session)
            .await
            .map_err(failed("fetch events of lanes"))?;
        session.finish().await?;
        rows.iter()
            .map(|row| lane_event(&mut Reader::new(row)))
            .collect::<Result<_, _>>()
            .map_err(failed("read events of lanes"))
    }

    async fn settle(&self, owner: OwnerId, leases: &[Lease], settlement: &LaneSettlement) -> Result<Settled> {
        if settlement.is_empty() {
            return Ok(Settled::default());
        }
        if settlement.holds.is_empty() && settlement.followers.is_empty() && settlement.release.is_empty() {
            return self.complete(owner, leases, &settlement.completed).await;
        }
        let mut tx = self.begin_brief().await?;
        let (mine, lost) = self.lock_lanes(&mut tx, owner, leases).await?;
        self.settle_locked(&mut tx, &mine, settlement).await?;
        tx.commit_checked().await?;
        Ok(Settled { lost })
    }

    async fn announce(&self, owner: OwnerId, leases: &[Lease], activity: Activity) -> Result<()> {
        let (lanes, epochs) = columns(leases);
        let mut session = self.session().await?;
        sqlx::query(self.queries.lanes_announce.sql())
            .bind(owner.as_uuid())
            .bind(lanes)
            .bind(epochs)
            .bind(activity == Activity::Idle)
            .execute(&mut *session)
            .await
            .map_err(failed("announce whether lanes are idle"))?;
        session.finish().await
    }
}

impl PgStore {
    async fn take_share(&self, conn: &mut PgConnection, request: &LeaseRequest) -> Result<LaneShare> {
        let owner = request.owner.as_uuid();
        let ttl = interval(request.ttl);
        sqlx::query(self.queries.lanes_alive.sql())
            .bind(owner)
            .bind(request.worker.as_str())
            .bind(ttl)
            .execute(&mut *conn)
            .await
            .map_err(failed("say that a relay is alive"))?;
        let (alive, lanes, held, epochs): (i64, i64, Vec<i16>, Vec<i64>) =
            sqlx::query_as(self.queries.lanes_renew.sql())
                .bind(owner)
                .bind(ttl)
                .fetch_one(&mut *conn)
                .await
                .map_err(failed("renew leases"))?;
        let mut leases: Vec<Lease> =
            held.into_iter().zip(epochs).map(|(lane, epoch)| Lease { lane: lane_id(lane), epoch }).collect();
        let fair_share = fair_share(lanes, alive);
        if leases.len() < fair_share {
            let rows: Vec<(i16, i64)> = sqlx::query_as(self.queries.lanes_claim.sql())
                .bind(owner)
                .bind(request.worker.as_str())
                .bind(ttl)
                .bind((fair_share - leases.len()) as i64)
                .fetch_all(&mut *conn)
                .await
                .map_err(failed("take lanes"))?;
            let taken: Vec<Lease> =
                rows.into_iter().map(|(lane, epoch)| Lease { lane: lane_id(lane), epoch }).collect();
            if !taken.is_empty() {
                // the change of the mode locks every lane before the mode: neither waits for the other
                let mode: Option<String> = sqlx::query_scalar(self.queries.control_lock_mode.sql())
                    .fetch_optional(&mut *conn)
                    .await
                    .map_err(failed("read the delivery mode"))?;
                check_lanes(mode.as_deref())?;
                self.release_orphans(conn, request, &taken).await?;
            }
            leases.extend(taken);
        }
        leases.sort_by_key(|lease| lease.lane);
        Ok(LaneShare { leases, fair_share })
    }

    /// Releases what waits for nobody in lanes that are being taken, for half a lease at most: where more keys wait than can be looked at in
    /// that time, the lanes come first.
    async fn release_orphans(
        &self,
        conn: &mut PgConnection,
        request: &LeaseRequest,
        taken: &[Lease],
    ) -> Result<()> {
        let half = i32::try_from(request.ttl.as_millis() / 2).unwrap_or(i32::MAX).max(1);
        let bound = format!("savepoint omni_box; set local statement_timeout = {half}");
        conn.execute(sqlx::raw_sql(AssertSqlSafe(bound))).await.map_err(failed("bound a statement"))?;
        match self.guarded(conn, &self.queries.lanes_release_orphans, request.owner, taken).await {
            Err(error) if error.kind() == ErrorKind::Timeout => {
                tracing::warn!(
                    lanes = taken.len(),
                    "events whose key's head is gone were not looked for, too many keys wait; the next owner of these lanes will"
                );
                conn.execute("rollback to savepoint omni_box")
                    .await
                    .map_err(failed("roll back a statement"))?;
                Ok(())
            }
            other => other,
        }
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
            .map_err(failed("change lanes"))?;
        Ok(())
    }

    async fn complete(&self, owner: OwnerId, leases: &[Lease], ids: &[EventId]) -> Result<Settled> {
        let (lanes, epochs) = columns(leases);
        let mut session = self.session().await?;
        let lost: Vec<i16> = sqlx::query_scalar(self.queries.lanes_complete.sql())
            .bind(owner.as_uuid())
            .bind(lanes)
            .bind(epochs)
            .bind(uuids(ids))
            .fetch_one(&mut *session)
            .await
            .map_err(failed("complete events"))?;
        session.finish().await?;
        Ok(Settled { lost: lost.into_iter().map(lane_id).collect() })
    }

    /// Keeps every lane that is still the owner's from being taken, and tells which are not.
    async fn lock_lanes(
        &self,
        conn: &mut PgConnection,
        owner: OwnerId,
        leases: &[Lease],
    ) -> Result<(Vec<i16>, Vec<LaneId>)> {
        let (lanes, epochs) = columns(leases);
        let mine: Vec<i16> = sqlx::query_scalar(self.queries.lanes_lock.sql())
            .bind(owner.as_uuid())
            .bind(lanes)
            .bind(epochs)
            .fetch_all(conn)
            .await
            .map_err(failed("check leases"))?;
        let kept: HashSet<i16> = mine.iter().copied().collect();
        let lost = leases
            .iter()
            .map(|lease| lease.lane)
            .filter(|lane| !kept.contains(&lane_number(*lane)))
            .collect();
        Ok((mine, lost))
    }

    /// Heads first: a key is released only when no head of it is left, and has followers only while it has one.
    async fn settle_locked(
        &self,
        conn: &mut PgConnection,
        mine: &[i16],
        settlement: &LaneSettlement,
    ) -> Result<()> {
        let LaneSettlement { completed, holds, followers, release } = settlement;
        if !completed.is_empty() {
            self.change(conn, &self.queries.lanes_complete_locked, completed, mine).await?;
        }
        if !holds.is_empty() {
            self.hold(conn, mine, holds).await?;
        }
        if !release.is_empty() {
            self.release_keys(conn, mine, release).await?;
        }
        if !followers.is_empty() {
            for query in [
                &self.queries.lanes_follow,
                &self.queries.lanes_follow_deferred,
                &self.queries.lanes_follow_orphaned,
            ] {
                self.change(conn, query, followers, mine).await?;
            }
        }
        Ok(())
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
            .map_err(failed("settle events"))?;
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
            .map_err(failed("hold events"))?;
        Ok(())
    }

    async fn release_keys(&self, conn: &mut PgConnection, mine: &[i16], keys: &[KeyRef]) -> Result<()> {
        sqlx::query(self.queries.lanes_release_keys.sql())
            .bind(keys.iter().map(|key| lane_number(key.lane)).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.topic.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.partition_key.as_str()).collect::<Vec<_>>())
            .bind(mine)
            .execute(conn)
            .await
            .map_err(failed("release held keys"))?;
        Ok(())
    }
}

pub(crate) fn uuids(ids: &[EventId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.as_uuid()).collect()
}

fn columns(leases: &[Lease]) -> (Vec<i16>, Vec<i64>) {
    leases.iter().map(|lease| (lane_number(lease.lane), lease.epoch)).unzip()
}
