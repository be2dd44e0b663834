use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use omni_box_harness::topic::{
    Isolation, Message, Record, committed_offsets, create_topic, produce, read_topic,
};
use omni_box_harness::{eventually, kafka};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

const SOON: Duration = Duration::from_secs(20);

fn keyed(key: &str, value: &str) -> Message {
    Message { key: Some(key.into()), value: Some(value.into()), ..Message::default() }
}

fn values(records: &[Record]) -> Vec<String> {
    let text =
        |record: &Record| String::from_utf8_lossy(record.value.as_deref().unwrap_or(b"<null>")).into_owned();
    records.iter().map(text).collect()
}

#[tokio::test]
async fn what_was_produced_is_read_as_it_was() -> Result<()> {
    let Some(brokers) = kafka() else { return Ok(()) };
    let topic = create_topic(&brokers, "harness", 3, &[]).await?;
    assert_eq!(read_topic(&brokers, &topic, Isolation::ReadCommitted).await?, []);
    let odd = Message {
        partition: Some(2),
        key: None,
        value: None,
        headers: vec![("a".into(), Some(vec![0xff])), ("a".into(), None)],
    };
    let broken = Message { partition: Some(0), key: Some(vec![0xc3]), ..keyed("", "x") };
    let places = produce(&brokers, &topic, &[odd.clone(), broken.clone(), odd.clone()]).await?;
    assert_eq!(places, [(2, 0), (0, 0), (2, 1)]);

    let records = read_topic(&brokers, &topic, Isolation::ReadUncommitted).await?;
    let read: Vec<_> = records.iter().map(|record| (record.partition, record.offset)).collect();
    assert_eq!(read, [(0, 0), (2, 0), (2, 1)]);
    assert_eq!(records[0].key, broken.key);
    assert_eq!((&records[1].key, &records[1].value), (&None, &None));
    assert_eq!(records[1].headers, odd.headers);
    assert!(records[0].timestamp_ms.is_some_and(|ms| ms > 1_600_000_000_000));
    Ok(())
}

#[tokio::test]
async fn aborted_transactions_are_seen_by_choice_and_end_no_read() -> Result<()> {
    let Some(brokers) = kafka() else { return Ok(()) };
    let topic = create_topic(&brokers, "harness", 1, &[]).await?;
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", &brokers).set("transactional.id", &topic).create()?;
    producer.init_transactions(SOON)?;
    for (value, commit) in [("kept", true), ("aborted", false)] {
        producer.begin_transaction()?;
        let sent = producer.send(FutureRecord::<(), _>::to(&topic).payload(value), SOON).await;
        sent.map_err(|(error, _)| error)?;
        if commit {
            producer.commit_transaction(SOON)?;
        } else {
            producer.abort_transaction(SOON)?;
        }
    }
    let committed = read_topic(&brokers, &topic, Isolation::ReadCommitted).await?;
    assert_eq!(values(&committed), ["kept"]);
    let all = read_topic(&brokers, &topic, Isolation::ReadUncommitted).await?;
    assert_eq!(values(&all), ["kept", "aborted"]);
    Ok(())
}

#[tokio::test]
async fn an_open_transaction_hides_what_follows() -> Result<()> {
    let Some(brokers) = kafka() else { return Ok(()) };
    let topic = create_topic(&brokers, "harness", 1, &[]).await?;
    produce(&brokers, &topic, &[keyed("k", "before")]).await?;
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", &brokers).set("transactional.id", &topic).create()?;
    producer.init_transactions(SOON)?;
    producer.begin_transaction()?;
    let sent = producer.send(FutureRecord::<(), _>::to(&topic).payload("open"), SOON).await;
    sent.map_err(|(error, _)| error)?;
    produce(&brokers, &topic, &[keyed("k", "after")]).await?;
    let committed = read_topic(&brokers, &topic, Isolation::ReadCommitted).await?;
    assert_eq!(values(&committed), ["before"]);
    let all = read_topic(&brokers, &topic, Isolation::ReadUncommitted).await?;
    assert_eq!(values(&all), ["before", "open", "after"]);
    producer.abort_transaction(SOON)?;
    Ok(())
}

#[tokio::test]
async fn a_compacted_topic_is_read_across_its_holes() -> Result<()> {
    let Some(brokers) = kafka() else { return Ok(()) };
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "100"),
        ("min.compaction.lag.ms", "0"),
        ("delete.retention.ms", "0"),
    ];
    let topic = create_topic(&brokers, "harness", 1, &settings).await?;
    produce(&brokers, &topic, &[keyed("a", "old"), keyed("b", "kept"), keyed("a", "new")]).await?;
    // The active segment is never compacted: each further record may close it.
    let mut pings = 0;
    eventually(Duration::from_secs(40), async || {
        pings += 1;
        let ping = keyed("ping", &pings.to_string());
        if let Err(error) = produce(&brokers, &topic, &[ping]).await {
            panic!("{error:#}");
        }
        match read_topic(&brokers, &topic, Isolation::ReadCommitted).await {
            Ok(records) => values(&records)[..2] == ["kept", "new"] && records[0].offset == 1,
            Err(error) => panic!("{error:#}"),
        }
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn committed_offsets_are_those_of_the_group() -> Result<()> {
    let Some(brokers) = kafka() else { return Ok(()) };
    let topic = create_topic(&brokers, "harness", 2, &[]).await?;
    let group = format!("group-of-{topic}");
    assert_eq!(committed_offsets(&brokers, &group, &topic).await?, BTreeMap::new());
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &brokers).set("group.id", &group).create()?;
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&topic, 1, Offset::Offset(7))?;
    consumer.commit(&offsets, CommitMode::Sync)?;
    assert_eq!(committed_offsets(&brokers, &group, &topic).await?, BTreeMap::from([(1, 7)]));
    Ok(())
}
