//! A lane, and who owns it.

use chrono::{DateTime, Utc};
use omni_box_core::{LaneId, Lease, OutboxRecord, OwnerId};

/// How many there are.
const LANES: u16 = 16;

/// A lane and who owns it.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) id: LaneId,
    pub(super) owner: Option<OwnerId>,
    pub(super) epoch: i64,
    pub(super) leased_until: Option<DateTime<Utc>>,
    /// Since it was taken, not all followers without a head have been released.
    pub(super) may_have_orphans: bool,
}

impl Lane {
    /// All of them, free.
    pub(super) fn all() -> Vec<Self> {
        let lane = |number| Self {
            id: LaneId::new(number),
            owner: None,
            epoch: 0,
            leased_until: None,
            may_have_orphans: false,
        };
        (0..LANES).map(lane).collect()
    }

    /// The lane of an event: FNV-1a of its topic and key, or of its id. Another one than PostgreSQL's.
    pub(super) fn of(record: &OutboxRecord) -> LaneId {
        let id = record.id.to_string();
        let key = record.partition_key.as_deref().unwrap_or(&id);
        let bytes = record.topic.bytes().chain([0x1f]).chain(key.bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        LaneId::new((hash % u64::from(LANES)) as u16)
    }

    pub(super) fn is_leased(&self, now: DateTime<Utc>) -> bool {
        self.leased_until.is_some_and(|until| until > now)
    }

    pub(super) fn is_free(&self, now: DateTime<Utc>) -> bool {
        self.owner.is_none() || self.leased_until.is_none_or(|until| until < now)
    }

    pub(super) fn lease(&self) -> Lease {
        Lease { lane: self.id, epoch: self.epoch }
    }

    pub(super) fn is_held_by(&self, owner: OwnerId, lease: &Lease) -> bool {
        self.owner == Some(owner) && self.lease() == *lease
    }

    pub(super) fn give_back(&mut self) {
        (self.owner, self.leased_until) = (None, None);
    }
}
