//! Consumer groups: who has which partition, and up to where it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use omni_box_core::{ConsumerGroup, Error, ErrorKind, InboundMessage, OffsetTracker, TopicPartition};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::State;

#[derive(Default)]
pub(in crate::broker) struct Group {
    pub(in crate::broker) committed: BTreeMap<TopicPartition, i64>,
    /// In the order in which they joined.
    pub(in crate::broker) members: BTreeMap<u64, Member>,
    pub(in crate::broker) owners: BTreeMap<TopicPartition, Ownership>,
    /// Partitions that no member gets.
    pub(in crate::broker) withheld: BTreeSet<TopicPartition>,
}

pub(in crate::broker) struct Member {
    pub(in crate::broker) topics: BTreeSet<String>,
    pub(in crate::broker) drain_deadline: Duration,
    pub(in crate::broker) is_closing: bool,
    /// A commit at a hand-over that failed.
    pub(in crate::broker) failure: Option<Error>,
}

/// How a partition stands with the member that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum Standing {
    /// The application has not taken it yet.
    Offered,
    Owned,
    /// It may finish, acknowledge and let go until then.
    Revoked(Instant),
    /// It is another's, or has no owner.
    Lost,
}

/// A partition that a member has.
pub(in crate::broker) struct Ownership {
    pub(in crate::broker) epoch: u64,
    pub(in crate::broker) member: u64,
    pub(in crate::broker) standing: watch::Sender<Standing>,
    pub(in crate::broker) tracker: OffsetTracker,
    /// The offset from which the next message is delivered.
    pub(in crate::broker) next: i64,
    pub(in crate::broker) feed: Option<mpsc::Sender<InboundMessage>>,
    /// The application has not dropped the handle.
    pub(in crate::broker) is_held: bool,
}

impl Ownership {
    pub(in crate::broker) fn standing(&self) -> Standing {
        *self.standing.borrow()
    }
}

impl Group {
    /// Which member shall have which partition: as it is, as even as it can be.
    ///
    /// A member keeps a partition while no other has two less. Members are taken in the order in which they joined, partitions in
    /// that of their names.
    fn plan(&self, partitions: &[TopicPartition]) -> BTreeMap<TopicPartition, u64> {
        let members: BTreeMap<u64, &Member> = self
            .members
            .iter()
            .filter(|(_, member)| !member.is_closing)
            .map(|(id, member)| (*id, member))
            .collect();
        let mut load: BTreeMap<u64, usize> = members.keys().map(|id| (*id, 0)).collect();
        let mut plan = BTreeMap::new();
        let mut free = Vec::new();
        for id in partitions.iter().filter(|id| !self.withheld.contains(id)) {
            let keeper = self.owners.get(id).filter(|owner| {
                matches!(owner.standing(), Standing::Offered | Standing::Owned)
                    && members.contains_key(&owner.member)
            });
            match keeper {
                Some(owner) => {
                    *load.entry(owner.member).or_default() += 1;
                    plan.insert(id.clone(), owner.member);
                }
                None => free.push(id),
            }
        }
        for id in free {
            let subscribed = members.iter().filter(|(_, member)| member.topics.contains(&id.topic));
            if let Some((least, _)) = subscribed.min_by_key(|(member, _)| load[member]) {
                *load.entry(*least).or_default() += 1;
                plan.insert(id.clone(), *least);
            }
        }
        while let Some((id, from, to)) = Self::uneven(&plan, &members, &load) {
            *load.entry(from).or_default() -= 1;
            *load.entry(to).or_default() += 1;
            plan.insert(id, to);
        }
        plan
    }

    /// A partition that would be better off with another member.
    fn uneven(
        plan: &BTreeMap<TopicPartition, u64>,
        members: &BTreeMap<u64, &Member>,
        load: &BTreeMap<u64, usize>,
    ) -> Option<(TopicPartition, u64, u64)> {
        members.iter().find_map(|(to, member)| {
            let movable = plan
                .iter()
                .filter(|(id, from)| member.topics.contains(&id.topic) && load[*from] > load[to] + 1);
            let (id, from) = movable.max_by_key(|(id, from)| (load[*from], *id))?;
            Some((id.clone(), *from, *to))
        })
    }
}

