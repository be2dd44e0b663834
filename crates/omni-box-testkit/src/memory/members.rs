//! Who handles the messages of a group.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use omni_box_core::store::{GroupHandling, GroupMembers};
use omni_box_core::{ConsumerGroup, OwnerId, Result};

use super::MemoryStore;

/// A member as it is stored.
#[derive(Debug)]
pub(super) struct Member {
    group: ConsumerGroup,
    handling: GroupHandling,
    alive_until: DateTime<Utc>,
}

#[async_trait]
impl GroupMembers for MemoryStore {
    async fn join(
        &self,
        group: &ConsumerGroup,
        member: OwnerId,
        handling: GroupHandling,
        ttl: Duration,
    ) -> Result<bool> {
        let now = self.shared.now();
        let members = &mut self.shared.state().members;
        members.retain(|_, other| other.alive_until > now);
        let others_differ = members.values().any(|other| other.group == *group && other.handling != handling);
        if others_differ && !members.contains_key(&member) {
            return Ok(false);
        }
        members.insert(member, Member { group: group.clone(), handling, alive_until: now + ttl });
        Ok(true)
    }

    async fn leave(&self, member: OwnerId) -> Result<()> {
        self.shared.state().members.remove(&member);
        Ok(())
    }
}
