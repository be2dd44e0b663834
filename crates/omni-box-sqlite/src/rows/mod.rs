//! The search for due messages, to be claimed one by one, in statements that stay short however much is pending.

use std::collections::HashSet;
use std::time::Duration;

use omni_box_core::{BatchSize, ConsumerGroup, FetchFilters, Result};
use omni_box_sql::micros;
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::error::failed;
use crate::query::array;

/// How many keys a call looks at where the oldest messages belong to a few keys.
const KEYS: i64 = 1_000;

/// What is looked for.
#[derive(Clone, Copy)]
struct Search<'a> {
    limit: i64,
    sources: &'a str,
    /// How long a claim lasts; without it, each counts.
    ttl: Option<i64>,
}

/// A message that may be claimed: when it was due, and its id.
type Due = (i64, String);

impl SqliteStore {
    /// Ids of due messages, oldest first among those it looks at: a window of the oldest of each group. Where they are those of a few keys,
    /// it goes on by key from where the last call ended. So no key's backlog hides another key.
    pub(crate) async fn due_messages(
        &self,
        conn: &mut SqliteConnection,
        limit: BatchSize,
        filters: &FetchFilters,
        ttl: Option<Duration>,
    ) -> Result<Vec<String>> {
        let mut groups: Vec<String> = filters.consumer_groups.iter().map(ConsumerGroup::to_string).collect();
        if groups.is_empty() {
            groups = sqlx::query_scalar(self.queries.inbox_groups.sql())
                .fetch_all(&mut *conn)
                .await
                .map_err(failed("look for groups with pending messages"))?;
        }
        groups.sort();
        groups.dedup();
        let sources = array(filters.sources.iter().map(String::as_str));
        let search = Search { limit: i64::from(limit.get()), sources: &sources, ttl: ttl.map(micros) };
        let mut due: Vec<Due> = Vec::new();
        let mut by_key: Vec<Due> = Vec::new();
        for group in &groups {
            let (oldest, is_full) = self.oldest(conn, group, search).await?;
            if is_full && oldest.len() < limit.get() as usize {
                by_key.extend(self.by_key(conn, group, search).await?);
            }
            due.extend(oldest);
        }
        due.sort();
        by_key.sort();
        due.extend(by_key);
        let mut met = HashSet::new();
        let first = due.into_iter().map(|(_, id)| id).filter(|id| met.insert(id.clone()));
        Ok(first.take(limit.get() as usize).collect())
    }

    /// What may be claimed out of the oldest messages of a group, and whether more are due than were looked at.
    async fn oldest(
        &self,
        conn: &mut SqliteConnection,
        group: &str,
        search: Search<'_>,
    ) -> Result<(Vec<Due>, bool)> {
        let found: Vec<(Option<String>, Option<i64>, bool)> =
            sqlx::query_as(self.queries.inbox_claimable.sql())
                .bind((2 * search.limit).max(200))
                .bind(group)
                .bind(search.sources)
                .bind(search.ttl)
                .fetch_all(conn)
                .await
                .map_err(failed("look for due messages"))?;
        let is_full = found.first().is_some_and(|(.., is_full)| *is_full);
        Ok((found.into_iter().filter_map(|(id, due, _)| Some((due?, id?))).collect(), is_full))
    }

    /// What may be claimed of a thousand keys of a group.
    async fn by_key(&self, conn: &mut SqliteConnection, group: &str, search: Search<'_>) -> Result<Vec<Due>> {
        let place = self.places.get(group);
        let (mut free, mut end) = self.free_keys(conn, group, search, place.as_deref()).await?;
        if end.is_none() && place.is_some() {
            let (from_the_beginning, its_end) = self.free_keys(conn, group, search, None).await?;
            free.extend(from_the_beginning);
            end = its_end;
        }
        self.places.set(group, end);
        Ok(free)
    }

    /// The first message of each key after `place` where it is free, and the last key; none, where no key comes behind it.
    async fn free_keys(
        &self,
        conn: &mut SqliteConnection,
        group: &str,
        search: Search<'_>,
        place: Option<&str>,
    ) -> Result<(Vec<Due>, Option<String>)> {
        let found: Vec<(String, i64, bool, String)> = sqlx::query_as(self.queries.inbox_keys.sql())
            .bind(KEYS)
            .bind(group)
            .bind(search.sources)
            .bind(search.ttl)
            .bind(place.unwrap_or_default())
            .fetch_all(conn)
            .await
            .map_err(failed("look for keys with due messages"))?;
        let is_full = i64::try_from(found.len()).is_ok_and(|found| found == KEYS);
        let end = found.last().filter(|_| is_full).map(|(.., line)| line.clone());
        let free = found.into_iter().filter(|(_, _, is_free, _)| *is_free);
        Ok((free.map(|(id, due, ..)| (due, id)).collect(), end))
    }
}
