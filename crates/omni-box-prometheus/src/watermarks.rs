//! For how long offsets have stood still: told at each scrape, so that the age of one that a handler holds up grows.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use omni_box_core::Result;
use omni_box_core::message::TopicPartition;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};
use tokio::time::Instant;

use crate::bounded::Bounded;
use crate::families::Families;
use crate::outbox::TOPICS;

const LABELS: &[&str] = &["consumer_group", "topic"];
const NAME: &str = "inbox_watermark_age_seconds";

#[derive(Clone)]
pub(crate) struct Watermarks(Arc<Inner>);

struct Inner {
    options: Opts,
    /// Describes the family; it has no values.
    family: GaugeVec,
    topics: Bounded<Arc<str>>,
    groups: Mutex<HashMap<String, Partitions>>,
}

/// Since when the offset of each partition stands still.
type Partitions = HashMap<TopicPartition, Option<Instant>>;

impl Watermarks {
    pub(crate) fn register(families: &Families<'_>) -> Result<Self> {
        let options = families.options(
            NAME,
            "Longest time for which the offset of a partition has stood still although a message is behind it.",
        );
        let made = GaugeVec::new(options.clone(), LABELS).map(|family| {
            let topics = Bounded::new(TOPICS, |topic| topic.into());
            Self(Arc::new(Inner { options, family, topics, groups: Mutex::default() }))
        });
        families.add(NAME, made)
    }

    pub(crate) fn tell(&self, group: &str, partition: &TopicPartition, since: Option<Instant>) {
        let mut groups = self.0.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = groups.get_mut(group).and_then(|partitions| partitions.get_mut(partition)) {
            *known = since;
            return;
        }
        groups.entry(group.to_owned()).or_default().insert(partition.clone(), since);
    }

    /// The longest age of each group and topic, in seconds.
    fn ages(&self) -> BTreeMap<(String, Arc<str>), f64> {
        let mut ages = BTreeMap::new();
        let groups = self.0.groups.lock().unwrap_or_else(PoisonError::into_inner);
        for (group, partitions) in groups.iter() {
            for (partition, since) in partitions {
                let age = since.map_or(0.0, |since| since.elapsed().as_secs_f64());
                let topic = self.0.topics.get(&partition.topic).clone();
                let longest = ages.entry((group.clone(), topic)).or_insert(age);
                *longest = age.max(*longest);
            }
        }
        ages
    }
}

impl Collector for Watermarks {
    fn desc(&self) -> Vec<&Desc> {
        self.0.family.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // one of its own for each scrape: two at once do not mix
        let Ok(family) = GaugeVec::new(self.0.options.clone(), LABELS) else { return Vec::new() };
        for ((group, topic), age) in self.ages() {
            family.with_label_values(&[&*group, &*topic]).set(age);
        }
        family.collect()
    }
}