impl State {
    /// Takes from members what others shall have, and offers what has no owner.
    pub(in crate::broker) fn rebalance(&mut self, name: &ConsumerGroup) {
        loop {
            let Some(group) = self.groups.get(name) else { return };
            let topics: BTreeSet<_> = group.members.values().flat_map(|member| &member.topics).collect();
            let partitions: Vec<_> = topics.into_iter().flat_map(|topic| self.partitions_of(topic)).collect();
            let plan = group.plan(&partitions);
            let moved: Vec<_> = group
                .owners
                .iter()
                .filter(|(id, owner)| plan.get(id) != Some(&owner.member))
                .map(|(id, _)| id.clone())
                .collect();
            let freed: usize = moved.iter().map(|id| usize::from(self.revoke(name, id))).sum();
            if freed == 0 {
                self.offer(name, plan);
                return;
            }
        }
    }

    fn offer(&mut self, name: &ConsumerGroup, plan: BTreeMap<TopicPartition, u64>) {
        for (id, member) in plan {
            let epoch = self.next_id();
            let Some(group) = self.groups.get_mut(name) else { return };
            let position = group.committed.get(&id).copied().unwrap_or(0);
            group.owners.entry(id).or_insert_with(|| Ownership {
                epoch,
                member,
                standing: watch::Sender::new(Standing::Offered),
                tracker: OffsetTracker::new(),
                next: position,
                feed: None,
                is_held: false,
            });
        }
    }

    /// Asks a member to let a partition go; whether it is free already.
    fn revoke(&mut self, name: &ConsumerGroup, id: &TopicPartition) -> bool {
        let Some(group) = self.groups.get_mut(name) else { return false };
        let Some(owner) = group.owners.get_mut(id) else { return false };
        if matches!(owner.standing(), Standing::Offered | Standing::Owned) {
            let drain =
                group.members.get(&owner.member).map_or(Duration::ZERO, |member| member.drain_deadline);
            owner.standing.send_replace(Standing::Revoked(Instant::now() + drain));
            owner.feed = None;
        }
        let is_free = !owner.is_held;
        if is_free {
            self.hand_over(name, id);
        }
        is_free
    }

    /// Ends a member's time with a partition; what it acknowledged is committed.
    pub(in crate::broker) fn hand_over(&mut self, name: &ConsumerGroup, id: &TopicPartition) {
        let is_cut = self.is_cut;
        let Some(group) = self.groups.get_mut(name) else { return };
        let Some(owner) = group.owners.remove(id) else { return };
        owner.standing.send_replace(Standing::Lost);
        let Some(position) = owner.tracker.uncommitted() else { return };
        if !is_cut {
            group.committed.insert(id.clone(), position);
        } else if let Some(member) = group.members.get_mut(&owner.member) {
            let error = Error::new(ErrorKind::Unavailable, "what was acknowledged could not be committed");
            member.failure = Some(error);
        }
    }

    /// Takes a partition from its owner, without waiting and without committing anything.
    pub(in crate::broker) fn take_away(&mut self, name: &ConsumerGroup, id: &TopicPartition) {
        let owner = self.groups.get_mut(name).and_then(|group| group.owners.remove(id));
        if let Some(owner) = owner {
            owner.standing.send_replace(Standing::Lost);
        }
    }

    /// Removes a member and all that it has.
    pub(in crate::broker) fn leave(&mut self, name: &ConsumerGroup, member: u64) -> Option<Error> {
        let group = self.groups.get_mut(name)?;
        let left = group.members.remove(&member)?;
        let held: Vec<_> = group
            .owners
            .iter()
            .filter(|(_, owner)| owner.member == member)
            .map(|(id, _)| id.clone())
            .collect();
        held.iter().for_each(|id| self.take_away(name, id));
        self.rebalance(name);
        left.failure
    }
}
