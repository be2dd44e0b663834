//! The outbox in the mode `rows`, searched by topic and partition key.

use omni_box_core::{FetchFilters, OutboxEvent, Result};
use omni_box_sql::Places;
use sqlx::SqliteConnection;

use super::{Due, Front, KEYS, Search, Searched};
use crate::SqliteStore;
use crate::error::failed;
use crate::outbox::filter_arrays;

/// What is in line, by key.
const LINE: &str = "line";
/// What was scheduled for later, by key.
const SCHEDULED: &str = "scheduled";

impl Searched for OutboxEvent {
    /// Topic and partition key.
    type Key = (String, String);
    /// Its `seq`.
    type Row = i64;

    fn places(store: &SqliteStore) -> &Places<Self::Key> {
        &store.places.outbox
    }

    /// The whole table is one.
    async fn parts(_: &SqliteStore, _: &mut SqliteConnection, _: &FetchFilters) -> Result<Vec<String>> {
        Ok(vec![String::new()])
    }

    async fn oldest(
        store: &SqliteStore,
        conn: &mut SqliteConnection,
        _: &str,
        search: Search<'_>,
    ) -> Result<(Vec<Due<Self>>, Vec<String>)> {
        let [topics, aggregate_types, aggregate_ids] = filter_arrays(search.filters);
        let found: Vec<(Option<i64>, bool, bool)> = sqlx::query_as(store.queries.outbox_claimable.sql())
            .bind(search.window)
            .bind(topics)
            .bind(aggregate_types)
            .bind(aggregate_ids)
            .bind(search.ttl)
            .fetch_all(conn)
            .await
            .map_err(failed("look for due events"))?;
        let mut more = Vec::new();
        if let Some((_, in_line, scheduled)) = found.first() {
            more.extend(in_line.then(|| LINE.to_owned()));
            more.extend(scheduled.then(|| SCHEDULED.to_owned()));
        }
        Ok((found.into_iter().filter_map(|(seq, ..)| Some((seq?, seq?))).collect(), more))
    }

    async fn fronts(
        store: &SqliteStore,
        conn: &mut SqliteConnection,
        part: &str,
        search: Search<'_>,
        place: Option<Self::Key>,
    ) -> Result<Vec<Front<Self>>> {
        let queries = &store.queries;
        let of_part = if part == SCHEDULED { &queries.outbox_scheduled_keys } else { &queries.outbox_keys };
        let [topics, aggregate_types, aggregate_ids] = filter_arrays(search.filters);
        let (topic, key) = place.unwrap_or_default();
        let found: Vec<(i64, bool, String, String)> = sqlx::query_as(of_part.sql())
            .bind(KEYS)
            .bind(topics)
            .bind(aggregate_types)
            .bind(aggregate_ids)
            .bind(search.ttl)
            .bind(topic)
            .bind(key)
            .fetch_all(conn)
            .await
            .map_err(failed("look for keys with due events"))?;
        Ok(found.into_iter().map(|(seq, is_free, topic, key)| ((seq, seq), is_free, (topic, key))).collect())
    }
}
