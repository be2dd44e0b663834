//! The search for due rows, to be claimed one by one, in statements that stay short however much is pending.

mod inbox;
mod outbox;

use std::collections::HashSet;
use std::hash::Hash;
use std::time::Duration;

use omni_box_core::{BatchSize, FetchFilters, Result};
use omni_box_sql::{Places, StoredEvent, micros};
use sqlx::SqliteConnection;

use crate::SqliteStore;

/// How many keys a call looks at in each part where the oldest events belong to a few keys.
const KEYS: i64 = 1_000;

/// What is looked for.
#[derive(Clone, Copy)]
pub(crate) struct Search<'a> {
    filters: &'a FetchFilters,
    /// How many of each sort are looked at.
    window: i64,
    /// How long a claim lasts; without it, each counts.
    ttl: Option<i64>,
}

/// An event that may be claimed: its place among others, and what it is claimed by.
type Due<E> = (i64, <E as Searched>::Row);

/// The first event of a key, whether it may be claimed, and its key.
type Front<E> = (Due<E>, bool, <E as Searched>::Key);

/// Events whose table is searched.
pub(crate) trait Searched: StoredEvent {
    /// What events share that are in order.
    type Key: Clone + Send + Sync;
    /// What a statement names a row by.
    type Row: Clone + Ord + Hash + Send;

    /// Where the searches by key have come to.
    fn places(store: &SqliteStore) -> &Places<Self::Key>;

    /// What is searched, each part for itself.
    fn parts(
        store: &SqliteStore,
        conn: &mut SqliteConnection,
        filters: &FetchFilters,
    ) -> impl Future<Output = Result<Vec<String>>> + Send;

    /// What may be claimed out of the oldest events of a part, and what to search by key, where more may be due.
    fn oldest(
        store: &SqliteStore,
        conn: &mut SqliteConnection,
        part: &str,
        search: Search<'_>,
    ) -> impl Future<Output = Result<(Vec<Due<Self>>, Vec<String>)>> + Send;

    /// The first event of each of [`KEYS`] keys after `place`, each with whether it may be claimed, and its key.
    fn fronts(
        store: &SqliteStore,
        conn: &mut SqliteConnection,
        part: &str,
        search: Search<'_>,
        place: Option<Self::Key>,
    ) -> impl Future<Output = Result<Vec<Front<Self>>>> + Send;
}

impl SqliteStore {
    /// Due events, oldest first among those it looks at: a window of the oldest of each part. Where they are those of a few keys, it goes on
    /// by key from where the last call ended. So no key's backlog hides another key.
    pub(crate) async fn due_rows<E: Searched>(
        &self,
        conn: &mut SqliteConnection,
        limit: BatchSize,
        filters: &FetchFilters,
        ttl: Option<Duration>,
    ) -> Result<Vec<E::Row>> {
        let search = Search { filters, window: (2 * i64::from(limit.get())).max(200), ttl: ttl.map(micros) };
        let limit = limit.get() as usize;
        let (mut due, mut by_key) = (Vec::new(), Vec::new());
        for part in E::parts(self, conn, filters).await? {
            let (oldest, more) = E::oldest(self, conn, &part, search).await?;
            if oldest.len() < limit {
                for part in more {
                    by_key.extend(self.by_key::<E>(conn, &part, search).await?);
                }
            }
            due.extend(oldest);
        }
        due.sort();
        by_key.sort();
        due.extend(by_key);
        let mut met = HashSet::new();
        let first = due.into_iter().map(|(_, row)| row).filter(|row| met.insert(row.clone()));
        Ok(first.take(limit).collect())
    }

    /// What may be claimed of a thousand keys of a part.
    async fn by_key<E: Searched>(
        &self,
        conn: &mut SqliteConnection,
        part: &str,
        search: Search<'_>,
    ) -> Result<Vec<Due<E>>> {
        let place = E::places(self).get(part);
        let is_begun = place.is_some();
        let (mut free, mut end) = self.free_after::<E>(conn, part, search, place).await?;
        if end.is_none() && is_begun {
            let (from_the_beginning, its_end) = self.free_after::<E>(conn, part, search, None).await?;
            free.extend(from_the_beginning);
            end = its_end;
        }
        E::places(self).set(part, end);
        Ok(free)
    }

    /// The first event of each key after `place` where it is free, and the last key; none, where no key comes behind it.
    async fn free_after<E: Searched>(
        &self,
        conn: &mut SqliteConnection,
        part: &str,
        search: Search<'_>,
        place: Option<E::Key>,
    ) -> Result<(Vec<Due<E>>, Option<E::Key>)> {
        let found = E::fronts(self, conn, part, search, place).await?;
        let is_full = i64::try_from(found.len()).is_ok_and(|found| found == KEYS);
        let end = found.last().filter(|_| is_full).map(|(.., key)| key.clone());
        let free = found.into_iter().filter(|(_, is_free, _)| *is_free);
        Ok((free.map(|(due, ..)| due).collect(), end))
    }
}
