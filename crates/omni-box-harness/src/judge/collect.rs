//! Gathers the evidence and judges it.

use std::collections::{BTreeSet, HashSet};

use anyhow::Result;
use sqlx::{PgPool, Row};

use super::{
    Effect, Enqueued, Finding, History, InboxHistory, Message, Verdict, judge_delivery, judge_effects,
    read_topics,
};

/// What a consumer group should have done.
#[derive(Debug, Clone, Default)]
pub struct InboxExpectation {
    /// The group.
    pub group: String,
    /// The topics it consumes.
    pub topics: Vec<String>,
    /// A topic of the outbox beside the inbox that only this group's handlers write to.
    pub handler_topic: Option<String>,
    /// Ids of messages that should have taken no effect: a group that acknowledges first lost them in a crash.
    pub lost: BTreeSet<String>,
    /// Ids of messages that should have taken effect twice: a group that takes effect at least once was killed before their offsets
    /// were committed.
    pub repeated: BTreeSet<String>,
    /// Ids of messages that should be parked: their inbox row is failed and they took no effect.
    pub parked: BTreeSet<String>,
    /// `topic:partition:offset` of messages that should be in quarantine.
    pub quarantined: BTreeSet<String>,
}

/// Judges the databases of services, and the topics they write to and read from.
#[derive(Debug)]
pub struct Judge {
    brokers: String,
    outboxes: Vec<Database>,
    inboxes: Vec<(Database, InboxExpectation)>,
    grown: HashSet<String>,
}

impl Judge {
    /// A judge that reads topics of these brokers.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self { brokers: brokers.into(), outboxes: Vec::new(), inboxes: Vec::new(), grown: HashSet::new() }
    }

    /// Of topics that were given more partitions meanwhile: a key is in order within each.
    #[must_use]
    pub fn grown(mut self, topics: impl IntoIterator<Item = String>) -> Self {
        self.grown.extend(topics);
        self
    }

    /// Judges the outbox of a database that has a [`journal`](super::journal), and the topics its journal names; no other outbox
    /// writes to those.
    #[must_use]
    pub fn outbox(mut self, database: &PgPool) -> Self {
        self.outboxes.push(Database(database.clone()));
        self
    }

    /// Judges the inbox of a database that has a [`journal`](super::journal).
    #[must_use]
    pub fn inbox(mut self, database: &PgPool, expected: InboxExpectation) -> Self {
        self.inboxes.push((Database(database.clone()), expected));
        self
    }

    /// Reads everything and judges it. Writers, relays and consumers should be done: what is still on its way counts as missing.
    ///
    /// # Errors
    /// When a database or the broker cannot be read.
    pub async fn verdict(&self) -> Result<Verdict> {
        let mut verdict = Verdict::default();
        for database in &self.outboxes {
            let messages = read_topics(&self.brokers, &database.written_topics().await?).await?;
            verdict.merge(judge_delivery(&database.history(messages, self.grown.clone()).await?));
            verdict.not_completed.merge(database.unfinished_outbox().await?);
        }
        for (database, expected) in &self.inboxes {
            let messages = read_topics(&self.brokers, &expected.topics).await?;
            verdict.merge(judge_effects(&database.inbox_history(expected, messages).await?));
            verdict.not_completed.merge(database.unfinished_inbox(&expected.group).await?);
        }
        Ok(verdict)
    }
}

#[derive(Debug)]
struct Database(PgPool);

impl Database {
    async fn written_topics(&self) -> Result<Vec<String>> {
        self.texts("select topic from chaos_journal union select topic from chaos_rollbacks", None).await
    }

    async fn history(&self, messages: Vec<Message>, grown: HashSet<String>) -> Result<History> {
        let rolled_back = self.texts("select event_id::text from chaos_rollbacks", None).await?;
        Ok(History {
            enqueued: self.enqueued().await?,
            rolled_back: rolled_back.into_iter().collect(),
            messages,
            grown,
        })
    }

    async fn enqueued(&self) -> Result<Vec<Enqueued>> {
        let rows = sqlx::query(
            "select event_id::text, topic, partition_key, tx, started, committed
             from chaos_journal left join chaos_commits using (tx)",
        )
        .fetch_all(&self.0)
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

    async fn inbox_history(
        &self,
        expected: &InboxExpectation,
        messages: Vec<Message>,
    ) -> Result<InboxHistory> {
        let group = expected.group.as_str();
        let effects = sqlx::query_as::<_, (String, i64, Option<String>)>(
            "select message_id, handled, emitted::text from chaos_effects where consumer_group = $1 order by handled",
        )
        .bind(group)
        .fetch_all(&self.0)
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
        let added_events = match &expected.handler_topic {
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
            expected_parked: expected.parked.clone(),
            quarantined: quarantined.into_iter().collect(),
            expected_quarantined: expected.quarantined.clone(),
            expected_lost: expected.lost.clone(),
            expected_repeated: expected.repeated.clone(),
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
        Ok(query.fetch_all(&self.0).await?)
    }
}
