//! What is known about topics, asked before anything is sent to them.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use omni_box_core::{Error, ErrorKind, Result};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer;

use super::context::KafkaProducer;
use super::topic::{Facts, Topic};
use crate::error::{classified, kind};

/// How long one question may take.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// After this time a topic is asked for again, while it stays in use.
const FRESH: Duration = Duration::from_secs(60);
/// A topic that is missing is asked for again after this time.
const MISSING: Duration = Duration::from_secs(1);

enum Entry {
    Known {
        topic: Arc<Topic>,
        /// When Kafka was asked last; the answer may still be on its way.
        asked: Instant,
        answered: Instant,
    },
    Missing {
        message: String,
        asked: Instant,
    },
}

impl Entry {
    fn known(topic: Arc<Topic>) -> Self {
        let now = Instant::now();
        Self::Known { topic, asked: now, answered: now }
    }
}

/// Topics by name.
pub(super) struct Topics {
    admin: Option<AdminClient<DefaultClientContext>>,
    entries: Mutex<HashMap<String, Entry>>,
    warned: AtomicBool,
}

impl Topics {
    /// Only existence is known: the broker alone judges sizes and keys.
    pub(super) fn existence_only() -> Self {
        Self { admin: None, entries: Mutex::default(), warned: AtomicBool::new(false) }
    }

    /// Reads the topics' limits with a client of its own.
    pub(super) fn new(admin: &ClientConfig) -> Result<Self> {
        let admin = admin.create().map_err(|error| classified("admin client cannot be created", error))?;
        Ok(Self { admin: Some(admin), ..Self::existence_only() })
    }

    /// Asks for what is not known yet, all at once.
    ///
    /// # Errors
    /// When the broker could not be asked; what is wrong with one topic comes from [`get`](Self::get).
    pub(super) async fn learn(
        self: &Arc<Self>,
        producer: &Arc<KafkaProducer>,
        names: BTreeSet<&str>,
    ) -> Result<()> {
        let mut unknown = Vec::new();
        for name in names {
            match self.standing(name) {
                Standing::Fresh => {}
                Standing::Unknown => unknown.push(name),
                Standing::Old => {
                    // what is known serves until the answer is here
                    let (topics, producer, name) = (Arc::clone(self), Arc::clone(producer), name.to_owned());
                    tokio::spawn(async move {
                        if let Err(error) = topics.ask(producer, &name).await {
                            tracing::debug!(topic = name, %error, "topic could not be asked for again");
                        }
                    });
                }
            }
        }
        join_all(unknown.into_iter().map(|name| self.ask(Arc::clone(producer), name)))
            .await
            .into_iter()
            .collect()
    }

    /// Asks for a topic, unless that was done since a time.
    ///
    /// # Errors
    /// As [`learn`](Self::learn).
    pub(super) async fn learn_since(
        &self,
        producer: &Arc<KafkaProducer>,
        name: &str,
        since: Instant,
    ) -> Result<()> {
        let is_known = match self.entries().get(name) {
            Some(Entry::Known { answered, topic, .. }) => *answered >= since && !topic.is_expired(),
            _ => false,
        };
        if is_known { Ok(()) } else { self.ask(Arc::clone(producer), name).await }
    }

    /// A topic that was asked for.
    ///
    /// # Errors
    /// [`TopicUnavailable`](ErrorKind::TopicUnavailable) with the reason.
    pub(super) fn get(&self, name: &str) -> Result<Arc<Topic>> {
        match self.entries().get(name) {
            Some(Entry::Known { topic, .. }) => Ok(Arc::clone(topic)),
            Some(Entry::Missing { message, .. }) => {
                Err(Error::new(ErrorKind::TopicUnavailable, message.clone()))
            }
            None => Err(Error::new(ErrorKind::Internal, "topic was not asked for")),
        }
    }

    /// Any topic that exists, to ask the broker about.
    pub(super) fn any(&self) -> Option<String> {
        let entries = self.entries();
        entries.iter().find(|(_, entry)| matches!(entry, Entry::Known { .. })).map(|(name, _)| name.clone())
    }

