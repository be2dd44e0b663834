//! A partition in a consumer's hands: what feeds it, and what acknowledges it.

use std::fmt;

use async_trait::async_trait;
use omni_box_core::{
    AckHandle, AssignedPartition, ConsumerGroup, Error, ErrorKind, InboundMessage, Result, TopicPartition,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::MemoryBroker;
use super::state::State;
use super::state::group::{Ownership, Standing};

/// One time that a member has a partition.
#[derive(Clone)]
struct Tenure {
    broker: MemoryBroker,
    group: ConsumerGroup,
    id: TopicPartition,
    epoch: u64,
}

/// What the feeder does next.
enum Next {
    Feed(mpsc::Sender<InboundMessage>),
    /// The application does not read, until a rewind.
    Wait,
    Drain(Instant),
    End,
}

/// Takes the first partition that is offered to a member, and begins to feed it.
pub(super) fn take(
    broker: &MemoryBroker,
    group: &ConsumerGroup,
    member: u64,
    window: usize,
) -> Option<AssignedPartition> {
    let (sender, messages) = mpsc::channel(window);
    let (id, epoch, standing) = {
        let mut state = broker.state();
        if state.is_cut {
            return None;
        }
        let owners = &mut state.groups.get_mut(group)?.owners;
        let offered = |owner: &Ownership| owner.member == member && owner.standing() == Standing::Offered;
        let (id, owner) = owners.iter_mut().find(|(_, owner)| offered(owner))?;
        owner.standing.send_replace(Standing::Owned);
        (owner.feed, owner.is_held) = (Some(sender), true);
        (id.clone(), owner.epoch, owner.standing.subscribe())
    };
    let tenure = Tenure { broker: broker.clone(), group: group.clone(), id: id.clone(), epoch };
    tokio::spawn(tenure.clone().feed());
    let ack = Box::new(MemoryAckHandle { tenure, standing, window });
    Some(AssignedPartition { partition: id, messages, ack })
}

impl Tenure {
    /// The partition, if it is still held by this epoch.
    fn owner<'a>(&self, state: &'a mut State) -> Option<&'a mut Ownership> {
        let owner = state.groups.get_mut(&self.group)?.owners.get_mut(&self.id)?;
        (owner.epoch == self.epoch).then_some(owner)
    }

    /// Delivers messages while there is room, until the partition is let go.
    async fn feed(self) {
        let mut changed = self.broker.changes();
        loop {
            changed.mark_unchanged();
            match self.next() {
                Next::Feed(feed) => tokio::select! {
                    biased;
                    _ = changed.changed() => {}
                    permit = feed.reserve() => {
                        let is_delivered = permit.is_ok_and(|permit| self.deliver(&feed, permit));
                        if !is_delivered {
                            // there is nothing to deliver, or no reader to deliver it to
                            let _ = changed.changed().await;
                        }
                    }
                },
                Next::Wait => {
                    let _ = changed.changed().await;
                }
                Next::Drain(deadline) => tokio::select! {
                    biased;
                    _ = changed.changed() => {}
                    () = sleep_until(deadline) => self.broker.update(|state| {
                        if self.owner(state).is_some() {
                            state.hand_over(&self.group, &self.id);
                            state.rebalance(&self.group);
                        }
                    }),
                },
                Next::End => return,
            }
        }
    }

    fn next(&self) -> Next {
        let mut state = self.broker.state();
        let Some(owner) = self.owner(&mut state) else { return Next::End };
        match (owner.standing(), &owner.feed) {
            (Standing::Revoked(deadline), _) => Next::Drain(deadline),
            (_, Some(feed)) => Next::Feed(feed.clone()),
            (_, None) => Next::Wait,
        }
    }

    /// Delivers the next message; `false`: there is none, or the stream has been replaced.
    fn deliver(&self, feed: &mpsc::Sender<InboundMessage>, permit: mpsc::Permit<'_, InboundMessage>) -> bool {
        let mut state = self.broker.state();
        if state.is_cut {
            return false;
        }
        let current =
            |owner: &&mut Ownership| owner.feed.as_ref().is_some_and(|current| current.same_channel(feed));
        let Some(owner) = self.owner(&mut state).filter(current) else { return false };
        let position = owner.next;
        let message = state.log(&self.id).ok().and_then(|log| log.committed_from(position).next().cloned());
        let Some(message) = message else { return false };
        if let Some(owner) = self.owner(&mut state) {
            owner.tracker.delivered(message.offset);
            owner.next = message.offset + 1;
        }
        permit.send(message);
        true
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "partition is not this consumer's any more")
}

/// The application's side of a partition.
struct MemoryAckHandle {
    tenure: Tenure,
    standing: watch::Receiver<Standing>,
    window: usize,
}

#[async_trait]
impl AckHandle for MemoryAckHandle {
    async fn commit(&self, offsets: &[i64]) -> Result<()> {
        let Tenure { broker, group, id, .. } = &self.tenure;
        broker.update(|state| {
            let is_cut = state.is_cut;
            let owner = self.tenure.owner(state).ok_or_else(closed)?;
            owner.tracker.done(offsets);
            let Some(position) = owner.tracker.uncommitted() else { return Ok(()) };
            if is_cut {
                return Err(Error::new(ErrorKind::Unavailable, "the broker is cut off"));
            }
            owner.tracker.committed(position);
            let committed = &mut state.groups.get_mut(group).ok_or_else(closed)?.committed;
            committed.insert(id.clone(), position);
            Ok(())
        })
    }

    async fn rewind(&self) -> Result<mpsc::Receiver<InboundMessage>> {
        let (sender, messages) = mpsc::channel(self.window);
        self.tenure.broker.update(|state| {
            let owner = self.tenure.owner(state).filter(|owner| owner.standing() == Standing::Owned);
            let owner = owner.ok_or_else(closed)?;
            if let Some(first) = owner.tracker.rewind() {
                owner.next = first;
            }
            owner.feed = Some(sender);
            Ok(messages)
        })
    }

    fn is_revoked(&self) -> bool {
        *self.standing.borrow() != Standing::Owned
    }

    async fn lost(&self) {
        // the sender goes when the partition does, after it has said so
        let _ = self.standing.clone().wait_for(|standing| *standing == Standing::Lost).await;
    }
}

impl Drop for MemoryAckHandle {
    fn drop(&mut self) {
        let Tenure { broker, group, id, .. } = &self.tenure;
        broker.update(|state| {
            let Some(owner) = self.tenure.owner(state) else { return };
            owner.is_held = false;
            if matches!(owner.standing(), Standing::Revoked(_)) {
                state.hand_over(group, id);
                state.rebalance(group);
            }
        });
    }
}

impl fmt::Debug for MemoryAckHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryAckHandle({})", self.tenure.id)
    }
}
