//! The messages that are taken in.

use anyhow::Result;
use omni_box_harness::topic::{self, Message};

use crate::run::Run;

pub(crate) const EVENT_TYPE: &str = "bench.order";

const PARTITIONS: i32 = 16;
const KEYS: usize = 10_000;
/// A message comes again behind so many others.
const AGAIN: usize = 500;

/// Produces so many messages to a topic of their own, each so many times.
pub(super) async fn produce(run: &Run, distinct: usize, times: usize) -> Result<String> {
    let topic = topic::create_topic(run.brokers(), run.name, PARTITIONS, &[]).await?;
    let numbers: Vec<usize> = (0..distinct).collect();
    let all: Vec<Message> = numbers
        .chunks(AGAIN)
        .flat_map(|chunk| std::iter::repeat_n(chunk, times).flatten().copied())
        .map(message)
        .collect();
    topic::produce(run.brokers(), &topic, &all).await?;
    Ok(topic)
}

fn message(number: usize) -> Message {
    Message {
        key: Some(format!("key-{}", number % KEYS).into_bytes()),
        value: Some(format!(r#"{{"number":{number},"padding":"{}"}}"#, "x".repeat(200)).into_bytes()),
        headers: vec![
            ("message_id".to_owned(), Some(format!("message-{number}").into_bytes())),
            ("event_type".to_owned(), Some(EVENT_TYPE.into())),
        ],
        ..Message::default()
    }
}
