//! What tells transactions and rows apart, and what is locked.

use omni_box_core::EventId;
use omni_box_core::event::Identity;

/// Identifies an open transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TxId(pub(super) u64);

/// What one transaction at a time may write.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum LockKey {
    /// An event that is being created.
    Id(EventId),
    /// What makes an event unique. The lock of an inbox event's row as well.
    Identity(Identity),
    /// A message in quarantine: its group, topic, partition and offset.
    Quarantined(String, String, i32, i64),
    /// A row of an application: its table and its key.
    Record(String, String),
}
