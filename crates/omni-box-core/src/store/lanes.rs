//! Lanes: the key space in parts, each owned by one relay at a time.
//!
//! The owner of a lane needs no row locks. It reads its due events in order, publishes them, and marks them in a statement
//! that checks the lease. Order rests on three rules that every implementation keeps:
//!
//! 1. a lane has one owner, and every change of owner has a higher epoch;
//! 2. every statement that changes a row checks owner and epoch in the same transaction, and touches pending rows only;
//! 3. a fetch returns the lowest due `seq` first and leaves out what is in flight by id, never by a cursor. A transaction that
//!    took a low `seq` may commit after a higher one was read. Only a store that proves that none can any more gives a bound.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::error::Result;
use crate::event::{Failure, OutboxEvent};
use crate::hidden::Hidden;
use crate::id::{EventId, LaneId, OwnerId, WorkerId};

/// The right to publish a lane's events, until it expires or the epoch moves on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The lane.
    pub lane: LaneId,
    /// Counts the lane's owners.
    pub epoch: i64,
}

/// Who asks for leases.
#[derive(Debug, Clone)]
pub struct LeaseRequest {
    /// The relay instance.
    pub owner: OwnerId,
    /// Its label, for people who look at the table.
    pub worker: WorkerId,
    /// How long a lease lives without being renewed.
    pub ttl: Duration,
}

/// What a relay owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneShare {
    /// The leases it holds now.
    pub leases: Vec<Lease>,
    /// How many lanes it may hold while this many relays are alive; the lanes above that are to be drained and released.
    pub fair_share: usize,
}

/// A lane to read, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneRead {
    /// The lane.
    pub lane: LaneId,
    /// At most this many events.
    pub limit: u32,
    /// What lies at or below this `seq` need not be returned: a [bound](LaneFetch::bounds) of an earlier fetch, or [`ALL`](Self::ALL).
    pub above: i64,
}

impl LaneRead {
    /// Below every `seq`.
    pub const ALL: i64 = i64::MIN;

    /// Reads a lane from its beginning.
    pub fn all(lane: LaneId, limit: u32) -> Self {
        Self { lane, limit, above: Self::ALL }
    }
}

/// What a fetch found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LaneFetch {
    /// Due events, each lane in the order of `seq`.
    pub events: Vec<LaneEvent>,
    /// Up to which `seq` a lane has been read for good; none of a lane of which the store cannot prove it. See [`OrderedLanes::fetch`].
    pub bounds: BTreeMap<LaneId, i64>,
    /// For how long nothing becomes due unless a writer commits, of which the store's wake-ups tell; none where the store cannot promise it. See
    /// [`OrderedLanes::fetch`].
    pub quiet_for: Option<Duration>,
}

impl From<Vec<LaneEvent>> for LaneFetch {
    /// Events, and nothing known of what may still appear before them.
    fn from(events: Vec<LaneEvent>) -> Self {
        Self { events, ..Self::default() }
    }
}

/// An event read from a lane. Two reads of what has not changed are equal, whenever they were made.
#[derive(Debug, Clone)]
pub struct LaneEvent {
    /// The event.
    pub event: OutboxEvent,
    /// Its lane.
    pub lane: LaneId,
    /// Its place in the order of the table.
    pub seq: i64,
    /// It is the head of a held key whose time has come: publish it; its followers wait for a [`release`](LaneSettlement::release) of the key.
    pub is_held_head: bool,
    /// Its key is held by an earlier event: do not publish it, settle it as a [`follower`](LaneSettlement::followers).
    pub is_behind_head: bool,
    /// When it was read, by the database's clock.
    pub read_at: DateTime<Utc>,
}

impl PartialEq for LaneEvent {
    fn eq(&self, other: &Self) -> bool {
        let Self { event, lane, seq, is_held_head, is_behind_head, read_at: _ } = self;
        (event, lane, seq, is_held_head, is_behind_head)
            == (&other.event, &other.lane, &other.seq, &other.is_held_head, &other.is_behind_head)
    }
}

