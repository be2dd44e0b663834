//! The inbox, searched by consumer group and line.

use omni_box_core::{ConsumerGroup, FetchFilters, InboxEvent, Result};
use omni_box_sql::Places;
use sqlx::SqliteConnection;

use super::{Due, Front, KEYS, Search, Searched};
use crate::SqliteStore;
use crate::error::failed;
use crate::query::array;

fn sources(filters: &FetchFilters) -> String {
    array(filters.sources.iter().map(String::as_str))
}

impl Searched for InboxEvent {
    /// A line of a group: a partition and a key.
    type Key = String;
    type Row = String;

    fn places(store: &SqliteStore) -> &Places<String> {
        &store.places.inbox
    }

    /// The groups that are asked for, or all that have pending messages.
    async fn parts(
        store: &SqliteStore,
        conn: &mut SqliteConnection,
        filters: &FetchFilters,
    ) -> Result<Vec<String>> {
        let mut groups: Vec<String> = filters.consumer_groups.iter().map(ConsumerGroup::to_string).collect();
        if groups.is_empty() {
            groups = sqlx::query_scalar(store.queries.inbox_groups.sql())
                .fetch_all(conn)
                .await
                .map_err(failed("look for groups with pending messages"))?;
        }
        groups.sort();
        groups.dedup();
        Ok(groups)
    }

    async fn oldest(
        store: &SqliteStore,
        conn: &mut SqliteConnection,
        group: &str,
        search: Search<'_>,
    ) -> Result<(Vec<Due<Self>>, Vec<String>)> {
        let found: Vec<(Option<String>, Option<i64>, bool)> =
            sqlx::query_as(store.queries.inbox_claimable.sql())
                .bind(search.window)
                .bind(group)
                .bind(sources(search.filters))
                .bind(search.ttl)
                .fetch_all(conn)
                .await
                .map_err(failed("look for due messages"))?;
        let is_full = found.first().is_some_and(|(.., is_full)| *is_full);
        let more = if is_full { vec![group.to_owned()] } else { Vec::new() };
        Ok((found.into_iter().filter_map(|(id, due, _)| Some((due?, id?))).collect(), more))
    }

    async fn fronts(
        store: &SqliteStore,
        conn: &mut SqliteConnection,
        group: &str,
        search: Search<'_>,
        place: Option<String>,
    ) -> Result<Vec<Front<Self>>> {
        let found: Vec<(String, i64, bool, String)> = sqlx::query_as(store.queries.inbox_keys.sql())
            .bind(KEYS)
            .bind(group)
            .bind(sources(search.filters))
            .bind(search.ttl)
            .bind(place.unwrap_or_default())
            .fetch_all(conn)
            .await
            .map_err(failed("look for keys with due messages"))?;
        Ok(found.into_iter().map(|(id, due, is_free, line)| ((due, id), is_free, line)).collect())
    }
}
