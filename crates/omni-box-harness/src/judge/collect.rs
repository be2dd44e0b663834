//! Gathers the evidence and judges it.

use std::collections::BTreeSet;

use anyhow::Result;
use sqlx::{PgPool, Row};

use super::{
    Effect, Enqueued, Finding, History, InboxHistory, Message, Verdict, judge_delivery, judge_effects,
    read_topics,
};

/// A consumer group whose inbox is in the judged database.
#[derive(Debug, Clone, Default)]
pub struct InboxExpectation {
    /// The group.
    pub group: String,
    /// The topics it consumes.
    pub topics: Vec<String>,
    /// A topic of the same database's outbox that only this group's handlers write to.
    pub handler_topic: Option<String>,
    /// Ids of messages that should be parked: their inbox row is failed and they took no effect.
    pub parked: BTreeSet<String>,
    /// `topic:partition:offset` of messages that should be in quarantine.
    pub quarantined: BTreeSet<String>,
}

/// Judges one database and the topics it writes to and reads from.
#[derive(Debug)]
pub struct Judge {
    pool: PgPool,
    brokers: String,
    inboxes: Vec<InboxExpectation>,
}

impl Judge {
    /// A judge of the database behind `pool`, which has a [`journal`](super::journal), and of the topics its journal names.
    pub fn new(pool: PgPool, brokers: impl Into<String>) -> Self {
        Self { pool, brokers: brokers.into(), inboxes: Vec::new() }
    }

    /// Judges an inbox too.
    #[must_use]
    pub fn inbox(mut self, inbox: InboxExpectation) -> Self {
        self.inboxes.push(inbox);
        self
    }

    /// Reads everything and judges it. Writers, relays and consumers should be done: what is still on its way counts as missing.
    ///
    /// # Errors
    /// When the database or the broker cannot be read.
    pub async fn verdict(&self) -> Result<Verdict> {
        let enqueued = self.enqueued().await?;
        let rolled_back = self.texts("select event_id::text from chaos_rollbacks", None).await?;
        let written = self
            .texts("select topic from chaos_journal union select topic from chaos_rollbacks", None)
            .await?;
        let messages = read_topics(&self.brokers, &written).await?;
        let rolled_back = rolled_back.into_iter().collect();
        let mut verdict = judge_delivery(&History { enqueued, rolled_back, messages });
        verdict.not_completed = self.unfinished_outbox().await?;
        for inbox in &self.inboxes {
            verdict.not_completed.merge(self.unfinished_inbox(&inbox.group).await?);
            let messages = read_topics(&self.brokers, &inbox.topics).await?;
            verdict.merge(judge_effects(&self.inbox_history(inbox, messages).await?));
        }
        Ok(verdict)
    }

    async fn enqueued(&self) -> Result<Vec<Enqueued>> {
        let rows = sqlx::query(
            "select event_id::text, topic, partition_key, tx, started, committed
             from chaos_journal left join chaos_commits using (tx)",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Enqueued {
                    id: row.try_get(0)?,
                    topic: row.try_get(1)?,
                    key: row.try_get(2)?,
                    tx: row.try_get(3)?,
                    started: row.try_get(4)?,
                    committed: row.try_get(5)?,
                })
            })
            .collect()
    }

    async fn unfinished_outbox(&self) -> Result<Finding> {
        self.finding(
            "select format('outbox %s %s: %s', id, status, last_error) from outbox_events where status <> 'completed'",
            None,
        )
        .await
    }

    async fn unfinished_inbox(&self, group: &str) -> Result<Finding> {
        self.finding(
            "select format('inbox %s %s: %s', message_id, status, last_error) from inbox_events
             where consumer_group = $1 and status = 'pending'",
            Some(group),
        )
        .await
    }

    async fn inbox_history(&self, inbox: &InboxExpectation, messages: Vec<Message>) -> Result<InboxHistory> {
        let group = inbox.group.as_str();
        let effects = sqlx::query_as::<_, (String, i64, Option<String>)>(
            "select message_id, handled, emitted::text from chaos_effects where consumer_group = $1 order by handled",
        )
        .bind(group)
        .fetch_all(&self.pool)
        .await?;
        let parked = self
            .texts(
                "select message_id from inbox_events where consumer_group = $1 and status = 'failed'",
                Some(group),
            )
            .await?;
        let quarantined = self
            .texts(
                "select concat_ws(':', topic, partition, \"offset\") from inbox_quarantine where consumer_group = $1",
                Some(group),
            )
            .await?;
        let added_events = match &inbox.handler_topic {
            Some(topic) => {
                self.texts("select id::text from outbox_events where topic = $1", Some(topic)).await?
            }
            None => Vec::new(),
        };
        Ok(InboxHistory {
            messages,
            effects: effects
                .into_iter()
                .map(|(message_id, handled, emitted)| Effect { message_id, handled, emitted })
                .collect(),
            parked: parked.into_iter().collect(),
            expected_parked: inbox.parked.clone(),
            quarantined: quarantined.into_iter().collect(),
            expected_quarantined: inbox.quarantined.clone(),
            added_events: added_events.into_iter().collect(),
        })
    }

    async fn finding(&self, sql: &'static str, parameter: Option<&str>) -> Result<Finding> {
        let mut finding = Finding::default();
        for text in self.texts(sql, parameter).await? {
            finding.add(|| text);
        }
        Ok(finding)
    }

    async fn texts(&self, sql: &'static str, parameter: Option<&str>) -> Result<Vec<String>> {
        let query = sqlx::query_scalar(sql);
        let query = match parameter {
            Some(parameter) => query.bind(parameter),
            None => query,
        };
        Ok(query.fetch_all(&self.pool).await?)
    }
}
