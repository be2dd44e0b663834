//! The runner on Kafka: partitions that move between two runners while handlers are slow.

use std::time::Duration;

use omni_box_core::{ConsumerGroup, HandlerOutcome};
use omni_box_harness::topic::{Message, committed_offsets, create_topic, produce};
use omni_box_harness::{eventually, servers};
use omni_box_kafka::{KafkaConsumerConfig, KafkaEventConsumer};
use omni_box_pipeline::InboxConsumerRunner;

use super::service::{Effects, LONG, Running, Service};

const MESSAGES: usize = 1_500;

fn message(n: usize) -> Message {
    Message {
        key: Some(format!("k{}", n % 30).into_bytes()),
        value: Some(format!("{{\"n\":{n}}}").into_bytes()),
        headers: vec![("event_id".to_owned(), Some(format!("m{n}").into_bytes()))],
        ..Message::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_move_between_runners_and_every_message_takes_effect_once() {
    let Some(servers) = servers() else { return };
    let Some(service) = Service::new(1).await else { return };
    let topic = create_topic(&servers.kafka_brokers, "inbox", 6, &[]).await.unwrap();
    let group = ConsumerGroup::new(&topic).unwrap();
    let act = Effects::new(|id, _, _| {
        let is_slow = id.ends_with("00");
        Box::pin(async move {
            if is_slow {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    let run = || {
        let config = KafkaConsumerConfig::new(&servers.kafka_brokers, group.clone(), [&topic]);
        let consumer = KafkaEventConsumer::from_config(config).unwrap();
        let builder = InboxConsumerRunner::builder(consumer, service.store.clone());
        Running::new(builder.consumer_group(group.clone()).handler(act.clone()).group_size(20))
    };
    let messages: Vec<Message> = (0..MESSAGES).map(message).collect();
    produce(&servers.kafka_brokers, &topic, &messages).await.unwrap();
    let effects = async || service.count("select count(*) from effects").await;

    let first = run();
    eventually(LONG, async || effects().await > 100).await;
    let second = run();
    eventually(LONG, async || effects().await > 500).await;
    first.stop().await;
    eventually(LONG, async || effects().await == MESSAGES as i64).await;
    eventually(LONG, async || {
        let offsets = committed_offsets(&servers.kafka_brokers, &topic, &topic).await.unwrap();
        offsets.values().sum::<i64>() == MESSAGES as i64
    })
    .await;
    second.stop().await;
    assert_eq!(effects().await, MESSAGES as i64);
    assert_eq!(service.count("select count(distinct message_id) from effects").await, MESSAGES as i64);
    assert_eq!(
        service.count("select sum(attempts_made)::bigint from inbox_events").await,
        0,
        "ends were good"
    );
    let displaced = "select count(*) from (select substr(message_id, 2)::int n,
        lag(substr(message_id, 2)::int) over (partition by key order by seq) b from effects) e where n < b";
    assert_eq!(service.count(displaced).await, 0);
    service.database.close().await.unwrap();
}
