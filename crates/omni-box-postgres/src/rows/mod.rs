//! The search for due rows, to be claimed one by one, in statements that stay short however much is pending.

mod inbox;
mod outbox;

use std::collections::HashSet;
use std::time::Duration;

use omni_box_core::{BatchSize, ClaimToken, FetchFilters, Result};
use omni_box_sql::{Places, Query, StoredEvent};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Postgres, Row};
use uuid::Uuid;

use crate::PgStore;
use crate::error::failed;
use crate::plans::Plans;
use crate::query::Queries;
use crate::row::Reader;
use crate::store::{Session, interval};

/// How many keys a call looks at where the oldest events belong to a few keys.
const KEYS: i64 = 1_000;

type Statement = sqlx::query::Query<'static, Postgres, PgArguments>;

/// Who claims what is found, and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Claim<'a> {
    pub(crate) token: &'a ClaimToken,
    pub(crate) ttl: Duration,
}

/// What is looked for.
pub(crate) struct Search<'a> {
    filters: &'a FetchFilters,
    claim: Option<Claim<'a>>,
    /// What is searched.
    parts: Vec<String>,
}

/// Events whose table is searched.
pub(crate) trait Searched: StoredEvent {
    /// What events share that are in order.
    type Key: Clone + Send + Sync;

    /// What is known of the table's plans.
    fn plans(store: &PgStore) -> &Plans;

    /// Where the searches by key have come to.
    fn places(store: &PgStore) -> &Places<Self::Key>;

    /// What filters name, for a search to go through: the groups of an inbox.
    fn parts(
        store: &PgStore,
        session: &mut Session,
        filters: &FetchFilters,
    ) -> impl Future<Output = Result<Vec<String>>> + Send;

    /// Events that may be due, out of `window` of each sort. Each comes with the parts in which there are more, and whether the table is large.
    fn candidates(queries: &Queries, window: i64, search: &Search<'_>) -> Statement;

    /// The first event of each of `keys` keys of a part after `place`, each with whether it is free, and its key.
    fn fronts(
        queries: &Queries,
        keys: i64,
        search: &Search<'_>,
        part: &str,
        place: Option<&Self::Key>,
    ) -> Statement;

    /// Reads the key of a [front](Self::fronts).
    fn key(row: &PgRow) -> sqlx::Result<Self::Key>;

    /// The statement that takes those of the candidates that are due and the first of their keys, and the one that claims them too.
    fn takes(queries: &Queries) -> [&Query; 2];
}

impl PgStore {
    /// Due events, oldest first among those it looks at, claimed if a claim is given. It looks at a window of the oldest. Where they are
    /// those of a few keys, it goes on by key from where the last call ended. So no key's backlog hides another key.
    pub(crate) async fn due<E: Searched>(
        &self,
        mut session: Session,
        limit: BatchSize,
        filters: &FetchFilters,
        claim: Option<Claim<'_>>,
    ) -> Result<Vec<E>> {
        let limit = i64::from(limit.get());
        let parts = E::parts(self, &mut session, filters).await?;
        let search = Search { filters, claim, parts };
        let (first, more) = self.candidates::<E>(&mut session, window(limit), &search).await?;
        let mut rows = self.take::<E>(&mut session, limit, &first, claim).await?;
        // what was looked at once in a call is not looked at again
        let mut met: HashSet<Uuid> = first.into_iter().collect();
        let keys = i64::try_from(more.len()).map_or(1, |parts| KEYS / parts.max(1)).max(1);
        for part in &more {
            let missing = limit - count(rows.len());
            if missing <= 0 {
                break;
            }
            let found = match self.free_keys::<E>(&mut session, keys, missing, &search, part, &mut met).await
            {
                Ok(ids) => self.take::<E>(&mut session, missing, &ids, claim).await,
                Err(error) => Err(error),
            };
            match found {
                Ok(found) => rows.extend(found),
                // what is claimed is handed out; the next call finds out whether the failure stays
                Err(_) if claim.is_some() && !rows.is_empty() && session.is_plain() => return events(&rows),
                Err(error) => return Err(error),
            }
        }
        session.finish().await?;
        events(&rows)
    }