/// A key within its lane. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyRef {
    /// The lane.
    pub lane: LaneId,
    /// The topic.
    pub topic: String,
    /// The key.
    pub partition_key: String,
}

impl fmt::Debug for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lane, topic, partition_key } = self;
        f.debug_struct("KeyRef")
            .field("lane", lane)
            .field("topic", topic)
            .field("partition_key", &Hidden::new(partition_key))
            .finish()
    }
}

/// An event that was not published, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneHold {
    /// The event.
    pub id: EventId,
    /// Its counted attempts as they were read: a settlement that is written again because its answer was lost counts once.
    pub attempts_made: u32,
    /// Why, and when it is tried again: until then its key is held. [`Retry::Never`](crate::Retry::Never) fails it.
    pub failure: Failure,
}

/// The outcomes of a batch, written together.
#[derive(Debug, Clone, Default)]
pub struct LaneSettlement {
    /// Published: become completed.
    pub completed: Vec<EventId>,
    /// Not published: held or failed.
    pub holds: Vec<LaneHold>,
    /// Wait behind the head of their key.
    pub followers: Vec<EventId>,
    /// Keys whose head is completed or failed: their followers become due again, in their old order. While a head of the key waits, nothing
    /// is changed. Of many followers a part is released, and [`Settled::unreleased`] names the key.
    pub release: Vec<KeyRef>,
}

impl LaneSettlement {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.completed.is_empty()
            && self.holds.is_empty()
            && self.followers.is_empty()
            && self.release.is_empty()
    }
}

/// What a settlement did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Leases that are not the owner's any more: nothing of these lanes was changed.
    pub lost: Vec<LaneId>,
    /// Keys without a head of which followers wait still: the owner releases them again, in a later settlement.
    pub unreleased: Vec<KeyRef>,
}

/// Whether a relay wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It reads without pause; writers need not wake it.
    Busy,
    /// It waits; a writer wakes it, at most once per transaction.
    Idle,
}

