//! Who handles the messages of a group, and how.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::id::{ConsumerGroup, OwnerId};

/// How the messages of a group reach its handlers. One way per group: what a runner has in memory, a worker may handle before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupHandling {
    /// As they come, by runners with a handler.
    Direct,
    /// From their rows, by workers of stored messages.
    Stored,
}

impl GroupHandling {
    /// The text in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Stored => "stored",
        }
    }
}

impl fmt::Display for GroupHandling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "a runner with a handler",
            Self::Stored => "workers of stored messages",
        })
    }
}

/// Who handles the messages of a group, in all processes.
///
/// A store offers it by [`InboxRepository::members`](super::InboxRepository::members). Times are by the store's clock.
#[async_trait]
pub trait GroupMembers: Send + Sync {
    /// Notes that a member handles messages of its group in this way from now on for `ttl`, or renews that. `false`: others handle them in
    /// another way, and nothing was noted.
    ///
    /// - Of several that come at once, those that are accepted handle them in one way.
    /// - A member that renews in time is never refused.
    /// - A member that does not renew has left when its time is over.
    ///
    /// # Errors
    /// When the database fails.
    async fn join(
        &self,
        group: &ConsumerGroup,
        member: OwnerId,
        handling: GroupHandling,
        ttl: Duration,
    ) -> Result<bool>;

    /// Notes that a member has ended. Others may handle the group's messages in another way once the last has.
    ///
    /// # Errors
    /// When the database fails.
    async fn leave(&self, member: OwnerId) -> Result<()>;
}
