//! What only the inbox has: receive, settle, quarantine, partitions.

use omni_box_core::event::Identity;
use omni_box_core::{
    ClaimToken, ConsumerGroup, Created, Event, InboxEvent, InboxRepository, InboxSettlement, PartitionEnd,
    QuarantinedMessage, Received, Result, TopicPartition,
};
use redb::{ReadableTable, WriteTransaction};

use crate::failure::failed;
use crate::store::RedbStore;
use crate::table::{PARTITIONS, QUARANTINE, Tables, get};

impl InboxRepository for RedbStore {
    async fn receive(&self, conn: &mut WriteTransaction, events: &[InboxEvent]) -> Result<Vec<Received>> {
        let (mut tables, now) = (Tables::open(conn)?, self.now());
        let receive = |event: &InboxEvent| match tables.create(event, now)? {
            Created::New(_) => Ok(Received::New),
            Created::Existing(row) => {
                let received = tables.change(row.id(), |row| row.receive(event, now))?;
                Ok(received.unwrap_or(Received::New))
            }
        };
        events.iter().map(receive).collect()
    }

    async fn by_message(
        &self,
        conn: &mut WriteTransaction,
        message_id: &str,
        group: &ConsumerGroup,
    ) -> Result<Option<InboxEvent>> {
        let row = Tables::open(conn)?.by_identity(&Identity::of_message(group, message_id))?;
        Ok(row.map(|row| row.event()))
    }

    async fn settle(&self, conn: &mut WriteTransaction, settlement: &InboxSettlement) -> Result<()> {
        let (mut tables, now) = (Tables::<InboxEvent>::open(conn)?, self.now());
        for (id, failure) in settlement.outcomes() {
            tables.change(id, |row| row.settle(failure, now))?;
        }
        Ok(())
    }

    async fn quarantine(&self, conn: &mut WriteTransaction, messages: &[QuarantinedMessage]) -> Result<()> {
        let mut quarantine = conn.open_table(QUARANTINE).map_err(failed)?;
        for message in messages {
            let identity = message.identity();
            if quarantine.get(identity.as_slice()).map_err(failed)?.is_none() {
                quarantine.insert(identity.as_slice(), message.to_json()?.as_slice()).map_err(failed)?;
            }
        }
        Ok(())
    }

    async fn pending_of(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<InboxEvent>> {
        let (group, partition) = (group.clone(), partition.clone());
        self.read(move |tx, _| {
            let rows = tx.open_table(Tables::<InboxEvent>::ROWS).map_err(failed)?;
            let line = tx.open_table(Tables::<InboxEvent>::LINE).map_err(failed)?;
            let from = after.map_or(i64::MIN, |offset| offset.saturating_add(1));
            let mut pending = Vec::new();
            for entry in line.range((false, from, 0)..).map_err(failed)? {
                let row = get::<InboxEvent>(&rows, entry.map_err(failed)?.1.value().0)?;
                pending.extend(row.filter(|row| row.is_of(&group, &partition)).map(|row| row.event()));
                if pending.len() == limit as usize {
                    break;
                }
            }
            Ok(pending)
        })
        .await
    }

    async fn attach(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> Result<PartitionEnd> {
        let (group, at, owner) = (group.clone(), partition.clone(), owner.clone());
        self.write(move |tx, _| {
            let mut partitions = tx.open_table(PARTITIONS).map_err(failed)?;
            let place = (group.as_str(), at.topic.as_str(), at.partition);
            let before = partitions.insert(place, owner.as_str()).map_err(failed)?;
            Ok(if before.is_some() { PartitionEnd::Unclean } else { PartitionEnd::Clean })
        })
        .await
    }

    async fn detach(
        &self,
        group: &ConsumerGroup,
        partition: &TopicPartition,
        owner: &ClaimToken,
    ) -> Result<()> {
        let (group, at, owner) = (group.clone(), partition.clone(), owner.clone());
        self.write(move |tx, _| {
            let mut partitions = tx.open_table(PARTITIONS).map_err(failed)?;
            let place = (group.as_str(), at.topic.as_str(), at.partition);
            let last = partitions.get(place).map_err(failed)?.map(|last| last.value() == owner.as_str());
            if last == Some(true) {
                partitions.remove(place).map_err(failed)?;
            }
            Ok(())
        })
        .await
    }
}

impl RedbStore {
    /// What is in quarantine.
    ///
    /// # Errors
    /// When the file fails.
    pub async fn quarantined(&self) -> Result<Vec<QuarantinedMessage>> {
        self.read(|tx, _| {
            let quarantine = tx.open_table(QUARANTINE).map_err(failed)?;
            let messages = quarantine.iter().map_err(failed)?;
            messages.map(|entry| QuarantinedMessage::from_json(entry.map_err(failed)?.1.value())).collect()
        })
        .await
    }
}
