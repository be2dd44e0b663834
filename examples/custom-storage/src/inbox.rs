//! What only the inbox has: receive, settle, quarantine, partitions.

use chrono::{DateTime, Utc};
use omni_box_core::{
    ClaimToken, ConsumerGroup, Created, Error, ErrorKind, Event, InboundMessage, InboxEvent, InboxRepository,
    InboxSettlement, PartitionEnd, QuarantinedMessage, Received, Result, TopicPartition,
};
use redb::{ReadableTable, WriteTransaction};

use crate::failure::failed;
use crate::row::message_identity;
use crate::store::RedbStore;
use crate::table::{PARTITIONS, QUARANTINE, Tables, get};

/// Key, value, headers, timestamp and error.
type Kept = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>, Option<DateTime<Utc>>, String);

impl InboxRepository for RedbStore {
    async fn receive(&self, conn: &mut WriteTransaction, events: &[InboxEvent]) -> Result<Vec<Received>> {
        let (mut tables, now) = (Tables::open(conn)?, self.now());
        events
            .iter()
            .map(|event| {
                Ok(match tables.create(event, now)? {
                    Created::New(_) => Received::New,
                    Created::Existing(row) => {
                        let again = row.is_sent_again_by(event);
                        let row = if again { tables.reopen(&row, event, now)? } else { row };
                        let due = row.lifecycle().scheduled_at().unwrap_or(now);
                        Received::of(row, event, (due - now).to_std().unwrap_or_default())
                    }
                })
            })
            .collect()
    }

    async fn by_message(
        &self,
        conn: &mut WriteTransaction,
        message_id: &str,
        group: &ConsumerGroup,
    ) -> Result<Option<InboxEvent>> {
        Tables::<InboxEvent>::open(conn)?.by_identity(&message_identity(group, message_id))
    }

    async fn settle(&self, conn: &mut WriteTransaction, settlement: &InboxSettlement) -> Result<()> {
        let (mut tables, now) = (Tables::<InboxEvent>::open(conn)?, self.now());
        for id in &settlement.completed {
            tables.change(*id, |_| true, |life| life.complete(now))?;
        }
        for (id, failure) in &settlement.failures {
            tables.change(*id, |_| true, |life| life.fail(failure, now))?;
        }
        Ok(())
    }

    async fn quarantine(&self, conn: &mut WriteTransaction, messages: &[QuarantinedMessage]) -> Result<()> {
        let mut quarantine = conn.open_table(QUARANTINE).map_err(failed)?;
        for QuarantinedMessage { consumer_group, message, error } in messages {
            let (group, topic) = (consumer_group.as_str(), message.topic.as_str());
            let place = (group, topic, message.partition, message.offset, message.fingerprint());
            if quarantine.get(place).map_err(failed)?.is_none() {
                let headers: Vec<_> = message.headers.iter().map(|(k, v)| (k, v.as_deref())).collect();
                let (key, value) = (message.key.as_deref(), message.value.as_deref());
                let json = serde_json::to_vec(&(key, value, headers, message.timestamp, error));
                let json =
                    json.map_err(|_| Error::new(ErrorKind::Internal, "a message cannot be written"))?;
                quarantine.insert(place, json.as_slice()).map_err(failed)?;
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
                let (id, _) = entry.map_err(failed)?.1.value();
                let Some(event) = get::<InboxEvent>(&rows, id)?.map(|row| row.event()) else { continue };
                let is_there = event
                    .position()
                    .is_some_and(|at| at.topic == partition.topic && at.partition == partition.partition);
                if is_there && *event.consumer_group() == group {
                    pending.push(event);
                }
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
            let is_owner =
                partitions.get(place).map_err(failed)?.is_some_and(|last| last.value() == owner.as_str());
            if is_owner {
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
            let mut messages = Vec::new();
            for entry in quarantine.iter().map_err(failed)? {
                let (place, json) = entry.map_err(failed)?;
                let (group, topic, partition, offset, _) = place.value();
                let kept: Kept = serde_json::from_slice(json.value())
                    .map_err(|_| Error::new(ErrorKind::Decode, "a message in quarantine cannot be read"))?;
                let (key, value, headers, timestamp, error) = kept;
                let headers =
                    headers.into_iter().map(|(name, value)| (name, value.map(Into::into))).collect();
                let (topic, key, value) = (topic.to_owned(), key.map(Into::into), value.map(Into::into));
                let message = InboundMessage { topic, partition, offset, key, value, headers, timestamp };
                let consumer_group = ConsumerGroup::new(group)?;
                messages.push(QuarantinedMessage { consumer_group, message, error });
            }
            Ok(messages)
        })
        .await
    }
}
