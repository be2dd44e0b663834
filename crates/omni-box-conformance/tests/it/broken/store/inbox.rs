//! Messages, their quarantine, and savepoints.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::{GroupHandling, GroupMembers, Quarantine, SealedTransactions};
use omni_box_core::{
    ClaimToken, ConsumerGroup, Error, ErrorKind, Event, EventId, InboxEvent, InboxRecord, InboxRepository,
    InboxSettlement, OwnerId, PartitionEnd, QuarantinedMessage, Received, Result, Savepoints, TopicPartition,
};

use super::Broken;
use super::flaw::Flaw;
use super::kind::Kind;

/// A message whose raw key is another one, or none.
fn rekeyed(event: &InboxEvent, raw_key: Option<Vec<u8>>) -> InboxEvent {
    InboxEvent::restore(InboxRecord { raw_key, ..event.record().clone() }, event.lifecycle().clone())
}

impl<S: InboxRepository> Broken<S> {
    /// What is stored instead of a message.
    fn stored(&self, event: &InboxEvent) -> InboxEvent {
        match (self.flaw, event.raw_key()) {
            (Some(Flaw::RawKeysAreOne), Some(_)) => rekeyed(event, Some(b"\xff".to_vec())),
            (Some(Flaw::RawKeysHaveNoOrder), Some(_)) => {
                rekeyed(event, Some(EventId::generate().to_string().into_bytes()))
            }
            (Some(Flaw::LosesTraces), _) => event.untraced(),
            (Some(Flaw::GroupsShareMessages), _) => {
                let consumer_group = ConsumerGroup::new("all").unwrap();
                let record = InboxRecord { consumer_group, ..event.record().clone() };
                InboxEvent::restore(record, event.lifecycle().clone())
            }
            (Some(Flaw::NoKeyIsAKey), _) if !event.has_key() => {
                let record =
                    InboxRecord { partition_key: Some(event.id().to_string()), ..event.record().clone() };
                InboxEvent::restore(record, event.lifecycle().clone())
            }
            (Some(Flaw::SwallowsWhatIsSentAgain), _) => {
                let record = InboxRecord { position: None, ..event.record().clone() };
                InboxEvent::restore(record, event.lifecycle().clone())
            }
            _ => event.clone(),
        }
    }

    fn judged(&self, given: &InboxEvent, received: Received) -> Received {
        match (self.flaw, received) {
            (Some(Flaw::WaitsForNoRetry), Received::Pending { event, .. }) => {
                Received::Pending { event, wait: Duration::ZERO }
            }
            (
                Some(Flaw::SourcesAreCompared),
                Received::Pending { event, .. } | Received::Completed(event),
            ) if event.source() != given.source() => Received::Conflict(event),
            (Some(Flaw::ReceivesTheCompletedAnew), Received::Completed(_)) => Received::New,
            (Some(Flaw::MissesConflicts), Received::Conflict(event)) => {
                Received::Pending { event, wait: Duration::ZERO }
            }
            (_, received) => received,
        }
    }
}

fn is_same(a: &QuarantinedMessage, b: &QuarantinedMessage) -> bool {
    a.consumer_group == b.consumer_group && a.message.position() == b.message.position()
}

impl<S: InboxRepository> InboxRepository for Broken<S> {
    async fn receive(&self, conn: &mut S::Conn, events: &[InboxEvent]) -> Result<Vec<Received>> {
        self.check_transaction()?;
        let given = events;
        let events: Vec<InboxEvent> = given.iter().map(|event| self.stored(event)).collect();
        self.notes().created.extend(events.iter().map(Event::id));
        let received = if self.has(Flaw::AReceiveLocksNothing) {
            let mut tx = self.inner.begin().await?;
            let received = self.inner.receive(&mut tx, &events).await?;
            self.inner.commit(tx).await?;
            received
        } else {
            self.inner.receive(conn, &events).await?
        };
        Ok(given.iter().zip(received).map(|(given, received)| self.judged(given, received)).collect())
    }

    async fn by_message(
        &self,
        conn: &mut S::Conn,
        message_id: &str,
        group: &ConsumerGroup,
    ) -> Result<Option<InboxEvent>> {
        if self.has(Flaw::LooksMessagesUpInAnyGroup) {
            let rows: Vec<InboxEvent> = self.rows().await?;
            return Ok(rows.into_iter().find(|row| row.message_id() == message_id));
        }
        self.inner.by_message(conn, message_id, group).await
    }

    async fn settle(&self, conn: &mut S::Conn, settlement: &InboxSettlement) -> Result<()> {
        self.check_transaction()?;
        let mut settlement = settlement.clone();
        if self.has(Flaw::SettlesAGroupButItsLast) {
            settlement.failures.pop();
        }
        InboxRepository::settle(&self.inner, conn, &settlement).await?;
        if self.has(Flaw::CountsAFailureTwice) {
            InboxRepository::settle(&self.inner, conn, &settlement).await?;
        }
        if self.has(Flaw::KeepsClaimsOfSettledMessages) {
            self.notes().kept_claims.extend(settlement.failures.iter().map(|(id, _)| *id));
        }
        if self.has(Flaw::SettlesMessagesThatAreNotPending) {
            self.complete_failed::<InboxEvent>(&settlement.completed).await?;
        }
        Ok(())
    }

