//! What arrives on the topic, and what is refused before.

use std::collections::HashMap;

use omni_box_core::broker::{Placed, Reporter};
use omni_box_core::{
    Encoded, EnvelopeEventConverter, Error, ErrorKind, Event, EventConverter, EventPublisher, NewOutboxEvent,
    OmniBoxDomainService, OutboxEvent, RawEventConverter, SchemaVersionedConverter,
};
use omni_box_kafka::{KafkaEventPublisher, KafkaPublisherConfig};

use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};

use crate::cluster::{SOON, admin, brokers, create_topic, event, publish, read, stored_event, topic, unique};

fn publisher(brokers: &str) -> KafkaEventPublisher {
    KafkaEventPublisher::from_config(KafkaPublisherConfig::new(brokers), RawEventConverter).unwrap()
}

fn kinds(results: &[omni_box_core::Result<()>]) -> Vec<Option<ErrorKind>> {
    results.iter().map(|result| result.as_ref().err().map(omni_box_core::Error::kind)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_headers_key_and_time_are_on_the_wire() {
    let Some(brokers) = brokers() else { return };
    async fn check(brokers: &str, converter: impl EventConverter, body: impl Fn(&OutboxEvent) -> String) {
        let topic = topic(brokers, "wire", 1, &[]).await;
        let event = NewOutboxEvent::from_json(
            "order.placed",
            topic.clone(),
            r#"{"b": 1, "a": 18446744073709551616}"#,
        )
        .partition_key("k1")
        .schema_version("2.1")
        .trace_id("t")
        .correlation_id("co")
        .causation_id("ca")
        .header("tenant", "blue");
        let event = std::sync::Arc::new(OmniBoxDomainService::default().create_outbox_event(event).unwrap());
        let publisher =
            KafkaEventPublisher::from_config(KafkaPublisherConfig::new(brokers), converter).unwrap();
        let before = chrono::Utc::now().timestamp_millis();
        assert!(publish(&publisher, vec![event.clone()]).await[0].is_ok());
        let read = read(brokers, &topic).await;
        assert_eq!(read.len(), 1);
        assert_eq!(String::from_utf8(read[0].value.clone()).unwrap(), body(&event));
        assert_eq!(read[0].key.as_deref(), Some("k1"));
        assert!((before..=before + 30_000).contains(&read[0].timestamp));
        let id = event.id().to_string();
        let expected = [
            ("event_id", id.as_str()),
            ("event_type", "order.placed"),
            ("schema_version", "2.1"),
            ("trace_id", "t"),
            ("correlation_id", "co"),
            ("causation_id", "ca"),
            ("tenant", "blue"),
        ];
        assert_eq!(read[0].headers, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
    let payload = r#"{"b": 1, "a": 18446744073709551616}"#;
    check(&brokers, RawEventConverter, |_| payload.to_owned()).await;
    check(&brokers, SchemaVersionedConverter, |_| {
        format!(r#"{{"schema_version":"2.1","payload":{payload}}}"#)
    })
    .await;
    check(&brokers, EnvelopeEventConverter, |event| {
        format!(
            r#"{{"event_id":"{}","event_type":"order.placed","schema_version":"2.1","timestamp":"{}","trace_id":"t","correlation_id":"co","causation_id":"ca","payload":{payload}}}"#,
            event.id(),
            event.lifecycle().created_at().format("%Y-%m-%dT%H:%M:%S%.6f+00:00")
        )
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_says_where_the_message_is_and_the_publisher_its_name() {
    let Some(brokers) = brokers() else { return };
    let topic = topic(&brokers, "placed", 3, &[]).await;
    let config = KafkaPublisherConfig::new(&brokers);
    let named = config.clone().property("client.id", "shop");
    let named = KafkaEventPublisher::from_config(named, RawEventConverter).unwrap();
    assert_eq!(named.client_id(), Some("shop"));
    assert_eq!(publisher(&brokers).client_id(), Some("omni-box-publisher"));
    let borrowed = KafkaEventPublisher::new(config.producer().unwrap(), RawEventConverter);
    assert_eq!(borrowed.client_id(), None, "another has chosen it");

    let (reporter, mut reports) = Reporter::channel();
    named.submit((0..3).map(|n| event(&topic, Some("k"), n)).collect(), &reporter).await;
    let mut placed = Vec::new();
    for _ in 0..3 {
        let report = tokio::time::timeout(SOON, reports.recv()).await.unwrap().unwrap();
        placed.push(report.placed.expect("what is acknowledged has a place"));
    }
    let partition = read(&brokers, &topic).await[0].partition;
    assert_eq!(placed, [0, 1, 2].map(|offset| Placed { partition, offset }));

    named.submit(vec![event("no.such.topic", None, 0)], &reporter).await;
    let report = tokio::time::timeout(SOON, reports.recv()).await.unwrap().unwrap();
    assert!(report.result.is_err() && report.placed.is_none(), "{report:?}");
}

/// Hashes of Kafka's own `UtilsTest.testMurmur2`; the Java client takes `(hash & 0x7fffffff) % partitions`.
#[tokio::test(flavor = "multi_thread")]
async fn keys_land_on_the_partition_that_the_java_client_chooses() {
    let Some(brokers) = brokers() else { return };
    let vectors: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];
    let partitions = 17;
    let topic = topic(&brokers, "murmur", partitions, &[]).await;
    let events = vectors.iter().map(|(key, _)| event(&topic, Some(key), 1)).collect();
    assert!(publish(&publisher(&brokers), events).await.iter().all(Result::is_ok));
    let found: HashMap<_, _> =
        read(&brokers, &topic).await.into_iter().map(|read| (read.key.unwrap(), read.partition)).collect();
    for (key, hash) in vectors {
        assert_eq!(found[key], (hash & 0x7fff_ffff) % partitions, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_events_over_fifty_keys_keep_their_order() {
    let Some(brokers) = brokers() else { return };
    let topic = topic(&brokers, "order", 6, &[]).await;
    // a queue far smaller than the number of events: being full is waited for
    let config = KafkaPublisherConfig::new(&brokers).property("queue.buffering.max.messages", "500");
    let publisher = KafkaEventPublisher::from_config(config, RawEventConverter).unwrap();
    let events: Vec<_> = (0..20_000).map(|n| event(&topic, Some(&format!("key-{}", n % 50)), n)).collect();
    assert!(publish(&publisher, events).await.iter().all(Result::is_ok));
    let read = read(&brokers, &topic).await;
    assert_eq!(read.len(), 20_000);
    let mut next: HashMap<String, i64> = HashMap::new();
    for message in read {
        let n = serde_json::from_slice::<serde_json::Value>(&message.value).unwrap()["n"].as_i64().unwrap();
        let last = next.insert(message.key.unwrap(), n);
        assert!(last.is_none_or(|last| n == last + 50), "{n} after {last:?}");
    }
}

/// Pads the body to as many bytes as the payload's `n` says.
struct Padded;

impl EventConverter for Padded {
    fn convert<'a>(&self, event: &'a OutboxEvent) -> omni_box_core::Result<Encoded<'a>> {
        let value: serde_json::Value = event.payload().deserialize()?;
        Ok(Encoded::new(vec![b'x'; value["n"].as_u64().unwrap_or_default() as usize]))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_topics_limit_is_too_large_and_its_neighbours_arrive() {
    let Some(brokers) = brokers() else { return };
    let topic = topic(&brokers, "large", 1, &[]).await;
    let wide = crate::cluster::topic(&brokers, "wide", 1, &[("max.message.bytes", "5000000")]).await;
    let publisher = KafkaEventPublisher::from_config(KafkaPublisherConfig::new(&brokers), Padded).unwrap();
    let events = vec![
        event(&topic, Some("k"), 10),
        event(&topic, Some("k"), 2_000_000),
        event(&topic, Some("k"), 20),
        event(&wide, Some("k"), 2_000_000),
    ];
    let results = publish(&publisher, events).await;
    assert_eq!(kinds(&results), [None, Some(ErrorKind::TooLarge), None, None]);
    let sizes: Vec<_> = read(&brokers, &topic).await.iter().map(|read| read.value.len()).collect();
    assert_eq!(sizes, [10, 20]);
    assert_eq!(read(&brokers, &wide).await.len(), 1);
}

/// The size check is exact: the largest message that fits is sent, one byte more is refused; and many small ones together, which
/// librdkafka would batch beyond the limit, all arrive.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_a_small_limit_takes_all_that_fits() {
    let Some(brokers) = brokers() else { return };
    let topic = topic(&brokers, "small", 1, &[("max.message.bytes", "10000")]).await;
    let config = KafkaPublisherConfig::new(&brokers).property("linger.ms", "50");
    let publisher = KafkaEventPublisher::from_config(config, Padded).unwrap();
    let results =
        publish(&publisher, (0..200).map(|n| event(&topic, Some("k"), 900 + n % 3)).collect()).await;
    assert!(results.iter().all(Result::is_ok), "{:?}", results.iter().find(|result| result.is_err()));
    let (mut fits, mut refused) = (0, usize::MAX);
    for size in 9_800..10_000 {
        match &publish(&publisher, vec![event(&topic, Some("k"), size)]).await[0] {
            Ok(()) => fits = size,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
                refused = refused.min(size);
            }
        }
        if refused != usize::MAX {
            break;
        }
    }
    assert_eq!(refused, fits + 1);
    // the broker agrees: unchecked, that one byte more is too large for it as well, first as a batch and then alone
    let config = KafkaPublisherConfig::new(&brokers);
    let unchecked = KafkaEventPublisher::with_factory(move || config.producer(), Padded);
    for expected in [ErrorKind::Unavailable, ErrorKind::TooLarge] {
        let results = publish(&unchecked, vec![event(&topic, Some("k"), refused)]).await;
        assert_eq!(kinds(&results), [Some(expected)]);
        unchecked.check().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_stops_nobody_else_and_works_once_it_exists() {
    let Some(brokers) = brokers() else { return };
    let (here, missing) = (topic(&brokers, "here", 1, &[]).await, unique("missing"));
    let publisher = publisher(&brokers);
    let events = vec![event(&here, None, 1), event(&missing, None, 2), event(&here, None, 3)];
    let results = publish(&publisher, events).await;
    assert_eq!(kinds(&results), [None, Some(ErrorKind::TopicUnavailable), None]);
    create_topic(&brokers, &missing, 1, &[]).await;
    let deadline = tokio::time::Instant::now() + crate::cluster::SOON;
    while publish(&publisher, vec![event(&missing, None, 4)]).await[0].is_err() {
        assert!(tokio::time::Instant::now() < deadline, "topic was never found");
        tokio::task::yield_now().await;
    }
    assert_eq!(read(&brokers, &missing).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_topic_can_never_take_is_refused_before_it_is_sent() {
    let Some(brokers) = brokers() else { return };
    let compacted = topic(&brokers, "compacted", 1, &[("cleanup.policy", "compact")]).await;
    let events = vec![
        event(&compacted, Some("k"), 1),
        event(&compacted, None, 2),
        stored_event(""),
        stored_event("a b"),
        event(&compacted, Some("k"), 3),
    ];
    let results = publish(&publisher(&brokers), events).await;
    let invalid = Some(ErrorKind::Invalid);
    assert_eq!(kinds(&results), [None, invalid, invalid, invalid, None]);
    assert_eq!(read(&brokers, &compacted).await.len(), 2);
}

/// An event is not given up for what was known a moment ago. The topic is asked again first.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_refused_for_good_only_by_what_the_topic_says_now() {
    let Some(brokers) = brokers() else { return };
    let settings = [("max.message.bytes", "10000"), ("cleanup.policy", "compact")];
    let topic = topic(&brokers, "raised", 1, &settings).await;
    let publisher = KafkaEventPublisher::from_config(KafkaPublisherConfig::new(&brokers), Padded).unwrap();
    let hostile = || vec![event(&topic, Some("k"), 20_000), event(&topic, None, 10)];
    let results = publish(&publisher, hostile()).await;
    assert_eq!(kinds(&results), [Some(ErrorKind::TooLarge), Some(ErrorKind::Invalid)]);
    let raised = AlterConfig::new(ResourceSpecifier::Topic(&topic))
        .set("max.message.bytes", "50000")
        .set("cleanup.policy", "delete");
    let altered = admin(&brokers).alter_configs([&raised], &AdminOptions::new()).await.unwrap();
    assert!(altered.iter().all(Result::is_ok), "{altered:?}");
    // an operator requeues them at once
    let results = publish(&publisher, hostile()).await;
    assert_eq!(kinds(&results), [None, None]);
    assert_eq!(read(&brokers, &topic).await.len(), 2);
}

/// Without the check the broker refuses a whole batch for one record: neighbours are given back, none is failed for good, and what is
/// sent again from the first arrives in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_only_the_broker_refuses_fails_alone() {
    let Some(brokers) = brokers() else { return };
    let compacted = topic(&brokers, "refused", 1, &[("cleanup.policy", "compact")]).await;
    let config = KafkaPublisherConfig::new(&brokers).property("linger.ms", "100");
    let publisher = KafkaEventPublisher::with_factory(move || config.producer(), RawEventConverter);
    let mut waiting: Vec<_> =
        (0..20).map(|n| event(&compacted, (n != 7).then_some(format!("k{n}")).as_deref(), n)).collect();
    let bad = waiting[7].id();
    for _ in 0..10 {
        let results = publish(&publisher, waiting.clone()).await;
        let mut results = results.iter();
        waiting.retain(|event| match results.next().unwrap() {
            Ok(()) => false,
            Err(error) if error.kind() == ErrorKind::Rejected => {
                assert_eq!(event.id(), bad);
                false
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                true
            }
        });
        if waiting.is_empty() {
            break;
        }
        publisher.check().await.unwrap();
    }
    assert!(waiting.is_empty());
    let keys: Vec<_> = read(&brokers, &compacted).await.into_iter().map(|read| read.key.unwrap()).collect();
    assert_eq!(keys, (0..20).filter(|n| *n != 7).map(|n| format!("k{n}")).collect::<Vec<_>>());
}

/// Cannot encode `n` below 5: returns an error of another kind for each.
struct Picky;

const UNENCODABLE: [ErrorKind; 5] = [
    ErrorKind::Decode,
    ErrorKind::NotFound,
    ErrorKind::Internal,
    ErrorKind::Unavailable,
    ErrorKind::TopicUnavailable,
];

impl EventConverter for Picky {
    fn convert<'a>(&self, event: &'a OutboxEvent) -> omni_box_core::Result<Encoded<'a>> {
        let value: serde_json::Value = event.payload().deserialize()?;
        match UNENCODABLE.get(value["n"].as_u64().unwrap() as usize) {
            Some(kind) => Err(Error::new(*kind, "no schema is registered")),
            None => RawEventConverter.convert(event),
        }
    }
}

/// Retried, it would be overtaken by what follows in the same call; and it is not an outage.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_encoded_is_failed_and_stops_nobody() {
    let Some(brokers) = brokers() else { return };
    let topic = topic(&brokers, "unencodable", 1, &[]).await;
    let publisher = KafkaEventPublisher::from_config(KafkaPublisherConfig::new(&brokers), Picky).unwrap();
    let results = publish(&publisher, (0..7).map(|n| event(&topic, Some("k"), n)).collect()).await;
    let invalid = Some(ErrorKind::Invalid);
    assert_eq!(kinds(&results), [Some(ErrorKind::Decode), invalid, invalid, invalid, invalid, None, None]);
    assert_eq!(read(&brokers, &topic).await.len(), 2);
}
