//! Which pending rows are due: `fetch_pending` and `claim`, said in code.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::EventRow;
use crate::error::Result;
use crate::event::{Event, FetchFilters};
use crate::id::BatchSize;

/// Chooses the events that [`fetch_pending`](super::EventRepository::fetch_pending) and [`claim`](super::DistributedLocking::claim) return.
/// A store shows it the claimed rows first, and then walks along the pending ones, in the order of [`EventRow::place`].
///
/// ```
/// use chrono::Utc;
/// use omni_box_core::store::{Due, EventRow};
/// use omni_box_core::{BatchSize, Event, FetchFilters, NewOutboxEvent, OmniBoxDomainService};
///
/// let (domain, now) = (OmniBoxDomainService::default(), Utc::now());
/// let row = |key: &str, seq| {
///     let order = NewOutboxEvent::from_json("order.placed", "orders", r#"{"order": 7}"#).partition_key(key);
///     domain.create_outbox_event(order).map(|event| EventRow::new(&event, seq, now))
/// };
/// let line = [row("ada", 1)?, row("ada", 2)?, row("grace", 3)?];
///
/// let filters = FetchFilters::new();
/// let mut due = Due::new(BatchSize::new(10)?, &filters, now)?;
/// for row in &line {
///     if !due.offer(row.place(), row.event().order_key().as_bytes(), || Ok(Some(row.clone())))? {
///         break;
///     }
/// }
/// let chosen: Vec<_> = due.into_events().iter().map(Event::id).collect();
/// assert_eq!(chosen, [line[0].event().id(), line[2].event().id()], "one of a key");
/// # Ok::<(), omni_box_core::Error>(())
/// ```
pub struct Due<'a, E: Event> {
    limit: usize,
    filters: &'a FetchFilters,
    now: DateTime<Utc>,
    /// Claims from before it do not count.
    fresh_since: Option<DateTime<Utc>>,
    /// Keys that are at work, or whose head was seen.
    seen: HashSet<Vec<u8>>,
    chosen: Vec<E>,
}

impl<'a, E: Event> Due<'a, E> {
    /// For a fetch at this time by the store's clock: every claim counts.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a filter by what events of this kind do not have.
    pub fn new(limit: BatchSize, filters: &'a FetchFilters, now: DateTime<Utc>) -> Result<Self> {
        E::check_filters(filters)?;
        let limit = limit.get() as usize;
        Ok(Self { limit, filters, now, fresh_since: None, seen: HashSet::new(), chosen: Vec::new() })
    }

    /// For a claim: what was claimed before `ttl` is taken over.
    #[must_use]
    pub fn taking_over(self, ttl: Duration) -> Self {
        let ttl = TimeDelta::from_std(ttl).unwrap_or(TimeDelta::MAX);
        let since = self.now.checked_sub_signed(ttl).unwrap_or(DateTime::<Utc>::MIN_UTC);
        Self { fresh_since: Some(since), ..self }
    }

    /// Shows it a row that a token has claimed: the row's key is at work, unless the claim is to be taken over.
    pub fn claimed(&mut self, row: &EventRow<E>) {
        let is_fresh = |at| self.fresh_since.is_none_or(|since| at >= since);
        if row.life().lock.as_ref().is_some_and(|lock| is_fresh(lock.at)) {
            self.seen.insert(row.event().order_key().as_bytes().to_vec());
        }
    }

    /// Offers it the next pending row by its place and the bytes of its [order key](crate::event::OrderKey). The row is read only if nothing
    /// of its key was seen. `None` from `read` leaves the row out, as one that another transaction has locked; its key waits. `false`: stop here, the rest is not due or not asked for.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn offer(
        &mut self,
        (is_deferred, at, _): (bool, i64, i64),
        key: &[u8],
        read: impl FnOnce() -> Result<Option<EventRow<E>>>,
    ) -> Result<bool> {
        if self.chosen.len() == self.limit || is_deferred && at > self.now.timestamp_micros() {
            return Ok(false);
        }
        // a key that was seen has its head before this row, or is at work
        if self.seen.insert(key.to_vec()) {
            let due = read()?.filter(|row| row.is_due(self.now)).map(|row| row.event());
            self.chosen.extend(due.filter(|event| event.passes(self.filters)));
        }
        Ok(true)
    }

    /// What it has chosen, in the order of the rows.
    pub fn into_events(self) -> Vec<E> {
        self.chosen
    }
}

impl<E: Event> fmt::Debug for Due<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Due")
            .field("limit", &self.limit)
            .field("chosen", &self.chosen.len())
            .finish_non_exhaustive()
    }
}
