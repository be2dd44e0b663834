//! The outbox in the mode `rows`, searched by topic and partition key.

use omni_box_core::{FetchFilters, OutboxEvent, Result};
use omni_box_sql::{Places, Query};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::{Search, Searched, Statement};
use crate::PgStore;
use crate::plans::Plans;
use crate::query::Queries;
use crate::store::{Session, interval};

/// What `outbox/candidates.sql` calls the events that were scheduled for later.
const SCHEDULED: &str = "scheduled";

impl Searched for OutboxEvent {
    /// Topic and partition key.
    type Key = (String, String);

    fn plans(store: &PgStore) -> &Plans {
        &store.outbox_plans
    }

    fn places(store: &PgStore) -> &Places<Self::Key> {
        &store.places.outbox
    }

    async fn parts(_: &PgStore, _: &mut Session, _: &FetchFilters) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn candidates(queries: &Queries, window: i64, search: &Search<'_>) -> Statement {
        sqlx::query(queries.outbox_candidates.sql())
            .bind(window)
            .bind(search.filters.topics.clone())
            .bind(search.filters.aggregate_types.clone())
            .bind(search.filters.aggregate_ids.clone())
            .bind(search.claim.map(|claim| interval(claim.ttl)))
    }

    /// What is in line and what was scheduled, each by an index of its own.
    fn fronts(
        queries: &Queries,
        keys: i64,
        search: &Search<'_>,
        part: &str,
        place: Option<&Self::Key>,
    ) -> Statement {
        let (topic, key) = place.cloned().unwrap_or_default();
        let of_part = if part == SCHEDULED { &queries.outbox_scheduled_keys } else { &queries.outbox_keys };
        sqlx::query(of_part.sql())
            .bind(keys)
            .bind(search.filters.topics.clone())
            .bind(search.filters.aggregate_types.clone())
            .bind(search.filters.aggregate_ids.clone())
            .bind(search.claim.map(|claim| interval(claim.ttl)))
            .bind(topic)
            .bind(key)
    }

    fn key(row: &PgRow) -> sqlx::Result<Self::Key> {
        Ok((row.try_get(2)?, row.try_get(3)?))
    }

    fn takes(queries: &Queries) -> [&Query; 2] {
        [&queries.outbox_fetch_rows, &queries.outbox_claim]
    }
}
