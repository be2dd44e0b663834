//! One kind of a store's events.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;

use super::{BulkOperations, Created, DeadLetters, DistributedLocking, EventRepository, RetentionPolicies};
use crate::error::Result;
use crate::event::{ClaimToken, Event, Failure, FetchFilters};
use crate::id::{BatchSize, EventId};

/// The outbox or the inbox of a store that keeps both, so that a call need not say which is meant. Made by
/// [`OutboxExt::outbox`](super::OutboxExt::outbox) and [`InboxExt::inbox`](super::InboxExt::inbox).
///
/// Its methods are those of [`EventRepository`], which says what they promise and when they fail.
pub struct EventView<'a, S, E> {
    store: &'a S,
    events: PhantomData<fn() -> E>,
}

impl<'a, S, E> EventView<'a, S, E> {
    pub(super) fn new(store: &'a S) -> Self {
        Self { store, events: PhantomData }
    }
}

impl<'a, S: EventRepository<E>, E: Event> EventView<'a, S, E> {
    /// Stores an event in the caller's transaction: [`EventRepository::create`].
    pub fn create(
        self,
        conn: &'a mut S::Conn,
        event: &'a E,
    ) -> impl Future<Output = Result<Created<E>>> + Send + 'a {
        self.store.create(conn, event)
    }

    /// Stores several events in order: [`EventRepository::create_many`].
    pub fn create_many(
        self,
        conn: &'a mut S::Conn,
        events: &'a [E],
    ) -> impl Future<Output = Result<Vec<Created<E>>>> + Send + 'a {
        self.store.create_many(conn, events)
    }

    /// Looks an event up: [`EventRepository::get_by_id`].
    pub fn get_by_id(
        self,
        conn: &'a mut S::Conn,
        id: EventId,
    ) -> impl Future<Output = Result<Option<E>>> + Send + 'a {
        self.store.get_by_id(conn, id)
    }

    /// Returns due pending events that no token has claimed: [`EventRepository::fetch_pending`].
    pub fn fetch_pending(
        self,
        limit: BatchSize,
        filters: &'a FetchFilters,
    ) -> impl Future<Output = Result<Vec<E>>> + Send + 'a {
        self.store.fetch_pending(limit, filters)
    }

    /// Claims a pending event: [`EventRepository::mark_processing`].
    pub fn mark_processing(
        self,
        id: EventId,
        token: &'a ClaimToken,
    ) -> impl Future<Output = Result<bool>> + Send + 'a {
        self.store.mark_processing(id, token)
    }

    /// Completes an event that `token` has claimed: [`EventRepository::mark_completed`].
    pub fn mark_completed(
        self,
        id: EventId,
        token: &'a ClaimToken,
    ) -> impl Future<Output = Result<bool>> + Send + 'a {
        self.store.mark_completed(id, token)
    }

    /// Records the failure of an event that `token` has claimed: [`EventRepository::mark_failed`].
    pub fn mark_failed(
        self,
        id: EventId,
        token: &'a ClaimToken,
        failure: &'a Failure,
    ) -> impl Future<Output = Result<bool>> + Send + 'a {
        self.store.mark_failed(id, token, failure)
    }

    /// Completes whole batches in one statement, if the store can.
    pub fn bulk(self) -> Option<&'a dyn BulkOperations<E>> {
        self.store.bulk()
    }

    /// Claims whole batches, if the store can.
    pub fn locking(self) -> Option<&'a dyn DistributedLocking<E>> {
        self.store.locking()
    }

    /// Events that were given up, if the store can list them.
    pub fn dead_letters(self) -> Option<&'a dyn DeadLetters<E>> {
        self.store.dead_letters()
    }

    /// Upkeep, if the store offers it.
    pub fn retention(self) -> Option<&'a dyn RetentionPolicies<E>> {
        self.store.retention()
    }
}

impl<S, E> Clone for EventView<'_, S, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, E> Copy for EventView<'_, S, E> {}

impl<S, E> fmt::Debug for EventView<'_, S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EventView").field(&std::any::type_name::<E>()).finish()
    }
}
