//! The search for due events in the mode `rows`, in statements that stay short however much is pending.

use std::time::Duration;

use omni_box_core::{BatchSize, ClaimToken, FetchFilters, OutboxEvent, Result};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::PgStore;
use crate::outbox::outbox_events;
use crate::place::Key;
use crate::store::{Session, interval};

/// How many keys a call looks at where the oldest events belong to a few keys.
const KEYS: i64 = 1_000;

/// Who claims what is found, and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Claim<'a> {
    pub(crate) token: &'a ClaimToken,
    pub(crate) ttl: Duration,
}

/// Events that may be due, and whether there are more.
struct Candidates {
    ids: Vec<Uuid>,
    is_full: bool,
}

impl PgStore {
    /// Due events, oldest first among those it looks at, claimed if a claim is given. It looks at a window of the oldest. Where they are
    /// those of a few keys, it goes on by key from where the last call ended. So no key's backlog hides another key.
    pub(crate) async fn due(
        &self,
        mut session: Session,
        limit: BatchSize,
        filters: &FetchFilters,
        claim: Option<Claim<'_>>,
    ) -> Result<Vec<OutboxEvent>> {
        let limit = i64::from(limit.get());
        let window = self.candidates(&mut session, (2 * limit).max(200), filters, claim).await?;
        let mut rows = self.take(&mut session, limit, &window.ids, claim).await?;
        let missing = limit - i64::try_from(rows.len()).unwrap_or(limit);
        if window.is_full && missing > 0 {
            match self.take_by_key(&mut session, missing, filters, claim).await {
                Ok(more) => rows.extend(more),
                // what is claimed is handed out; the next call finds out whether the failure stays
                Err(_) if claim.is_some() && !rows.is_empty() && session.is_plain() => {
                    return outbox_events(&rows);
                }
                Err(error) => return Err(error),
            }
        }
        session.finish().await?;
        outbox_events(&rows)
    }

    async fn candidates(
        &self,
        session: &mut Session,
        window: i64,
        filters: &FetchFilters,
        claim: Option<Claim<'_>>,
    ) -> Result<Candidates> {
        let found: Vec<(Uuid, bool)> = sqlx::query_as(self.queries.outbox_candidates.sql())
            .bind(window)
            .bind(&filters.topics)
            .bind(&filters.aggregate_types)
            .bind(&filters.aggregate_ids)
            .bind(claim.map(|claim| interval(claim.ttl)))
            .fetch_all(&mut **session)
            .await
            .map_err(self.failed("look for due events"))?;
        let is_full = found.first().is_some_and(|(_, is_full)| *is_full);
        Ok(Candidates { ids: found.into_iter().map(|(id, _)| id).collect(), is_full })
    }

    async fn take_by_key(
        &self,
        session: &mut Session,
        limit: i64,
        filters: &FetchFilters,
        claim: Option<Claim<'_>>,
    ) -> Result<Vec<PgRow>> {
        let place = self.place.get();
        let (mut ids, mut end) = self.free_keys(session, KEYS, filters, claim, place.as_ref()).await?;
        if end.is_none() && place.is_some() {
            let (from_the_beginning, its_end) = self.free_keys(session, KEYS, filters, claim, None).await?;
            ids.extend(from_the_beginning);
            end = its_end;
        }
        self.place.set(end);
        self.take(session, limit, &ids, claim).await
    }

    /// The first event of each key after `place` where it is free, and the last key; none, where no key comes behind it.
    async fn free_keys(
        &self,
        session: &mut Session,
        keys: i64,
        filters: &FetchFilters,
        claim: Option<Claim<'_>>,
        place: Option<&Key>,
    ) -> Result<(Vec<Uuid>, Option<Key>)> {
        let (topic, key) = place.map_or(("", ""), |(topic, key)| (topic, key));
        let found: Vec<(Uuid, bool, String, String)> = sqlx::query_as(self.queries.outbox_keys.sql())
            .bind(keys)
            .bind(&filters.topics)
            .bind(&filters.aggregate_types)
            .bind(&filters.aggregate_ids)
            .bind(claim.map(|claim| interval(claim.ttl)))
            .bind(topic)
            .bind(key)
            .fetch_all(&mut **session)
            .await
            .map_err(self.failed("look for keys with due events"))?;
        let is_full = i64::try_from(found.len()).is_ok_and(|found| found == keys);
        let end = found.last().filter(|_| is_full).map(|(.., topic, key)| (topic.clone(), key.clone()));
        Ok((found.into_iter().filter(|(_, is_free, ..)| *is_free).map(|(id, ..)| id).collect(), end))
    }

    /// Those of the candidates that are due and the first of their keys.
    async fn take(
        &self,
        session: &mut Session,
        limit: i64,
        ids: &[Uuid],
        claim: Option<Claim<'_>>,
    ) -> Result<Vec<PgRow>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let query = match claim {
            Some(Claim { token, ttl }) => sqlx::query(self.queries.outbox_claim.sql())
                .bind(limit)
                .bind(ids)
                .bind(token.as_str())
                .bind(interval(ttl)),
            None => sqlx::query(self.queries.outbox_fetch_rows.sql()).bind(limit).bind(ids),
        };
        query.fetch_all(&mut **session).await.map_err(self.failed("take due events"))
    }
}
