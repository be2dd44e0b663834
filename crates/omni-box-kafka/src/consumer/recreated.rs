//! Topics that were deleted and created again. The client librdkafka goes on where it stood in the topic that is gone, and tells of it in a
//! line for debugging only.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

/// Lines about metadata: some at each refresh.
const CONTEXT: &str = "metadata";
/// The id of a topic that was not known before.
const NONE: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// What librdkafka's lines tell of topics.
pub(super) struct Recreated {
    topics: Mutex<BTreeSet<String>>,
    /// The user wants lines for debugging.
    debugs: bool,
}

impl Recreated {
    pub(super) fn new(debugs: bool) -> Self {
        Self { topics: Mutex::default(), debugs }
    }

    /// Has librdkafka write what is looked for here.
    pub(super) fn listen(config: &mut ClientConfig) {
        let debug = match config.get("debug") {
            Some(contexts) if !contexts.trim().is_empty() => format!("{contexts},{CONTEXT}"),
            _ => CONTEXT.to_owned(),
        };
        config.set("debug", debug).set_log_level(RDKafkaLogLevel::Debug);
    }

    /// Reads a line; says whether it is for the log.
    pub(super) fn read(&self, level: RDKafkaLogLevel, line: &str) -> bool {
        if !matches!(level, RDKafkaLogLevel::Debug) {
            return true;
        }
        if let Some(topic) = changed(line) {
            self.topics.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.to_owned());
        }
        self.debugs
    }

    /// The topics since the last call.
    pub(super) fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.topics.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The topic of a line such as `[thrd:main]: Topic t changed id from ID to ID`.
fn changed(line: &str) -> Option<&str> {
    let (topic, ids) = line.split_once(" changed id from ")?;
    let (_, topic) = topic.rsplit_once("Topic ")?;
    (!ids.starts_with(NONE)).then_some(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_topic_that_was_known_counts() {
        let line = "[thrd:main]: Topic a.b changed id from 3Vq0FqTJRQaMsrS5L1Vt0A to nK0TJRQaMsrS5L1Vt0A3Vq";
        assert_eq!(changed(line), Some("a.b"));
        assert_eq!(changed(&format!("[thrd:main]: Topic a changed id from {NONE} to x")), None);
        assert_eq!(changed("[thrd:main]: Topic a [0] Leader 1 Epoch 0"), None);
    }
}