/// Lanes of the outbox and their leases. Time is the database's.
#[async_trait]
pub trait OrderedLanes: Send + Sync {
    /// Says that the owner is alive, renews what it holds, and takes free or expired lanes up to its fair share.
    ///
    /// - The fair share is the number of lanes divided by the owners alive, rounded up. An owner is alive for `ttl` from its last call,
    ///   or until it leaves.
    /// - A lane that is taken gets a higher epoch, also by the owner that had it last; a lease that is renewed keeps its own.
    /// - A lane is never taken from an owner whose lease has not expired.
    /// - A lease that another owner took is not in the answer.
    /// - Lanes are leased only while the table's mode is [`Lanes`](super::DeliveryMode::Lanes), which is read in the transaction that takes
    ///   them. It cannot change before the commit. A relay reads it once, at its start. A change of the mode ends all leases.
    ///
    /// # Errors
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured) in another mode: nothing was taken, and the relay ends.
    async fn lease(&self, request: &LeaseRequest) -> Result<LaneShare>;

    /// Gives lanes back at once; those not held by this owner under this epoch are left alone.
    async fn release(&self, owner: OwnerId, leases: &[Lease]) -> Result<()>;

    /// Gives everything back and leaves the owners alive.
    async fn leave(&self, owner: OwnerId) -> Result<()>;

    /// Reads due events of lanes, each lane in the order of `seq`. Changes nothing.
    ///
    /// - Events of one transaction have the order in which they were created, and come after all that had committed before.
    /// - Leaves out the ids in `in_flight`, and heads of held keys of the topics in `resting`, and nothing else that is due.
    /// - What is left out has no part in the limits. A fetch does not cost more for it: a topic that is away may have a million heads.
    /// - Where more is due than the limit lets through, the store chooses. It decides how many are heads of held keys and events scheduled
    ///   for later, and which of those come first (those due longest, say). Each is alone in its key, or joins it only now. All others come
    ///   in the order of `seq`.
    /// - Returns at most each lane's limit, and at most about `max_bytes` of payload (but at least one event, if any is due).
    /// - Includes heads of held keys whose time has come, and events scheduled for later that are due now.
    /// - Never returns a follower of a held key as publishable: either it is left out or it has `is_behind_head`.
    /// - What comes after followers of its key that are not released yet has `is_behind_head`, too; what comes before them has not.
    ///
    /// Bounds spare the owner and the store what has been read already. A store need not give any.
    ///
    /// - A lane's bound speaks of each pending event at or below it. The event is among those returned, is in flight, or is one of the
    ///   exceptions of the next line. No other event can appear there. It is a proof: a transaction that has taken a `seq` and has not
    ///   ended keeps the bound below it. What a limit has cut off is above the bound.
    /// - What lies at or below a lane's `above` may be left out. Heads of held keys whose time has come, events scheduled for later that
    ///   are due, and followers that were released are returned wherever they lie.
    /// - An owner raises its `above` to a bound only if it has taken in all that the fetch returned of the lane. It reads from below an event
    ///   again if it forgets it, or settles it as a hold or a follower. The store may leave such an event as it is. It does not use the
    ///   bound of a fetch that began before that. A bound ends with its lease, and with a call of the database that failed.
    /// - An owner reads each lane from its beginning now and then: someone may have changed rows by hand.
    ///
    /// A promise of quiet spares the owner looks in vain. A store need not give it.
    ///
    /// - `quiet_for` says that nothing of the lanes that were read becomes due within that time by itself. Heads of held keys and events
    ///   scheduled for later do so. Each commit which this fetch did not see [wakes](super::OutboxRepository::wakeup) the owner.
    /// - A transaction that may not know that the owner has [announced](Self::announce) to be idle keeps the store from promising.
    ///
    /// A store may note for all owners how far a lane is done, and then begin there also where an owner [reads all](LaneRead::ALL).
    ///
    /// - The place is a proof, too: what lies at or below it has committed and is not pending, but for the exceptions above. How far an
    ///   owner has read proves nothing, as it may end before it has settled what it read.
    /// - It may rise by calls of [`lease`](Self::lease), and falls if the order of the table begins anew.
    /// - Whatever makes an event due again below it gives the event a new place, or has it returned wherever it lies. What was changed by
    ///   hand is found in the end, by calls of `lease`.
    async fn fetch(
        &self,
        lanes: &[LaneRead],
        in_flight: &[EventId],
        resting: &[String],
        max_bytes: u64,
    ) -> Result<LaneFetch>;

    /// Writes the outcomes of events of these leases.
    ///
    /// - Checks owner and epoch of every lease in the same transaction, and changes nothing of a lane whose lease is lost.
    /// - Changes pending events only, and only those of the lanes that `leases` names.
    /// - Writing the same settlement twice is the same as writing it once.
    /// - Holds: the event waits as the head of its key. Followers wait behind it; one that was scheduled for later joins at the end of
    ///   the key. A follower whose key has no held head any more is left as it is.
    /// - Releases: a settlement releases so many followers as fit a statement of a second or so, lowest `seq` first. It releases at least
    ///   one of each key that has any, or of as many keys as that allows. The rest stays held, and its keys are
    ///   [`unreleased`](Settled::unreleased): the owner names them in the `release` of a later settlement, until none is left.
    /// - What is held is in the store: the next owner of the lane finds it. Followers without a head, which the owner before had not released
    ///   yet, become due again by calls of [`lease`](Self::lease).
    /// - `attempts_made` changes as [`Attempt`](crate::Attempt) says, and stays within 0 and the maximum.
    async fn settle(&self, owner: OwnerId, leases: &[Lease], settlement: &LaneSettlement) -> Result<Settled>;

    /// Tells writers whether they must wake this owner; lost leases are left alone.
    async fn announce(&self, owner: OwnerId, leases: &[Lease], activity: Activity) -> Result<()>;
}
