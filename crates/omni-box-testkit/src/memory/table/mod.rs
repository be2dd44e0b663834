//! Tables of events: rows in the order of their sequence, found by id and by what makes them unique.

mod inbox;
mod outbox;

use chrono::{DateTime, TimeDelta, Utc};
use omni_box_core::event::Identity;
use omni_box_core::{ClaimToken, Event, EventId, EventStatus, Failure, LifecycleRecord};
use rpds::RedBlackTreeMapSync;

pub(super) use self::inbox::{InboxRow, message, set_back};
pub(super) use self::outbox::OutboxRow;
use super::key::LockKey;

/// A map whose copy costs nothing, so that a snapshot does not.
pub(super) type Map<K, V> = RedBlackTreeMapSync<K, V>;

/// A row of one of the two tables.
pub(super) trait Row: Clone + Send + Sync + 'static {
    /// What it holds.
    type Event: Event;

    /// The row of an event that is stored now.
    fn new(event: &Self::Event, seq: i64, now: DateTime<Utc>) -> Self;

    /// The event as it is stored.
    fn event(&self) -> Self::Event;

    fn id(&self) -> EventId;
    fn seq(&self) -> i64;
    fn identity(&self) -> Option<Identity>;
    fn life(&self) -> &LifecycleRecord;
    fn change_life<T>(&mut self, change: impl FnOnce(&mut LifecycleRecord) -> T) -> T;

    /// What an open transaction holds that works on this row, if any can.
    fn row_lock(&self) -> Option<LockKey>;

    /// Completes it.
    fn complete(&mut self, now: DateTime<Utc>);

    /// Records a failure.
    fn fail(&mut self, failure: &Failure, now: DateTime<Utc>);

    /// Makes it pending again, at this place of the table if places are an order.
    fn requeue(&mut self, seq: i64, now: DateTime<Utc>);

    /// Its event anew, with this id.
    fn renewed(&self, id: EventId) -> Self::Event;

    fn is_pending(&self) -> bool {
        self.life().status == EventStatus::Pending
    }

    /// Whether it is pending and `token` has claimed it.
    fn is_claimed_by(&self, token: &ClaimToken) -> bool {
        self.life().is_claimed_by(token)
    }

    fn claim(&mut self, token: &ClaimToken, now: DateTime<Utc>) {
        self.change_life(|life| life.claim(token, now));
    }

    fn unclaim(&mut self, now: DateTime<Utc>) {
        self.change_life(|life| life.release(now));
    }
}

/// One of the two tables.
#[derive(Debug, Clone)]
pub(super) struct Table<R: Row> {
    rows: Map<i64, R>,
    /// Which rows are pending, so that what is done costs nothing.
    pending: Map<i64, ()>,
    ids: Map<EventId, i64>,
    identities: Map<Identity, i64>,
}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        Self {
            rows: Map::default(),
            pending: Map::default(),
            ids: Map::default(),
            identities: Map::default(),
        }
    }
}

impl<R: Row> Table<R> {
    /// All rows, in order.
    pub(super) fn rows(&self) -> impl Iterator<Item = &R> {
        self.rows.values()
    }

    /// Pending rows, in order.
    pub(super) fn pending(&self) -> impl Iterator<Item = &R> {
        self.pending.keys().filter_map(|seq| self.rows.get(seq))
    }

    pub(super) fn by_id(&self, id: EventId) -> Option<&R> {
        self.rows.get(self.ids.get(&id)?)
    }

    pub(super) fn by_identity(&self, identity: &Identity) -> Option<&R> {
        self.rows.get(self.identities.get(identity)?)
    }

    /// Puts a row where it was, or a new one.
    pub(super) fn put(&mut self, row: R) {
        let seq = row.seq();
        if let Some(before) = self.ids.get(&row.id()).filter(|before| **before != seq).copied() {
            self.rows.remove_mut(&before);
            self.pending.remove_mut(&before);
        }
        self.ids.insert_mut(row.id(), seq);
        if let Some(identity) = row.identity() {
            self.identities.insert_mut(identity, seq);
        }
        if row.is_pending() {
            self.pending.insert_mut(seq, ());
        } else {
            self.pending.remove_mut(&seq);
        }
        self.rows.insert_mut(seq, row);
    }

    pub(super) fn remove(&mut self, id: EventId) {
        let Some(row) = self.by_id(id).cloned() else { return };
        self.rows.remove_mut(&row.seq());
        self.pending.remove_mut(&row.seq());
        self.ids.remove_mut(&id);
        if let Some(identity) = row.identity() {
            self.identities.remove_mut(&identity);
        }
    }

    /// Changes a row; `false`: there is none, or `change` says that it is not to be changed.
    pub(super) fn change(&mut self, id: EventId, change: impl FnOnce(&mut R) -> bool) -> bool {
        let Some(mut row) = self.by_id(id).cloned() else { return false };
        let is_changed = change(&mut row);
        if is_changed {
            self.put(row);
        }
        is_changed
    }

    /// Makes the row of an identity what it is in `latest`, or absent.
    pub(super) fn refresh(&mut self, identity: &Identity, latest: &Self) {
        if let Some(id) = self.by_identity(identity).map(R::id) {
            self.remove(id);
        }
        if let Some(row) = latest.by_identity(identity) {
            self.put(row.clone());
        }
    }
}

/// A time later, or the last there is.
pub(super) fn after(now: DateTime<Utc>, delay: std::time::Duration) -> DateTime<Utc> {
    let delay = TimeDelta::from_std(delay).unwrap_or(TimeDelta::MAX);
    now.checked_add_signed(delay).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// A time before, or the first there is.
pub(super) fn before(now: DateTime<Utc>, age: std::time::Duration) -> DateTime<Utc> {
    let age = TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
    now.checked_sub_signed(age).unwrap_or(DateTime::<Utc>::MIN_UTC)
}