    fn standing(&self, name: &str) -> Standing {
        match self.entries().get_mut(name) {
            None => Standing::Unknown,
            Some(Entry::Missing { asked, .. }) if asked.elapsed() < MISSING => Standing::Fresh,
            Some(Entry::Missing { .. }) => Standing::Unknown,
            Some(Entry::Known { topic, .. }) if topic.is_expired() => Standing::Unknown,
            Some(Entry::Known { asked, .. }) if asked.elapsed() < FRESH => Standing::Fresh,
            Some(Entry::Known { asked, .. }) => {
                *asked = Instant::now();
                Standing::Old
            }
        }
    }

    async fn ask(&self, producer: Arc<KafkaProducer>, name: &str) -> Result<()> {
        let entry = match self.facts(producer, name).await {
            Ok(facts) => Entry::known(Arc::new(Topic::new(facts))),
            Err(error) if error.kind() == ErrorKind::TopicUnavailable => {
                Entry::Missing { message: error.chain(), asked: Instant::now() }
            }
            Err(error) => return Err(error),
        };
        let mut entries = self.entries();
        let mut entry = entry;
        if let (Entry::Known { topic: new, .. }, Some(Entry::Known { topic: old, .. })) =
            (&mut entry, entries.get(name))
        {
            // what is in flight goes on counting
            if old.facts() == new.facts() {
                old.refresh();
                let topic = Arc::clone(old);
                entries.insert(name.to_owned(), Entry::known(topic));
                return Ok(());
            }
            *new = Arc::new(old.renewed(new.facts()));
        }
        entries.insert(name.to_owned(), entry);
        Ok(())
    }

    async fn facts(&self, producer: Arc<KafkaProducer>, name: &str) -> Result<Facts> {
        let topic = name.to_owned();
        tokio::task::spawn_blocking(move || exists(&producer, &topic)).await.map_err(|error| {
            Error::new(ErrorKind::Internal, "metadata request panicked").with_source(error)
        })??;
        match &self.admin {
            Some(admin) => Ok(self.describe(admin, name).await),
            None => Ok(Facts { limit: None, compacted: false }),
        }
    }

    async fn describe(&self, admin: &AdminClient<DefaultClientContext>, name: &str) -> Facts {
        let options = AdminOptions::new().request_timeout(Some(ASK_TIMEOUT));
        let asked = admin.describe_configs(&[ResourceSpecifier::Topic(name)], &options).await;
        let answer = asked.and_then(|mut answers| match answers.pop() {
            Some(answer) => answer.map_err(KafkaError::AdminOp),
            None => Err(KafkaError::AdminOp(RDKafkaErrorCode::Fail)),
        });
        match answer {
            Ok(resource) => {
                let value = |name| resource.get(name).and_then(|entry| entry.value.as_deref());
                Facts {
                    limit: value("max.message.bytes").and_then(|bytes| bytes.parse().ok()),
                    compacted: value("cleanup.policy").is_some_and(|policy| policy.contains("compact")),
                }
            }
            // not permitted, not offered, or no answer: sending works without it
            Err(error) => {
                if !self.warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        topic = name,
                        %error,
                        "topic's configuration cannot be read; the broker alone judges sizes and keys"
                    );
                }
                Facts { limit: None, compacted: false }
            }
        }
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Standing {
    Fresh,
    Old,
    Unknown,
}

/// Asks the broker for a topic; blocks.
fn exists(producer: &KafkaProducer, name: &str) -> Result<()> {
    let metadata = producer
        .client()
        .fetch_metadata(Some(name), ASK_TIMEOUT)
        .map_err(|error| classified("topic cannot be asked for", error))?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == name);
    let code = match topic {
        Some(topic) => topic.error().map(RDKafkaErrorCode::from),
        None => Some(RDKafkaErrorCode::UnknownTopicOrPartition),
    };
    match code {
        None if topic.is_some_and(|topic| topic.partitions().is_empty()) => {
            Err(Error::new(ErrorKind::TopicUnavailable, format!("topic {name} has no partitions yet")))
        }
        None => Ok(()),
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Err(Error::new(
            ErrorKind::TopicUnavailable,
            format!("topic {name} is not authorised: this user needs write and describe on it"),
        )),
        Some(code) => {
            let kind = match kind(code) {
                ErrorKind::Unavailable | ErrorKind::Invalid => ErrorKind::TopicUnavailable,
                kind => kind,
            };
            Err(Error::new(kind, format!("topic {name} cannot be used"))
                .with_source(KafkaError::MetadataFetch(code)))
        }
    }
}