    async fn candidates<E: Searched>(
        &self,
        session: &mut Session,
        window: i64,
        search: &Search<'_>,
    ) -> Result<(Vec<Uuid>, Vec<String>)> {
        const DOING: &str = "look for due events";
        let query = E::candidates(&self.queries, window, search).persistent(E::plans(self).are_kept());
        let found = query.fetch_all(&mut **session).await.map_err(self.failed(DOING))?;
        let mut more = Vec::new();
        if let Some(row) = found.first() {
            more = row.try_get(1).map_err(failed(DOING))?;
            E::plans(self).note(row.try_get(2).map_err(failed(DOING))?);
        }
        let ids = found.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<_>>();
        Ok((ids.map_err(failed(DOING))?, more))
    }

    /// The first event of each key where it is free and was not met, from where the last call ended, once around at most. The search ends
    /// after `keys` keys, or with enough events.
    async fn free_keys<E: Searched>(
        &self,
        session: &mut Session,
        keys: i64,
        enough: i64,
        search: &Search<'_>,
        part: &str,
        met: &mut HashSet<Uuid>,
    ) -> Result<Vec<Uuid>> {
        let mut place = E::places(self).get(part);
        let mut is_around = place.is_none();
        let (mut left, mut ids) = (keys, Vec::new());
        while left > 0 && count(ids.len()) < enough {
            let keys = left.min(window(enough));
            left -= keys;
            let (free, end) = self.free_after::<E>(session, keys, search, part, place.as_ref()).await?;
            ids.extend(free.into_iter().filter(|id| met.insert(*id)));
            place = end;
            if place.is_none() && std::mem::replace(&mut is_around, true) {
                break;
            }
        }
        E::places(self).set(part, place);
        Ok(ids)
    }

    /// The first event of each of `keys` keys after `place` where it is free, and the last key; none, where no key comes behind it.
    async fn free_after<E: Searched>(
        &self,
        session: &mut Session,
        keys: i64,
        search: &Search<'_>,
        part: &str,
        place: Option<&E::Key>,
    ) -> Result<(Vec<Uuid>, Option<E::Key>)> {
        const DOING: &str = "look for keys with due events";
        let query = E::fronts(&self.queries, keys, search, part, place).persistent(E::plans(self).are_kept());
        let found = query.fetch_all(&mut **session).await.map_err(self.failed(DOING))?;
        let end = found.last().filter(|_| count(found.len()) == keys).map(E::key).transpose();
        let mut ids = Vec::with_capacity(found.len());
        for row in &found {
            if row.try_get(1).map_err(failed(DOING))? {
                ids.push(row.try_get(0).map_err(failed(DOING))?);
            }
        }
        Ok((ids, end.map_err(failed(DOING))?))
    }

    async fn take<E: Searched>(
        &self,
        session: &mut Session,
        limit: i64,
        ids: &[Uuid],
        claim: Option<Claim<'_>>,
    ) -> Result<Vec<PgRow>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let [fetch, claims] = E::takes(&self.queries);
        let query = if claim.is_some() { claims } else { fetch };
        let mut query = sqlx::query(query.sql()).bind(limit).bind(ids.to_vec());
        if let Some(Claim { token, ttl }) = claim {
            query = query.bind(token.as_str().to_owned()).bind(interval(ttl));
        }
        let query = query.persistent(E::plans(self).are_kept());
        query.fetch_all(&mut **session).await.map_err(self.failed("take due events"))
    }
}

/// How many events, or keys, a look for so many due events is about: some of them turn out not to be due.
fn window(limit: i64) -> i64 {
    (2 * limit).max(200)
}

/// A number of rows as the database counts them.
fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

fn events<E: StoredEvent>(rows: &[PgRow]) -> Result<Vec<E>> {
    let events = rows.iter().map(|row| E::read(&mut Reader::new(row))).collect::<sqlx::Result<_>>();
    events.map_err(failed("read events"))
}
