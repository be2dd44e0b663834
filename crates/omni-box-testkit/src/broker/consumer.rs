//! The consumer.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::broker::Leaver;
use omni_box_core::{AssignedPartition, ConsumerGroup, Error, ErrorKind, EventConsumer, Result};

use super::MemoryBroker;
use super::assignment::take;
use super::state::group::Member;

/// Messages that a partition delivers ahead of the application.
const WINDOW: usize = 100;
const DRAIN_DEADLINE: Duration = Duration::from_secs(45);

/// Receives messages of a [`MemoryBroker`] as a member of a group, as a `read_committed` consumer.
///
/// - Members share the partitions evenly. When one joins or leaves only those partitions move that must.
/// - While the broker is [cut off](MemoryBroker::cut) nothing arrives, and acknowledging fails with [`Unavailable`](ErrorKind::Unavailable).
/// - Dropping it without [`close`](EventConsumer::close) takes everything away from it at once, as the end of its process does.
pub struct MemoryConsumer {
    broker: MemoryBroker,
    group: ConsumerGroup,
    topics: BTreeSet<String>,
    window: usize,
    drain_deadline: Duration,
    membership: Membership,
    /// Why it was taken out of its group.
    taken_out: Arc<Mutex<Option<Error>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Membership {
    New,
    Joined(u64),
    Closed,
}

impl MemoryConsumer {
    pub(super) fn new(broker: &MemoryBroker, group: &ConsumerGroup, topics: BTreeSet<String>) -> Self {
        Self {
            broker: broker.clone(),
            group: group.clone(),
            topics,
            window: WINDOW,
            drain_deadline: DRAIN_DEADLINE,
            membership: Membership::New,
            taken_out: Arc::default(),
        }
    }

    /// Messages that a partition delivers ahead of the application: 100 unless set; at least 1 is used.
    #[must_use]
    pub fn window(mut self, messages: usize) -> Self {
        self.window = messages.max(1);
        self
    }

    /// How long a partition that is taken away may finish: 45 s unless set.
    #[must_use]
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain_deadline = deadline;
        self
    }
}

#[async_trait]
impl EventConsumer for MemoryConsumer {
    fn consumer_group(&self) -> Option<&ConsumerGroup> {
        Some(&self.group)
    }

    fn drain_deadline(&self) -> Option<Duration> {
        Some(self.drain_deadline)
    }

    fn leaver(&self) -> Option<Leaver> {
        let Membership::Joined(member) = self.membership else { return None };
        let (broker, group, taken_out) =
            (self.broker.clone(), self.group.clone(), Arc::clone(&self.taken_out));
        Some(Box::new(move |error| {
            *taken_out.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            broker.update(|state| state.leave(&group, member));
        }))
    }

    async fn start(&mut self) -> Result<()> {
        match self.membership {
            Membership::New => {}
            Membership::Joined(_) => return Ok(()),
            Membership::Closed => return Err(Error::new(ErrorKind::Closed, "consumer was closed")),
        }
        let member = Member {
            topics: self.topics.clone(),
            drain_deadline: self.drain_deadline,
            is_closing: false,
            failure: None,
        };
        self.membership = self.broker.update(|state| {
            self.topics.iter().for_each(|topic| state.use_topic(topic));
            let id = state.next_id();
            state.groups.entry(self.group.clone()).or_default().members.insert(id, member);
            state.rebalance(&self.group);
            Membership::Joined(id)
        });
        Ok(())
    }

    async fn next_partition(&mut self) -> Result<Option<AssignedPartition>> {
        match self.membership {
            Membership::New => Err(Error::new(ErrorKind::Internal, "consumer was not started")),
            Membership::Closed => Ok(None),
            Membership::Joined(member) => {
                let taken = self.broker.until(|| {
                    if let Some(error) = self.taken_out.lock().unwrap_or_else(PoisonError::into_inner).take()
                    {
                        return Some(Err(error));
                    }
                    take(&self.broker, &self.group, member, self.window).map(Ok)
                });
                taken.await.map(Some)
            }
        }
    }

    async fn close(&mut self) -> Result<()> {
        if let Membership::Joined(id) = self.membership {
            self.broker.update(|state| {
                let member = state.groups.get_mut(&self.group).and_then(|group| group.members.get_mut(&id));
                if let Some(member) = member {
                    member.is_closing = true;
                }
                state.rebalance(&self.group);
            });
            // what holds a partition beyond the deadline loses it
            let has_any = || {
                let state = self.broker.state();
                state
                    .groups
                    .get(&self.group)
                    .is_some_and(|group| group.owners.values().any(|owner| owner.member == id))
            };
            self.broker.until(|| (!has_any()).then_some(())).await;
            let failure = self.broker.update(|state| state.leave(&self.group, id));
            self.membership = Membership::Closed;
            return failure.map_or(Ok(()), Err);
        }
        self.membership = Membership::Closed;
        Ok(())
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        if let Membership::Joined(id) = self.membership {
            self.broker.update(|state| state.leave(&self.group, id));
        }
    }
}

impl fmt::Debug for MemoryConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryConsumer")
            .field("group", &self.group)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}