    async fn quarantine(&self, conn: &mut S::Conn, messages: &[QuarantinedMessage]) -> Result<()> {
        self.check_transaction()?;
        if self.has(Flaw::QuarantinesText) {
            let mut messages = messages.to_vec();
            for QuarantinedMessage { message, .. } in &mut messages {
                let value = message.value.take();
                message.value = value.map(|value| String::from_utf8_lossy(&value).into_owned().into());
            }
            return self.inner.quarantine(conn, &messages).await;
        }
        if self.has(Flaw::QuarantinesOutsideTheTransaction) {
            let mut tx = self.inner.begin().await?;
            self.inner.quarantine(&mut tx, messages).await?;
            return self.inner.commit(tx).await;
        }
        if self.has(Flaw::QuarantinesRepeats) {
            let mut notes = self.notes();
            for message in messages {
                if notes.quarantined.iter().any(|kept| is_same(kept, message)) {
                    notes.repeats.push(message.clone());
                }
                notes.quarantined.push(message.clone());
            }
        }
        if self.has(Flaw::QuarantineKnowsPlacesOnly) {
            let is_new = |message: &&QuarantinedMessage| {
                let mut notes = self.notes();
                let is_new = !notes.quarantined.iter().any(|kept| is_same(kept, message));
                notes.quarantined.push((*message).clone());
                is_new
            };
            let messages: Vec<_> = messages.iter().filter(is_new).cloned().collect();
            return self.inner.quarantine(conn, &messages).await;
        }
        self.inner.quarantine(conn, messages).await
    }

    async fn pending_of(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<InboxEvent>> {
        let mut pending = self.inner.pending_of(group, partition, after, limit).await?;
        match self.flaw {
            Some(Flaw::PendingMessagesComeBackwards) => pending.reverse(),
            Some(Flaw::PendingMessagesAreOfAnyPartition) => pending = self.rows().await?,
            Some(Flaw::PendingMessagesHaveNotFailed) => {
                pending.retain(|row| row.lifecycle().attempts_made() == 0);
            }
            _ => {}
        }
        Ok(pending)
    }

    async fn attach(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> Result<PartitionEnd> {
        self.notes().attached = Some(owner.clone());
        let end = self.inner.attach(group, partition, owner).await?;
        Ok(if self.has(Flaw::EveryEndIsClean) { PartitionEnd::Clean } else { end })
    }

    async fn detach(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> Result<()> {
        let last = self.notes().attached.clone().filter(|_| self.has(Flaw::ALateDetachCounts));
        self.inner.detach(group, partition, last.as_ref().unwrap_or(owner)).await
    }

    fn in_quarantine(&self) -> Option<&dyn Quarantine<S::Conn>> {
        Some(self)
    }

    fn members(&self) -> Option<&dyn GroupMembers> {
        Some(self)
    }

    fn savepoints(&self) -> Option<&dyn Savepoints<S::Conn>> {
        Some(self)
    }

    fn sealed(&self) -> Option<&dyn SealedTransactions<Self>> {
        Some(self)
    }
}

#[async_trait]
impl<S: InboxRepository> Savepoints<S::Conn> for Broken<S> {
    async fn start(&self, conn: &mut S::Conn) -> Result<()> {
        self.inner.savepoints().unwrap().start(conn).await
    }

    async fn advance(&self, conn: &mut S::Conn) -> Result<()> {
        if self.has(Flaw::ASavepointDoesNotAdvance) {
            return Ok(());
        }
        let advanced = self.inner.savepoints().unwrap().advance(conn).await;
        if self.has(Flaw::ASavepointIsNotMissed) {
            return advanced.map_err(|_| Error::new(ErrorKind::Internal, "something failed"));
        }
        advanced
    }

    async fn rollback(&self, conn: &mut S::Conn) -> Result<()> {
        let savepoints = self.inner.savepoints().unwrap();
        match self.flaw {
            Some(Flaw::ASavepointUndoesTheTransaction) => {
                let mut fresh = self.inner.begin().await?;
                std::mem::swap(conn, &mut *fresh);
                drop(fresh);
                savepoints.start(conn).await
            }
            Some(Flaw::ASavepointUndoesNothing) => savepoints.advance(conn).await,
            Some(Flaw::ASavepointIsUsedOnce) => {
                let rollbacks = std::mem::replace(&mut self.notes().rollbacks, 1);
                if rollbacks > 0 {
                    return Err(Error::new(ErrorKind::NoTransaction, "no savepoint is set"));
                }
                savepoints.rollback(conn).await
            }
            _ => savepoints.rollback(conn).await,
        }
    }
}

#[async_trait]
impl<S: InboxRepository> GroupMembers for Broken<S> {
    async fn join(
        &self,
        group: &ConsumerGroup,
        member: OwnerId,
        handling: GroupHandling,
        ttl: Duration,
    ) -> Result<bool> {
        let members = self.inner.members().unwrap();
        let one = ConsumerGroup::new("one")?;
        let group = if self.has(Flaw::AllGroupsAreOne) { &one } else { group };
        let ttl = if self.has(Flaw::MembersNeverEnd) { ttl * 1_000 } else { ttl };
        if self.has(Flaw::MembersJoinBehindEachOthersBack) {
            let may_join = members.join(group, member, handling, ttl).await?;
            members.leave(member).await?;
            tokio::task::yield_now().await;
            members.join(group, member, handling, ttl).await?;
            return Ok(may_join);
        }
        Ok(members.join(group, member, handling, ttl).await? || self.has(Flaw::AMemberIsNeverRefused))
    }

    async fn leave(&self, member: OwnerId) -> Result<()> {
        self.inner.members().unwrap().leave(member).await
    }
}
