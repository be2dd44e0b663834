//! The inbox, searched by consumer group and line.

use std::collections::BTreeSet;

use omni_box_core::{ConsumerGroup, FetchFilters, InboxEvent, Result};
use omni_box_sql::{Places, Query};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::{Search, Searched, Statement};
use crate::PgStore;
use crate::plans::Plans;
use crate::query::Queries;
use crate::store::{Session, interval};

impl Searched for InboxEvent {
    /// A line of a group: the hash of a partition and a key.
    type Key = i64;

    fn plans(store: &PgStore) -> &Plans {
        &store.inbox_plans
    }

    fn places(store: &PgStore) -> &Places<i64> {
        &store.places.inbox
    }

    /// The groups that are asked for, or all that have pending messages.
    async fn parts(store: &PgStore, session: &mut Session, filters: &FetchFilters) -> Result<Vec<String>> {
        if !filters.consumer_groups.is_empty() {
            let groups: BTreeSet<_> = filters.consumer_groups.iter().map(ConsumerGroup::to_string).collect();
            return Ok(groups.into_iter().collect());
        }
        sqlx::query_scalar(store.queries.inbox_groups.sql())
            .fetch_all(&mut **session)
            .await
            .map_err(store.failed("look for groups with pending messages"))
    }

    fn candidates(queries: &Queries, window: i64, search: &Search<'_>) -> Statement {
        sqlx::query(queries.inbox_candidates.sql())
            .bind(window)
            .bind(search.parts.clone())
            .bind(search.filters.sources.clone())
            .bind(search.claim.map(|claim| interval(claim.ttl)))
    }

    fn fronts(
        queries: &Queries,
        keys: i64,
        search: &Search<'_>,
        part: &str,
        place: Option<&i64>,
    ) -> Statement {
        // no line is negative
        let place = place.copied().unwrap_or(-1);
        sqlx::query(queries.inbox_keys.sql())
            .bind(keys)
            .bind(search.filters.sources.clone())
            .bind(search.claim.map(|claim| interval(claim.ttl)))
            .bind(part.to_owned())
            .bind(place)
    }

    fn key(row: &PgRow) -> sqlx::Result<i64> {
        row.try_get(2)
    }

    fn takes(queries: &Queries) -> [&Query; 2] {
        [&queries.inbox_fetch, &queries.inbox_claim]
    }
}
